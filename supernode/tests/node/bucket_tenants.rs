//! What lies in a node's bucket beside the objects of its S3 door: others' shards.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::{
    process::{Node, World, free_port},
    s3::Client,
    strangers::{Network, Plan, alive, files, object},
};

/// A node's S3 door with a bucket for another node.
struct Bucket {
    node: Option<Node>,
    client: Client,
}

impl Bucket {
    fn start(world: &World) -> Self {
        let node = world.node("bucket", &door(free_port()));
        let client = Client::new(&world.text("bucket.toml"), node.s3.unwrap());
        assert_eq!(client.ask("PUT", "/blobs", &[]).status, 200);
        let key =
            format!("{{\"access_key_id\":\"{}\",\"secret_access_key\":\"{}\"}}", client.id, client.secret);
        world.file("bucket.key", key.as_bytes());
        fs::set_permissions(world.path("bucket.key"), fs::Permissions::from_mode(0o600)).unwrap();
        Self { node: Some(node), client }
    }

    /// The section of a node that has its blobs here.
    fn section(&self, world: &World) -> String {
        let (door, key) = (self.client.door, world.text("bucket.key"));
        format!(
            "[storage.bucket]\nname = \"blobs\"\nendpoint = \"http://{door}\"\nprefix = \"one\"\nkey_file = {key:?}\n"
        )
    }

    fn end(&mut self) {
        self.node.take().unwrap().kill();
    }

    fn start_again(&mut self, world: &World) {
        self.node = Some(world.node("bucket", &door(self.client.door.port())));
    }

    /// How many blobs of a kind are here.
    fn count(&self, kind: &str) -> usize {
        let list = self.client.ask("GET", "/blobs?list-type=2", &[]).text();
        let keys = list.split("<Key>").skip(1).map(|rest| rest.split_once("</Key>").unwrap().0);
        keys.filter(|key| key.starts_with(&format!("one/{kind}/blobs/"))).count()
    }
}

fn door(port: u16) -> String {
    format!("[storage]\nlisten = \"127.0.0.1:{port}\"\n")
}

/// Bytes of blobs in a node's own directory.
fn here(world: &World, directory: &str) -> u64 {
    let files = files(&world.path(directory)).into_iter();
    let blobs = files.filter(|file| file.extension().is_none_or(|extension| extension != "redb"));
    // One may go at this moment.
    blobs.filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
}

/// The holder whose shards lie in a bucket.
const HOLDER: usize = 5;

#[test]
fn shards_in_a_bucket_are_proved_and_read_after_a_kill_and_not_lost_while_it_is_away() {
    let plan = Plan { holders: 12, audit_seconds: 4, gone_seconds: 600, ..Plan::SMALL };
    let mut network = Network::of_holders(plan);
    let mut bucket = Bucket::start(&network.world);
    network.kill_holder(HOLDER);
    network.holder_sections.insert(HOLDER, bucket.section(&network.world));
    network.start_holder(HOLDER);
    network.start_owner();
    network.wait_for_all();
    let bytes = object(2_000_000, 42);
    // The slowest of an upload is left out, and may be this one.
    for number in 0..10 {
        network.put("kept", &bytes);
        if network.all_holders().contains(&HOLDER) {
            break;
        }
        assert!(number < 9, "never did it take its shard in time");
        assert!(network.storage(&["delete", "kept"]).status.success());
    }
    assert!(bucket.count("held") > 0);
    assert!(here(&network.world, &format!("holder{HOLDER}/storage/held")) < 100_000, "it lies in the bucket");
    let passed = |network: &Network| {
        let opinions = network.held(HOLDER)["opinions"].clone();
        assert!(opinions[0]["lost"].as_u64().unwrap_or(0) == 0, "{opinions}");
        opinions[0]["passed"].as_u64().unwrap_or(0)
    };
    network.wait_for("a proof", |_| (passed(&network) > 0).then_some(()));

    network.kill_holder(HOLDER);
    network.start_holder(HOLDER);
    // What is heard of the new process is counted on from before; at least one proof is its own.
    network.wait_for("the first word to the new process", |_| (passed(&network) > 0).then_some(()));
    let before = passed(&network);
    network.wait_for("a proof of the new process", |_| (passed(&network) > before).then_some(()));

    // As few as suffice are left, and this is one of them.
    let others = network.all_holders().into_iter().filter(|number| *number != HOLDER);
    let dead: Vec<usize> = others.skip(3).collect();
    for number in dead {
        network.kill_holder(number);
    }
    assert!(network.get("kept").unwrap() == bytes);
    bucket.end();
    let refused = network.get("kept").unwrap_err();
    assert!(refused.contains("can be read"), "{refused}");
    bucket.start_again(&network.world);
    network.wait_for("the shard to be read again", |_| network.get("kept").is_ok().then_some(()));
    assert!(network.get("kept").unwrap() == bytes);
    assert!(alive(&network.status()) >= 4, "silence is no loss");
    let before = passed(&network);
    network.wait_for("proofs as before", |_| (passed(&network) > before).then_some(()));
}
