//! Two supernodes serve one site.

use shared::cdn::blob::HashTree;

use crate::{process::World, publishing::bytes};

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
