//! From a directory to bytes on the wire.

use std::{fs, io::Write as _, thread, time::Duration};

use shared::{
    base::BlobRoot,
    cdn::{
        blob::{BlobHashes, HashTree},
        part::{Hashes, Piece, Run},
        replica::pieces,
    },
};

use crate::{
    http::{ask, get},
    process::{World, text},
};

/// Bytes that no two places of share.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..length).map(next).collect()
}

#[test]
fn published_directory_is_served_by_range_and_verifies() {
    let world = World::new();
    let big = bytes(1, 9_000_001);
    world.file("site/index.html", b"<p>hello");
    world.file("site/big.bin", &big);
    let node = world.node("data", &world.site(""));
    let published = world.publish("site", &["--to", &node.edge]).output().unwrap();
    assert!(published.status.success(), "{}", text(&published));
    assert!(text(&published).contains("data-publisher=\"did:key:"), "{}", text(&published));

    let manifest = node.manifest(&world.pin()).expect("the manifest is in force");
    assert_eq!(node.asset(&manifest, "/").text(), "<p>hello");
    let asset = &manifest.assets[&"/big.bin".parse().unwrap()];
    let blob = format!("/blackhole/v1/blobs/{}", asset.root);

    // Hashes and groups as a tab fetches them, then groups by range, each verified alone.
    let mut hashes = BlobHashes::new(asset.root, asset.shape);
    for (before, groups) in [(Hashes::TopAndPage, 0..2), (Hashes::Page, 512..515)] {
        let (first, last) = (groups.start, groups.end - 1);
        let run = Run { hashes: before, first, count: groups.end - groups.start };
        let name = if before == Hashes::Page { "page" } else { "top" };
        let body = node.get(&format!("{blob}/runs/{name}/{first}-{last}")).body;
        assert_eq!(body.len() as u64, run.bytes(asset.shape));
        let mut rest = &body[..];
        for piece in run.parts().flat_map(pieces) {
            let (bytes, after) = rest.split_at(usize::try_from(piece.bytes(asset.shape)).unwrap());
            match piece {
                Piece::Top => hashes.insert_top(bytes).unwrap(),
                Piece::Page(page) => hashes.insert_page(page, bytes).unwrap(),
                Piece::Group(group) => hashes.verify_group(group, bytes).unwrap(),
            }
            rest = after;
        }
    }
    for wrong in ["page/0-512", "page/1-0", &format!("top/0-{}", asset.shape.groups()), "top/x-1", "all/0-1"]
    {
        let status = node.get(&format!("{blob}/runs/{wrong}")).status;
        assert!((400..500).contains(&status), "{wrong}: {status}");
    }
    for group in [0, 1, 511, 512, asset.shape.groups() - 1] {
        let range = asset.shape.group_bytes(group).unwrap();
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let answer = get(node.address, &blob, &[("range", &header)]);
        assert_eq!(answer.status, 206);
        assert_eq!(answer.headers["content-range"], format!("{}/{}", header.replace('=', " "), big.len()));
        hashes.verify_group(group, &answer.body).unwrap();
    }
    let whole = node.get(&blob);
    assert_eq!(HashTree::of(&whole.body).unwrap().root(), asset.root);
    assert!(whole.headers["cache-control"].contains("immutable"));
    assert_eq!(whole.headers["access-control-allow-origin"], "*");

    let etag = whole.headers["etag"].clone();
    assert_eq!(get(node.address, &blob, &[("if-none-match", &etag)]).status, 304);
    assert_eq!(get(node.address, &blob, &[("range", "bytes=9000001-")]).status, 416);
    let head = ask(node.address, "HEAD", &blob, &[]);
    assert_eq!((head.headers["content-length"].as_str(), head.body.len()), ("9000001", 0));
    let other = get(node.address, &blob, &[("range", "bytes=0-9"), ("if-range", "\"other\"")]);
    assert_eq!((other.status, other.body.len()), (200, big.len()));
}

#[test]
fn publish_killed_at_any_moment_leaves_the_old_site_or_the_new_one_whole() {
    let world = World::new();
    world.file("one/a.bin", &bytes(1, 300_000));
    for name in 0..20 {
        world.file(&format!("two/{name}.bin"), &bytes(100 + name, 400_000));
    }
    assert!(world.publish("one", &["--data-dir", &world.text("data")]).output().unwrap().status.success());
    for millis in [0, 10, 30, 60, 120] {
        let mut publish = world.publish("two", &["--data-dir", &world.text("data")]).spawn().unwrap();
        thread::sleep(Duration::from_millis(millis));
        publish.kill().unwrap();
        publish.wait().unwrap();

        let node = world.node("data", "");
        let manifest = node.manifest(&world.pin()).expect("one of the two is in force");
        assert!([1, 20].contains(&manifest.assets.len()), "{}", manifest.assets.len());
        for (path, asset) in &manifest.assets {
            let answer = node.asset(&manifest, path.as_str());
            assert_eq!(HashTree::of(&answer.body).unwrap().root(), asset.root, "{path} after {millis} ms");
        }
        node.kill();
    }
}

#[test]
fn upload_to_a_node_that_is_killed_is_taken_up_where_it_was() {
    let world = World::new();
    for name in 0..10 {
        world.file(&format!("site/{name}.bin"), &bytes(name, 500_000));
    }
    let node = world.node("data", &world.site(""));
    let mut publish = world.publish("site", &["--to", &node.edge]).spawn().unwrap();
    thread::sleep(Duration::from_millis(60));
    node.kill();
    publish.wait().unwrap();

    let node = world.node("data", &world.site(""));
    let published = world.publish("site", &["--to", &node.edge]).output().unwrap();
    assert!(published.status.success(), "{}", text(&published));
    let manifest = node.manifest(&world.pin()).unwrap();
    for (path, asset) in &manifest.assets {
        assert_eq!(HashTree::of(&node.asset(&manifest, path.as_str()).body).unwrap().root(), asset.root);
    }
}

#[test]
fn corrupt_blob_on_disk_is_never_served() {
    let world = World::new();
    let content = bytes(7, 1_000_000);
    world.file("site/a.bin", &content);
    assert!(world.publish("site", &["--data-dir", &world.text("data")]).output().unwrap().status.success());
    let root = HashTree::of(&content).unwrap().root();
    // In the first read, and far behind it.
    for at in [100_usize, 900_000] {
        flip(&world, root, at);
        let node = world.node("data", "");
        let answer = node.get(&format!("/blackhole/v1/blobs/{root}"));
        assert!(answer.status == 503 || (answer.status == 200 && !answer.whole), "{}", answer.status);
        if answer.status == 200 {
            assert_eq!(answer.body, content[..answer.body.len()], "what was sent before is good");
        }
        assert_eq!(node.get(&format!("/blackhole/v1/blobs/{root}")).status, 404);
        assert!(node.get("/status").text().contains("corrupt on disk"));
        assert!(world.path("data/quarantine").join(root.to_string()).exists());
        node.kill();
        // Publishing again heals it.
        assert!(
            world.publish("site", &["--data-dir", &world.text("data")]).output().unwrap().status.success()
        );
    }
}

/// Changes a byte of a blob behind the node's back.
pub(crate) fn flip(world: &World, root: BlobRoot, at: usize) {
    let name = root.to_string();
    let path = world.path("data/blobs").join(&name[..2]).join(&name);
    let mut content = fs::read(&path).unwrap();
    content[at] ^= 1;
    fs::File::create(&path).unwrap().write_all(&content).unwrap();
}

#[test]
fn full_store_refuses_by_name_and_keeps_the_old_site() {
    let world = World::new();
    world.file("small/a.bin", &bytes(1, 100_000));
    world.file("large/b.bin", &bytes(2, 2_000_000));
    let node = world.node("data", &format!("[cdn]\nquota_mib = 1\n{}", world.site("")));
    assert!(world.publish("small", &["--to", &node.edge]).output().unwrap().status.success());
    let refused = world.publish("large", &["--to", &node.edge]).output().unwrap();
    assert!(!refused.status.success());
    assert!(text(&refused).contains("507") && text(&refused).contains("cdn.quota_mib"), "{}", text(&refused));
    let manifest = node.manifest(&world.pin()).unwrap();
    assert_eq!(node.asset(&manifest, "/a.bin").body.len(), 100_000);
}

#[test]
fn upload_of_another_publisher_or_of_other_bytes_is_refused() {
    let (world, stranger) = (World::new(), World::new());
    stranger.file("site/a.bin", b"mine");
    let node = world.node("data", &world.site(""));
    let refused = stranger.publish("site", &["--to", &node.edge]).output().unwrap();
    assert!(!refused.status.success());
    assert!(text(&refused).contains("[[cdn.sites]]"), "{}", text(&refused));
    let put = ask(
        node.address,
        "PUT",
        &format!("/blackhole/v1/blobs/{}", BlobRoot([1; 32])),
        &[("content-length", "0")],
    );
    assert_eq!((put.status, put.headers["content-type"].as_str()), (409, "application/problem+json"));
}
