//! A node whose blobs lie in a bucket at another node's S3 door: killed, cut off from it, and lied to by it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use shared::base::SeededRng;

use crate::{
    http::Answer,
    process::{Node, PATIENCE, World, free_port},
    publishing::bytes,
    s3::Client,
    tls,
};

/// Times that the node is killed while it stores.
const KILLS: u64 = 4;
/// What is stored: in its record, in one request, in parts, and in two segments.
const LENGTHS: [usize; 5] = [1000, 5000, 300_000, 20_000_000, 70_000_000];

/// A node with a bucket at its S3 door, and one that keeps its blobs there.
struct Pair {
    world: World,
    bucket: Option<Node>,
    bucket_client: Client,
    node: Option<Node>,
    client: Client,
}

impl Pair {
    fn new() -> Self {
        let world = World::new();
        let bucket = world.node("bucket", &door(free_port()));
        let bucket_client = Client::new(&world.text("bucket.toml"), bucket.s3.unwrap());
        assert_eq!(bucket_client.ask("PUT", "/blobs", &[]).status, 200);
        let mut pair =
            Self { world, bucket: Some(bucket), bucket_client, node: None, client: Client::nobody() };
        pair.start();
        pair.client = Client::new(&pair.world.text("node.toml"), pair.client.door);
        assert_eq!(pair.client.ask("PUT", "/photos", &[]).status, 200);
        pair
    }

    /// Starts the node that keeps its blobs in the bucket.
    fn start(&mut self) {
        let sections = format!(
            "{}scrub_seconds = 1\n[storage.bucket]\nname = \"blobs\"\nendpoint = \"http://{}\"\nprefix = \"nodes/one\"\n",
            door(0),
            self.bucket_client.door
        );
        let mut command = self.world.command("node", &sections);
        command
            .env("AWS_ACCESS_KEY_ID", &self.bucket_client.id)
            .env("AWS_SECRET_ACCESS_KEY", &self.bucket_client.secret);
        let node = Node::start(command);
        self.client.door = node.s3.unwrap();
        self.node = Some(node);
    }

    fn start_bucket(&mut self) {
        let node = self.world.node("bucket", &door(self.bucket_client.door.port()));
        self.bucket = Some(node);
    }

    /// The names of blobs in the bucket.
    fn blobs(&self) -> Vec<String> {
        let list = self.bucket_client.ask("GET", "/blobs?list-type=2", &[]).text();
        let keys = list.split("<Key>").skip(1).map(|rest| rest.split_once("</Key>").unwrap().0.to_owned());
        keys.filter(|key| key.starts_with("nodes/one/door/blobs/")).collect()
    }

    fn get(&self, key: &str) -> Answer {
        self.client.ask("GET", &format!("/photos/{key}"), &[])
    }
}

fn door(port: u16) -> String {
    format!("[storage]\nlisten = \"127.0.0.1:{port}\"\n")
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_bucket_by_tls_is_believed_for_its_certificate_alone() {
    let world = World::new();
    tls::issue(&world);
    let plain = world.node("bucket", &door(free_port()));
    let client = Client::new(&world.text("bucket.toml"), plain.s3.unwrap());
    assert_eq!(client.ask("PUT", "/blobs", &[]).status, 200);
    plain.kill();
    let sections = format!("{}[storage.tls]\n{}", door(client.door.port()), tls::files(&world));
    let _bucket = world.node("bucket", &sections);
    let check = |trusted: Option<String>, expect: u16| {
        let endpoint = format!("https://localhost:{}", client.door.port());
        let sections = format!("{}[storage.bucket]\nname = \"blobs\"\nendpoint = {endpoint:?}\n", door(0));
        let mut command = world.command("node", &sections);
        command.env("AWS_ACCESS_KEY_ID", &client.id).env("AWS_SECRET_ACCESS_KEY", &client.secret);
        if let Some(trusted) = trusted {
            command.env("SSL_CERT_FILE", trusted);
        }
        let node = Node::start(command);
        let photos = Client::new(&world.text("node.toml"), node.s3.unwrap());
        photos.ask("PUT", "/photos", &[]);
        let answer = photos.ask("PUT", "/photos/one", &bytes(1, 300_000));
        assert_eq!(answer.status, expect, "{}", answer.text());
        if expect == 200 {
            assert!(photos.ask("GET", "/photos/one", &[]).body == bytes(1, 300_000));
        }
    };
    check(None, 503);
    check(Some(world.text("authority.pem")), 200);
}

#[test]
fn blobs_in_a_bucket_survive_kills_outages_and_rot() {
    let mut pair = Pair::new();
    let mut rng = SeededRng::from_number(21);
    let mut stored: BTreeMap<String, (u64, usize)> = BTreeMap::new();

    // Killed while it stores: what was acknowledged is there.
    for round in 0..KILLS {
        let dead = AtomicBool::new(false);
        let node = pair.node.take().unwrap();
        let patience = Duration::from_millis(200 + rng.below(2500));
        let acknowledged = std::thread::scope(|scope| {
            let storing = scope.spawn(|| {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let (key, seed) = (format!("{round}-{number}"), round * 1000 + number);
                    let length = LENGTHS[usize::try_from(number).unwrap() % LENGTHS.len()];
                    let answer = pair.client.try_ask("PUT", &format!("/photos/{key}"), &bytes(seed, length));
                    if answer.is_some_and(|answer| answer.status == 200) {
                        acknowledged.push((key, (seed, length)));
                    } else if dead.load(Ordering::Relaxed) {
                        return acknowledged;
                    }
                }
                acknowledged
            });
            std::thread::sleep(patience);
            node.kill();
            dead.store(true, Ordering::Relaxed);
            storing.join().unwrap()
        });
        stored.extend(acknowledged);
        pair.start();
    }
    assert!(stored.len() > 4, "{} objects in {KILLS} rounds", stored.len());
    for (key, (seed, length)) in &stored {
        let answer = pair.get(key);
        assert_eq!((answer.status, answer.whole), (200, true), "{key}");
        assert!(answer.body == bytes(*seed, *length), "{key}");
    }

    // Cut off: said so at once, and over as soon as the bucket is there again.
    let (key, (seed, length)) = stored.iter().find(|(_, (_, length))| *length == 300_000).unwrap();
    pair.bucket.take().unwrap().kill();
    let begun = Instant::now();
    let refused = pair.get(key);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("bucket cannot be reached"), "{}", refused.text());
    let refused = pair.client.ask("PUT", "/photos/refused", &bytes(5, 300_000));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    // Also where it starts while the bucket is away.
    pair.node.take().unwrap().kill();
    pair.start();
    assert_eq!(pair.get(key).status, 503);
    pair.start_bucket();
    until("the bucket is used again", || pair.get(key).status == 200);
    assert!(pair.get(key).body == bytes(*seed, *length));
    assert_eq!(pair.client.ask("PUT", "/photos/again", &bytes(6, 300_000)).status, 200);
    assert_eq!(pair.get("refused").status, 404);

    // What was never acknowledged, and what is deleted, does not stay in the bucket.
    let list = pair.client.ask("GET", "/photos?list-type=2", &[]).text();
    for key in list.split("<Key>").skip(1).map(|rest| rest.split_once("</Key>").unwrap().0) {
        if key != "again" {
            assert_eq!(pair.client.ask("DELETE", &format!("/photos/{key}"), &[]).status, 204);
        }
    }
    until("one blob is left", || pair.blobs().len() == 1);
    let uploads = pair.bucket_client.ask("GET", "/blobs?uploads=", &[]).text();
    assert!(!uploads.contains("<Upload>"), "{uploads}");

    // Lied to: the reader gets none of it, and the scrub names it.
    let name = format!("/blobs/{}", pair.blobs()[0]);
    let mut rotten = pair.bucket_client.ask("GET", &name, &[]).body;
    rotten[200_000] ^= 1;
    assert_eq!(pair.bucket_client.ask("PUT", &name, &rotten).status, 200);
    let path = "/photos/again";
    let answer = pair.client.try_ask("GET", path, &[]);
    let sound = bytes(6, 300_000);
    // Parts before the damage may have gone out by then, and they are sound.
    let lied = answer.is_some_and(|answer| answer.status == 200 && answer.body == sound);
    assert!(!lied);
    let node = pair.node.as_ref().unwrap();
    node.wait_for("the scrub", |node| {
        node.get("/metrics").text().contains("blackhole_storage_rotten_blobs_total 1\n").then_some(())
    });
}
