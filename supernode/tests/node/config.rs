//! A node refuses what it cannot do, and says where it says so.

use std::fs;

use crate::process::{World, blackhole, text};

#[test]
fn bad_configuration_is_refused_naming_the_line() {
    let world = World::new();
    let check = |config: &str, expect: &[&str]| {
        let path = world.path("node.toml");
        fs::write(&path, config.replace("DATA", &world.text("data"))).unwrap();
        let output = blackhole(&["node", "run", "--config", path.to_str().unwrap()]).output().unwrap();
        assert!(!output.status.success(), "{config}");
        for part in expect {
            assert!(text(&output).contains(part), "{:?} lacks {part:?}", text(&output));
        }
    };
    let node = "[node]\ndata_dir = \"DATA\"\n";
    check("", &["node.toml:1", "node"]);
    check("[node\n", &["node.toml:1"]);
    check(&format!("{node}[edge]\nlisten = \"nowhere\"\n"), &["node.toml:4", "listen = \"nowhere\""]);
    check(&format!("{node}[edge]\nlissen = 1\n"), &["node.toml:4", "unknown field `lissen`", "listen"]);
    check(&format!("{node}[network]\nlisten = [\"tcp:1\"]\n"), &["node.toml:4"]);
    let site = format!("{node}[[cdn.sites]]\nname = \"a\"\n");
    check(&format!("{site}publisher = \"me\"\n"), &["node.toml:5", "did:key"]);
    let site = format!("{site}publisher = \"{}\"\n", world.publisher);
    check(&format!("{site}origin = \"ftp://a/\"\n"), &["node.toml:6", "http://"]);
    check(&format!("{site}refresh_seconds = 0\n"), &["node.toml:6", "at least 1"]);
    check(&format!("{site}origin = \"http://a/\"\n"), &["\"a\"", "blackhole publish --origin"]);
    check(&format!("{site}origin = \"http://a/\"\ndelegation = \"none\"\n"), &["\"a\"", "none"]);
    let bucket = format!("{node}[storage]\nlisten = \"127.0.0.1:0\"\n[storage.bucket]\n");
    check(&bucket, &["node.toml:5", "name"]);
    let bucket = format!("{bucket}name = \"b\"\n");
    check(&format!("{bucket}secret = \"s\"\n"), &["node.toml:7", "unknown field `secret`", "key_file"]);
    check(&format!("{bucket}endpoint = \"nowhere\"\n"), &["node.toml:7", "https://s3.example.com"]);
    check(&format!("{bucket}key_file = \"DATA/none\"\n"), &["storage.bucket.key_file", "no key at"]);
}

#[test]
fn data_directory_in_use_is_refused() {
    let world = World::new();
    world.file("site/a", b"a");
    let _node = world.node("data", "");
    let output = world.publish("site", &["--data-dir", &world.text("data")]).output().unwrap();
    assert!(text(&output).contains("in use by another blackhole process"), "{}", text(&output));
}
