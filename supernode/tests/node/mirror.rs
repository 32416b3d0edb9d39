//! Two supernodes serve one site.

use shared::cdn::blob::HashTree;

use crate::{process::World, publishing::bytes};

/// A section that listens on loopback alone.
const NETWORK: &str = "[network]\nlocal_network = true\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\n";

#[test]
fn site_published_at_one_node_is_served_by_another() {
    let world = World::new();
    world.file("site/index.html", b"<p>hello");
    world.file("site/a.bin", &bytes(3, 700_000));
    let first = world.node("first", &world.site(""));
    assert!(world.publish("site", &["--to", &first.edge]).output().unwrap().status.success());
    let mirror = world.site(&format!("mirror = \"{}\"\nrefresh_seconds = 1", first.edge));
    let second = world.node("second", &mirror);
    let manifest = second.wait_for("the manifest", |node| node.manifest(&world.pin()));
    for (path, asset) in &manifest.assets {
        assert_eq!(HashTree::of(&second.asset(&manifest, path.as_str()).body).unwrap().root(), asset.root);
    }
    // A newer statement follows, and the first may go.
    world.file("site/b.bin", &bytes(4, 1000));
    assert!(world.publish("site", &["--to", &first.edge]).output().unwrap().status.success());
    let newer = second.wait_for("the newer one", |node| {
        node.manifest(&world.pin()).filter(|newer| newer.sequence > manifest.sequence)
    });
    first.kill();
    assert_eq!(second.asset(&newer, "/b.bin").body, bytes(4, 1000));
}

#[test]
fn newer_site_that_a_peer_knows_of_is_fetched_at_once() {
    let world = World::new();
    world.file("site/index.html", b"<p>one");
    let first = world.node("first", &format!("{NETWORK}{}", world.site("")));
    assert!(world.publish("site", &["--to", &first.edge]).output().unwrap().status.success());
    let network = format!("{NETWORK}bootstrap = [{:?}]\n", first.addresses[0]);
    // By itself it would look again tomorrow.
    let mirror = world.site(&format!("mirror = \"{}\"\nrefresh_seconds = 86400", first.edge));
    let second = world.node("second", &format!("{network}{mirror}"));
    let manifest = second.wait_for("the manifest", |node| node.manifest(&world.pin()));
    world.file("site/index.html", b"<p>two");
    assert!(world.publish("site", &["--to", &first.edge]).output().unwrap().status.success());
    let newer = second.wait_for("the newer one", |node| {
        node.manifest(&world.pin()).filter(|newer| newer.sequence > manifest.sequence)
    });
    assert_eq!(second.asset(&newer, "/").text(), "<p>two");
}
