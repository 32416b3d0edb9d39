//! What a node does not want it refuses by name, and the refusal arrives, however much is still being written.

use std::{fs, process::Command};

use cdn::publish::Statement;
use shared::{
    base::BlobRoot,
    cdn::{
        blob::HashTree,
        manifest::{Asset, MAX_MANIFEST_BYTES},
    },
};

use crate::{
    http::{Answer, put},
    process::{Node, World, text},
    publishing::bytes,
};

fn check(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["type"], format!("urn:blackhole:problem:{kind}"), "{}", answer.text());
}

/// Puts a manifest that names `content` alone; the node then waits for that blob.
fn announce(world: &World, node: &Node, content: &[u8]) -> BlobRoot {
    let tree = HashTree::of(content).unwrap();
    let content_type = "application/octet-stream".to_owned();
    let asset = Asset { root: tree.root(), shape: tree.shape(), content_type };
    let key = runtime::load_key(&world.path("publisher.key")).unwrap();
    let statement = Statement { key, site: "site.example".to_owned(), days: 1 };
    let now = runtime::unix_now();
    let signed = statement.sign([("/a.bin".parse().unwrap(), asset)].into(), now.0, now).unwrap();
    let path = format!("/blackhole/v1/sites/{}/manifest", world.pin().site_id());
    let answer = put(node.address, &path, &[("content-length", &signed.len().to_string())], &signed);
    assert_eq!(answer.status, 202, "{}", answer.text());
    tree.root()
}

#[test]
fn refusal_reaches_a_client_that_is_still_writing() {
    let world = World::new();
    let node = world.node("data", &world.site(""));
    let large = bytes(1, 8 << 20);
    let length = large.len().to_string();
    let headers = [("content-length", length.as_str())];
    let blob = format!("/blackhole/v1/blobs/{}", BlobRoot([1; 32]));
    check(&put(node.address, &blob, &headers, &large), 409, "not-awaited");
    check(&put(node.address, "/blackhole/v1/blobs/short", &headers, &large), 400, "malformed");
    check(&put(node.address, "/nowhere", &headers, &large), 404, "not-found");
    check(&put(node.address, "/status", &headers, &large), 405, "method");
    let manifest = format!("/blackhole/v1/sites/{}/manifest", world.pin().site_id());
    assert!(large.len() > MAX_MANIFEST_BYTES);
    check(&put(node.address, &manifest, &headers, &large), 413, "too-long");
    let other = format!("/blackhole/v1/sites/{}/manifest", "ab".repeat(32));
    check(&put(node.address, &other, &[("content-length", "1000")], &large[..1000]), 403, "unknown-site");
}

#[test]
fn body_of_another_length_than_the_blob_is_refused_before_it_fills_the_disk() {
    let world = World::new();
    let node = world.node("data", &world.site(""));
    let root = announce(&world, &node, &bytes(2, 100_000));
    let blob = format!("/blackhole/v1/blobs/{root}");
    let large = bytes(3, 4 << 20);
    let length = large.len().to_string();
    check(&put(node.address, &blob, &[("content-length", &length)], &large), 422, "blob");
    // Without a length stated: as long as its sender likes.
    let mut chunked = format!("{:x}\r\n", large.len()).into_bytes();
    chunked.extend_from_slice(&large);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    check(&put(node.address, &blob, &[("transfer-encoding", "chunked")], &chunked), 422, "blob");
    // The right length, other bytes.
    check(&put(node.address, &blob, &[("content-length", "100000")], &large[..100_000]), 422, "blob");
    assert!(node.manifest(&world.pin()).is_none());
    assert_eq!(fs::read_dir(world.path("data/incoming")).unwrap().count(), 0);
    let good = put(node.address, &blob, &[("content-length", "100000")], &bytes(2, 100_000));
    assert_eq!(good.status, 201, "{}", good.text());
}

#[test]
fn full_disk_refuses_by_name_and_keeps_the_old_site() {
    let world = World::new();
    world.file("small/a.bin", &bytes(1, 100_000));
    world.file("large/b.bin", &bytes(2, 12 << 20));
    let config = world.config("data", &world.site(""));
    // Stands for a full disk: no file of this process may grow beyond 8 MiB (in blocks of 512 bytes).
    let limited = format!("trap '' XFSZ; ulimit -f 16384; exec {} \"$@\"", env!("CARGO_BIN_EXE_blackhole"));
    let mut command = Command::new("sh");
    command.args(["-c", &limited, "blackhole", "node", "run", "--config", config.to_str().unwrap()]);
    let node = Node::start(command);
    assert!(world.publish("small", &["--to", &node.edge]).output().unwrap().status.success());
    let refused = world.publish("large", &["--to", &node.edge]).output().unwrap();
    assert!(!refused.status.success());
    assert!(
        text(&refused).contains("507") && text(&refused).contains("disk has space"),
        "{}",
        text(&refused)
    );
    let manifest = node.manifest(&world.pin()).unwrap();
    assert_eq!(node.asset(&manifest, "/a.bin").body.len(), 100_000);
    assert_eq!(fs::read_dir(world.path("data/incoming")).unwrap().count(), 0);
}
