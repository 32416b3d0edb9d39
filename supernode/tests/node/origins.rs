//! Pulling origins, honest and otherwise.

use std::{thread, time::Duration};

use shared::cdn::blob::HashTree;

use crate::{
    origin::{Manner, Origin},
    process::{Node, World, run},
    publishing::{bytes, flip},
};

/// A node that pulls `origin`, with little patience.
fn pulling(world: &World, origin: &Origin) -> Node {
    let did = run(&["key", "new", &{
        std::fs::create_dir_all(world.path("data")).unwrap();
        world.text("data/node.key")
    }]);
    let (url, delegation) = (format!("http://{}/", origin.address), world.text("site.delegation"));
    let key = world.text("publisher.key");
    run(&[
        "publish",
        "--origin",
        &url,
        "--key",
        &key,
        "--site",
        "site.example",
        "--delegate",
        did.trim(),
        "--delegation",
        &delegation,
    ]);
    let node = world.node(
        "data",
        &format!(
            "[cdn.origin]\nidle_seconds = 1\nresponse_seconds = 2\nasset_mib_max = 4\n{}",
            world.site(&format!("origin = \"{url}\"\ndelegation = {delegation:?}\nrefresh_seconds = 1"))
        ),
    );
    assert_eq!(node.did, did.trim());
    node
}

#[test]
fn cold_origin_is_asked_once_and_a_warm_one_for_no_byte() {
    let (world, origin) = (World::new(), Origin::start());
    let page = b"<link rel=stylesheet href=a.css><img src=/p/b.png><script src=c.js></script>";
    let assets = [
        ("/", "text/html", page.to_vec()),
        ("/a.css", "text/css", b"@font-face{src:url(d.woff2)}".to_vec()),
        ("/p/b.png", "image/png", bytes(1, 300_000)),
        ("/c.js", "text/javascript", bytes(2, 50_000)),
        ("/d.woff2", "font/woff2", bytes(3, 70_000)),
    ];
    for (path, kind, content) in &assets {
        origin.put(path, kind, content, Manner::Honest);
    }
    let node = pulling(&world, &origin);
    let manifest = node.wait_for("the manifest", |node| node.manifest(&world.pin()));
    assert_eq!(manifest.assets.len(), assets.len());
    for (path, _, content) in &assets {
        assert_eq!(&node.asset(&manifest, path).body, content, "{path}");
    }
    // Three more looks at least.
    node.wait_for("re-validation", |_| (origin.counts()["/p/b.png"].requests > 3).then_some(()));
    for (path, _, content) in &assets {
        assert_eq!(origin.counts()[*path].body_bytes, content.len() as u64, "{path}");
    }
    assert_eq!(node.manifest(&world.pin()).unwrap().sequence, manifest.sequence, "nothing changed");

    // What changes is noticed, under a higher sequence, also over a kill.
    node.kill();
    origin.put("/c.js", "text/javascript", b"new()", Manner::Honest);
    let node = world.node(
        "data",
        &std::fs::read_to_string(world.path("data.toml"))
            .unwrap()
            .split_once("[cdn")
            .map(|(_, cdn)| format!("[cdn{cdn}"))
            .unwrap(),
    );
    let changed = node.wait_for("the change", |node| {
        node.manifest(&world.pin()).filter(|newer| newer.sequence > manifest.sequence)
    });
    assert_eq!(node.asset(&changed, "/c.js").text(), "new()");
    assert_eq!(origin.counts()["/p/b.png"].body_bytes, 300_000, "still fetched once");
}

#[test]
fn listed_assets_are_pulled_though_no_page_links_them() {
    let (world, origin) = (World::new(), Origin::start());
    origin.put(
        "/.well-known/blackhole.json",
        "application/json",
        br#"{"assets":["/hidden.wasm"]}"#,
        Manner::Honest,
    );
    origin.put("/hidden.wasm", "application/wasm", b"\0asm", Manner::Honest);
    let node = pulling(&world, &origin);
    let manifest = node.wait_for("the manifest", |node| node.manifest(&world.pin()));
    assert_eq!(manifest.assets.keys().map(ToString::to_string).collect::<Vec<_>>(), ["/hidden.wasm"]);
}

#[test]
fn each_lie_of_an_origin_is_named_and_what_is_good_is_served() {
    let lies = [
        ("breaks-off.png", Manner::BreaksOff, "broke off"),
        ("ignores-range.png", Manner::IgnoresRange, "ignores the range"),
        ("changes-length.png", Manner::ChangesLength, "changed its length"),
        ("wrong-type.png", Manner::WrongType, "text/html"),
        ("endless.png", Manner::Endless, "exceeds 4194304 bytes"),
        ("circles.png", Manner::RedirectsInCircles, "redirects in a circle"),
        ("elsewhere.png", Manner::RedirectsElsewhere, "redirects to http://127.0.0.1:1"),
        ("stalls.png", Manner::Stalls, "sent nothing for 1 s"),
        ("silent.png", Manner::Silent, "did not begin to answer"),
        ("personal.png", Manner::Personal, "not for everybody"),
        ("compressed.png", Manner::Compressed, "encodes as"),
    ];
    let (world, origin) = (World::new(), Origin::start());
    let mut page = "<img src=good.png>".to_owned();
    origin.put("/good.png", "image/png", &bytes(1, 100_000), Manner::Honest);
    for (name, manner, _) in lies {
        page += &format!("<img src={name}>");
        origin.put(&format!("/{name}"), "image/png", &bytes(2, 200_000), manner);
    }
    origin.put("/", "text/html", page.as_bytes(), Manner::Honest);
    let node = pulling(&world, &origin);
    let manifest = node.wait_for("the manifest", |node| node.manifest(&world.pin()));
    assert_eq!(manifest.assets.keys().map(ToString::to_string).collect::<Vec<_>>(), ["/", "/good.png"]);
    assert_eq!(node.asset(&manifest, "/good.png").body, bytes(1, 100_000));
    let status = node.get("/status").text();
    for (name, _, problem) in lies {
        let at =
            status.find(&format!("<code>/{name}</code>")).unwrap_or_else(|| panic!("{name} is not named"));
        assert!(status[at..at + 400.min(status.len() - at)].contains(problem), "{name}: {}", &status[at..]);
    }
}

#[test]
fn blob_that_rots_is_pulled_again() {
    let (world, origin) = (World::new(), Origin::start());
    let content = bytes(5, 400_000);
    origin.put("/", "text/html", b"<img src=a.png>", Manner::Honest);
    origin.put("/a.png", "image/png", &content, Manner::Honest);
    let node = pulling(&world, &origin);
    node.wait_for("the manifest", |node| node.manifest(&world.pin()));
    let root = HashTree::of(&content).unwrap().root();
    // The next look would find it as well; here the visitor comes first, or after it: either way it heals.
    flip(&world, root, 1000);
    let first = node.get(&format!("/blackhole/v1/blobs/{root}"));
    assert!(first.status == 503 || first.body == content, "{}", first.status);
    let healed = node.wait_for("healing", |node| {
        Some(node.get(&format!("/blackhole/v1/blobs/{root}"))).filter(|answer| answer.status == 200)
    });
    assert_eq!(healed.body, content);
}

#[test]
fn origin_that_goes_away_leaves_the_site_served() {
    let (world, origin) = (World::new(), Origin::start());
    origin.put("/", "text/html", b"<p>here", Manner::Honest);
    let node = pulling(&world, &origin);
    let manifest = node.wait_for("the manifest", |node| node.manifest(&world.pin()));
    origin.put("/", "text/html", b"<p>here", Manner::Silent);
    thread::sleep(Duration::from_millis(100));
    node.wait_for("the complaint", |node| node.get("/status").text().contains("did not begin").then_some(()));
    assert_eq!(node.asset(&manifest, "/").text(), "<p>here");
    assert!(node.manifest(&world.pin()).is_some());
}
