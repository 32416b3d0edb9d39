//! Trees under the names that IPFS gives them: pinned, answered, and there after a kill.

use std::{
    fs,
    io::Write as _,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use multibase::Base;
use shared::storage::ipfs::Cid;

use crate::{
    http::get,
    process::{Node, World, blackhole, run},
};

const SECTIONS: &str = "[storage.ipfs]\nlisten = \"127.0.0.1:0\"\nquota_mib = 64\n";

fn status(node: &Node, path: &str) -> u16 {
    get(node.ipfs.unwrap(), path, &[]).status
}

#[test]
fn what_is_pinned_survives_a_kill_and_goes_when_it_is_told_to() {
    let world = World::new();
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()[0]).collect();
    world.file("tree/large.bin", &large);
    world.file("tree/deep/small.txt", b"small");
    world.file("tree/.hidden", b"not told");
    let (data, tree) = (world.text("data"), world.text("tree"));
    let named = run(&["ipfs", "add", "--only-hash", &tree]);
    let node = world.node("data", SECTIONS);
    assert_eq!(node.s3, None, "the gateway alone was asked for");
    let root = run(&["ipfs", "add", "--data-dir", &data, &tree]);
    assert_eq!(root, named);
    let root = root.trim().to_owned();
    assert!(get(node.ipfs.unwrap(), &format!("/ipfs/{root}/large.bin"), &[]).body == large);
    node.kill();

    let node = world.node("data", SECTIONS);
    assert!(get(node.ipfs.unwrap(), &format!("/ipfs/{root}/large.bin"), &[]).body == large);
    assert_eq!(status(&node, &format!("/ipfs/{root}/.hidden")), 404);
    assert!(run(&["ipfs", "ls", "--data-dir", &data]).starts_with(&root));
    let got = world.text("got");
    run(&["ipfs", "get", "--data-dir", &data, &root, &got]);
    assert!(fs::read(world.path("got/large.bin")).unwrap() == large);
    assert_eq!(fs::read(world.path("got/deep/small.txt")).unwrap(), b"small");
    assert!(!blackhole(&["ipfs", "get", "--data-dir", &data, &root, &got]).status().unwrap().success());

    // A second pin of the same file, in another tree, has its own hold on the bytes.
    world.file("other/large.bin", &large);
    let other = run(&["ipfs", "add", "--data-dir", &data, &world.text("other")]).trim().to_owned();
    run(&["ipfs", "rm", "--data-dir", &data, &root]);
    assert_eq!(status(&node, &format!("/ipfs/{root}?format=raw")), 404);
    assert_eq!(status(&node, &format!("/ipfs/{root}/")), 404);
    assert!(get(node.ipfs.unwrap(), &format!("/ipfs/{other}/large.bin"), &[]).body == large);
    node.kill();

    let node = world.node("data", SECTIONS);
    assert!(get(node.ipfs.unwrap(), &format!("/ipfs/{other}/large.bin"), &[]).body == large);

    // What cannot be read is said to be so, and not begun.
    let files = files_in(&world.path("data"));
    let blob = files.iter().find(|file| fs::metadata(file).is_ok_and(|about| about.len() >= 3_000_000));
    fs::remove_file(blob.unwrap()).unwrap();
    let answer = get(node.ipfs.unwrap(), &format!("/ipfs/{other}/large.bin"), &[]);
    assert_eq!((answer.status, answer.whole), (500, true), "{}", answer.text());
    assert_eq!(status(&node, &format!("/ipfs/{other}?format=car&dag-scope=block")), 200);
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

#[test]
fn a_site_has_one_host_however_its_cid_is_written() {
    let world = World::new();
    world.file("tree/a file.txt", b"one origin");
    let node = world.node("data", SECTIONS);
    let root = run(&["ipfs", "add", "--data-dir", &world.text("data"), &world.text("tree")]);
    let root = root.trim();
    let at = |host: &str, more: &[(&str, &str)]| {
        let headers = [&[("host", host)], more].concat();
        get(node.ipfs.unwrap(), "/a%20file.txt?download=true", &headers)
    };
    assert_eq!(at(&format!("{root}.ipfs.localhost:8080"), &[]).text(), "one origin");
    let right = format!("{root}.ipfs.localhost:8080/a%20file.txt?download=true");
    let upper = format!("{}.ipfs.localhost:8080", root.to_uppercase());
    let other = root.parse::<Cid>().unwrap().to_string_of_base(Base::Base36Lower).unwrap();
    for host in [upper.clone(), format!("{other}.IPFS.localhost:8080")] {
        let moved = at(&host, &[]);
        assert_eq!((moved.status, &moved.headers["location"]), (301, &format!("http://{right}")), "{host}");
    }
    let moved = at(&upper, &[("x-forwarded-proto", "https")]);
    assert_eq!(moved.headers["location"], format!("https://{right}"));
    assert_eq!(at("nothing.ipfs.localhost:8080", &[]).status, 400);
    // A first CID, as only clients that are no browsers write it.
    let moved = at("QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR.ipfs.localhost", &[]);
    let expect = "http://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi.ipfs.localhost/a%20file.txt?download=true";
    assert_eq!((moved.status, moved.headers["location"].as_str()), (301, expect));
}

#[test]
fn an_import_that_breaks_off_leaves_nothing() {
    let world = World::new();
    let node = world.node("data", SECTIONS);
    let data = world.text("data");
    let mut door = UnixStream::connect(world.path("data/ipfs.sock")).unwrap();
    door.write_all(b"{\"add\":{\"name\":\"broken\"}}\n{\"file\":{\"path\":\"a\",\"bytes\":5}}\nwhole")
        .unwrap();
    door.write_all(b"{\"file\":{\"path\":\"b\",\"bytes\":5000000}}\n").unwrap();
    door.write_all(&vec![7; 3_000_000]).unwrap();
    drop(door);
    // Of `whole`, by itself.
    let leaf = "bafkreic5k5tm6llyoalbiiaeddxbiudjbwnpclee2usulzeaf4abvvjqte";
    let begun = format!("/ipfs/{leaf}?format=raw");
    node.wait_for("what was begun is gone", |node| (status(node, &begun) == 404).then_some(()));
    world.file("file", b"whole");
    let pinned = run(&["ipfs", "add", "--data-dir", &data, &world.text("file")]);
    assert_eq!(status(&node, &format!("/ipfs/{}?format=raw", pinned.trim())), 200);
    assert_eq!(run(&["ipfs", "ls", "--data-dir", &data]).lines().count(), 1);
    // More than the quota is refused, in the middle, with the reason; what was begun makes room again.
    world.file("huge/a", &vec![1; 40 << 20]);
    world.file("huge/b", &vec![2; 30 << 20]);
    let refused = blackhole(&["ipfs", "add", "--data-dir", &data, &world.text("huge")]).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("quota"), "{refused:?}");
    world.file("fits", &vec![3; 40 << 20]);
    run(&["ipfs", "add", "--data-dir", &data, &world.text("fits")]);
}

#[test]
fn a_node_finds_in_the_dht_who_has_a_tree_and_pulls_it() {
    let world = World::new();
    let network = |bootstrap: &str| {
        format!(
            "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nlocal_network = true\nbootstrap = [{bootstrap}]\n{SECTIONS}"
        )
    };
    let first = world.node("first", &network(""));
    let address = first.addresses.iter().find(|address| address.contains("/tcp/")).unwrap();
    let second = world.node("second", &network(&format!("{address:?}")));
    world.file("tree/file", &vec![5; 2_500_000]);
    for name in 0..300 {
        world.file(&format!("tree/many/{name}"), format!("{name}").as_bytes());
    }
    let root = run(&["ipfs", "add", "--data-dir", &world.text("first"), &world.text("tree")]);
    let data = world.text("second");
    // Until the two know each other, and the record is told.
    second.wait_for("a provider", |_| {
        blackhole(&["ipfs", "pull", "--data-dir", &data, root.trim()])
            .status()
            .unwrap()
            .success()
            .then_some(())
    });
    assert_eq!(status(&second, &format!("/ipfs/{}/many/299", root.trim())), 200);
    let got = world.text("got");
    run(&["ipfs", "get", "--data-dir", &data, root.trim(), &got]);
    assert_eq!(run(&["ipfs", "add", "--only-hash", &got]), root);
    // What nobody has ends with that word, and soon.
    let missing = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyka";
    let answer =
        blackhole(&["ipfs", "pull", "--data-dir", &data, "--from", address, missing]).output().unwrap();
    assert!(String::from_utf8_lossy(&answer.stderr).contains("no peer has"), "{answer:?}");
}
