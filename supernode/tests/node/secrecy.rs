//! What an owner stores at its own door is nobody else's business: of many files no sixteen bytes and no name are on a
//! holder's disk, in anybody's log, or on any wire but the one to the door; and a grant for a prefix opens what is below that
//! prefix, and nothing else.
//!
//! All of it runs in a network namespace of its own, whose loopback is listened to whole. The suite plays it with a hundred
//! files; `cargo xtask bench secrecy --files 1000` with as many as are wanted.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use shared::base::SeededRng;

use crate::{
    process::{Node, run},
    s3::Client,
    strangers::{Network, Plan, alone, files, object},
    wire::Recorder,
};

const FILES: usize = 100;
/// Every fourth is below the prefix that is shared.
const PREFIXES: [&str; 4] = ["shared", "photos", "letters", "shares"];
/// What may be found by chance is shorter.
const TELLING_BYTES: usize = 16;
/// Any [`TELLING_BYTES`] in a row have one of these whole, of those that begin at a multiple of their length.
const BLOCK_BYTES: usize = TELLING_BYTES / 2;
/// Of a thousand files there are two million blocks: a thirtieth of what is not there has to be looked up.
const FILTER_BITS: u32 = 26;
/// Set where the test runs in its namespace: the directory with its log.
const INSIDE: &str = "BLACKHOLE_TEST_NAMESPACE";
const NAME: &str = "secrecy::nobody_else_learns_what_an_owner_stores";

/// Finds stretches of many texts in a long one.
struct Finder {
    texts: Vec<Vec<u8>>,
    /// Where each block of each text is, sorted.
    blocks: Vec<([u8; BLOCK_BYTES], usize, usize)>,
    /// By some bits of a block's hash, for most that is not there.
    perhaps: Vec<bool>,
}

fn bucket_of(block: [u8; BLOCK_BYTES]) -> usize {
    let mixed = u64::from_le_bytes(block).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS);
    usize::try_from(mixed).unwrap()
}

impl Finder {
    fn of(texts: Vec<Vec<u8>>) -> Self {
        let (mut blocks, mut perhaps) = (Vec::new(), vec![false; 1 << FILTER_BITS]);
        for (number, text) in texts.iter().enumerate() {
            for (place, block) in text.as_chunks::<BLOCK_BYTES>().0.iter().enumerate() {
                perhaps[bucket_of(*block)] = true;
                blocks.push((*block, number, place * BLOCK_BYTES));
            }
        }
        blocks.sort_unstable();
        Self { texts, blocks, perhaps }
    }

    /// The first text of which [`TELLING_BYTES`] in a row are in `long`.
    fn find(&self, long: &[u8]) -> Option<usize> {
        let mut windows = long.windows(BLOCK_BYTES).enumerate();
        windows.find_map(|(at, window)| {
            let block = window.try_into().unwrap();
            if !self.perhaps[bucket_of(block)] {
                return None;
            }
            let first = self.blocks.partition_point(|(other, ..)| *other < block);
            let here = self.blocks[first..].iter().take_while(|(other, ..)| *other == block);
            let mut telling = here.filter(|(_, number, place)| {
                let text = &self.texts[*number];
                let before = text[..*place].iter().rev().zip(long[..at].iter().rev());
                let behind = text[*place..].iter().zip(&long[at..]);
                let same = |(one, other): &(&u8, &u8)| one == other;
                before.take_while(same).count() + behind.take_while(same).count() >= TELLING_BYTES
            });
            telling.next().map(|(_, number, _)| *number)
        })
    }
}

#[test]
fn a_finder_finds_sixteen_bytes_wherever_they_are_and_no_fifteen() {
    let (text, other) = (object(1000, 1), object(5000, 2));
    let finder = Finder::of(vec![object(300, 3), text.clone()]);
    let check = |from: usize, length: usize, at: usize, expect: Option<usize>| {
        let mut long = other.clone();
        long.splice(at..at, text[from..from + length].iter().copied());
        // And no byte more, not even by chance.
        if let (Some(before), Some(place)) = (from.checked_sub(1), at.checked_sub(1)) {
            long[place] = !text[before];
        }
        if let (Some(behind), Some(place)) = (text.get(from + length), long.get_mut(at + length)) {
            *place = !behind;
        }
        assert_eq!(finder.find(&long), expect, "{length} bytes from {from} at {at}");
    };
    for from in 0..40 {
        check(from, TELLING_BYTES, 100 + from, Some(1));
        check(from, TELLING_BYTES - 1, 100, None);
    }
    check(1000 - TELLING_BYTES, TELLING_BYTES, 4999, Some(1));
    check(0, TELLING_BYTES, 0, Some(1));
}

/// One of the files, and its key at the door.
struct Stored {
    key: String,
    bytes: Vec<u8>,
}

/// Random names, of signs that need no escaping, and random bytes: some in the object's record, some in shards.
fn stored(number: usize, rng: &mut SeededRng) -> Stored {
    let prefix = PREFIXES[number % PREFIXES.len()];
    let length = if number.is_multiple_of(3) { 16 + rng.below(4000) } else { 4100 + rng.below(30_000) };
    let bytes = object(usize::try_from(length).unwrap(), rng.next_u64());
    Stored { key: format!("{prefix}/{}", word(rng)), bytes }
}

/// So many letters are found nowhere by chance.
fn word(rng: &mut SeededRng) -> String {
    (0..32).map(|_| char::from(b'a' + u8::try_from(rng.below(26)).unwrap())).collect()
}

#[test]
fn nobody_else_learns_what_an_owner_stores() {
    if let Some(directory) = std::env::var_os(INSIDE) {
        return inside(Path::new(&directory));
    }
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut command = Command::new("unshare");
    if run_command("id", &["-u"]).trim() != "0" {
        command.arg("--map-root-user");
    }
    command
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, directory.path())
        // All that is not for who looks for a fault.
        .env("BLACKHOLE_LOG", "info")
        .stderr(fs::File::create(&log).unwrap());
    let ended = command.status().expect("unshare of util-linux is there");
    let said = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    let last: Vec<&str> = said.lines().rev().take(20).collect();
    assert!(ended.success(), "{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
}

fn run_command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stderr(Stdio::inherit()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn inside(directory: &Path) {
    let recorder = Recorder::begin();
    let mut network = Network::of_holders(Plan::SMALL);
    let issuer = network.world.text("issuer.key");
    let did = run(&["key", "new", &issuer]).trim().to_owned();
    network.owner_sections = format!("[storage.issuers]\n{did:?} = \"owner\"\n");
    network.start_owner();
    network.wait_for_all();
    let (client, mut rng) = (network.s3(), SeededRng::from_number(7));
    let bucket = word(&mut rng);
    assert_eq!(client.ask("PUT", &format!("/{bucket}"), &[]).status, 200);
    let count = std::env::var("BLACKHOLE_FILES").map_or(FILES, |count| count.parse().unwrap());
    let all: Vec<Stored> = (0..count).map(|number| stored(number, &mut rng)).collect();
    for Stored { key, bytes } in &all {
        let answer = client.ask("PUT", &format!("/{bucket}/{key}"), bytes);
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
    }
    for Stored { key, bytes } in &all {
        let answer = client.ask("GET", &format!("/{bucket}/{key}"), &[]);
        assert!(answer.status == 200 && answer.body == *bytes, "{key}: {}", answer.status);
    }
    a_grant_opens_its_prefix(&network, &issuer, &bucket, &all);

    let door = client.door.port();
    network.owner.take().unwrap().kill();
    network.holders.iter_mut().filter_map(Option::take).for_each(Node::kill);
    let texts = all.iter().flat_map(|stored| [stored.key.clone().into_bytes(), stored.bytes.clone()]);
    let finder = Finder::of(texts.chain([bucket.clone().into_bytes()]).collect());
    let named = |number: usize| all.get(number / 2).map_or(&bucket, |stored| &stored.key);
    let check = |what: &str, bytes: &[u8]| {
        let found =
            finder.find(bytes).map(|number| (named(number), if number % 2 == 0 { "name" } else { "bytes" }));
        assert_eq!(found, None, "{what} tells of it");
    };

    let streams = recorder.end();
    let (mut wire_bytes, mut door_bytes) = (0, Vec::new());
    for (ends, bytes) in &streams {
        if ends.contains(&door) {
            door_bytes.extend_from_slice(bytes);
        } else {
            check(&format!("the wire between {ends:?}"), bytes);
            wire_bytes += bytes.len();
        }
    }
    let spread: usize = all.iter().map(|stored| stored.bytes.len()).filter(|length| *length > 4096).sum();
    assert!(wire_bytes > 3 * spread, "the wire was listened to: {wire_bytes} bytes for {spread} in shards");
    // Who looked there would find it.
    assert!(finder.find(&door_bytes).is_some(), "the wire to the door has it all");

    let mut disk_bytes = 0;
    for holder in 0..network.holders.len() {
        for file in files(&network.world.path(&format!("holder{holder}"))) {
            let bytes = fs::read(&file).unwrap();
            check(&file.display().to_string(), &bytes);
            disk_bytes += bytes.len();
        }
    }
    let log = fs::read(directory.join("log")).unwrap();
    check("a log", &log);
    println!(
        "{count} files: {wire_bytes} bytes on the wire, {disk_bytes} on holders' disks, {} in logs tell nothing",
        log.len()
    );
}

fn a_grant_opens_its_prefix(network: &Network, issuer: &str, bucket: &str, all: &[Stored]) {
    let prefix = format!("{}/", PREFIXES[0]);
    let said = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let issue = ["storage", "grant", "issue", "--key", issuer, "--bucket", bucket, "--prefix", &prefix];
    let token =
        said(run(&[&issue[..], &["--allow", "read,list"]].concat()))["token"].as_str().unwrap().to_owned();
    let node = network.owner.as_ref().unwrap();
    let keys = said(run(&["storage", "grant", "keys", &token, "--node", &node.did]));
    let guest = Client::of_key(&keys, node.s3.unwrap());
    for Stored { key, bytes } in all {
        let answer = guest.ask("GET", &format!("/{bucket}/{key}"), &[]);
        if key.starts_with(&prefix) {
            assert!(answer.status == 200 && answer.body == *bytes, "{key}: {}", answer.status);
        } else {
            assert_eq!(answer.status, 403, "{key}: {}", answer.text());
        }
        assert_eq!(guest.ask("PUT", &format!("/{bucket}/{key}"), b"more").status, 403, "{key}");
    }
    let list = |query: &str| guest.ask("GET", &format!("/{bucket}?list-type=2{query}"), &[]);
    let listed = list("&prefix=shared%2F");
    let count = all.iter().filter(|stored| stored.key.starts_with(&prefix)).count();
    assert_eq!((listed.status, listed.text().matches("<Key>").count()), (200, count), "{}", listed.text());
    assert_eq!(list("").status, 403);
    assert_eq!(list("&prefix=share").status, 403);
}
