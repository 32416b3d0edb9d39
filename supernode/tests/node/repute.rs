//! A holder reads in its own status what owners think of it, and why.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    process::{Node, PATIENCE, text},
    strangers::{Network, Plan, object},
};

/// As few lost shards as dismiss a holder that passed many audits, and one more.
const SHARDS: usize = 9;
/// Objects until one holder has so many: the slowest of each upload are left out.
const OBJECTS: u64 = 20;
/// Long enough for shards of more than a group each.
const OBJECT_BYTES: usize = 400_000;
/// The one that is looked at.
const HOLDER: usize = 5;

/// Everybody is needed, so that each has a shard of nearly each object.
const PLAN: Plan = Plan { holders: 12, audit_seconds: 1, ..Plan::SMALL };

/// Falls of reputation that a holder's log tells, by how bad they are.
type Falls = Arc<Mutex<BTreeMap<String, usize>>>;

/// Starts the holder, counting what its log tells.
fn start(network: &mut Network, falls: &Falls) {
    let mut command = network.holder(HOLDER);
    command.env("BLACKHOLE_LOG", "warn,blackhole::events::storage=info").env("NO_COLOR", "1");
    let mut starting = Node::begin(command, Stdio::piped());
    let (log, falls) = (starting.log(), Arc::clone(falls));
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if line.contains("event=\"reputation_fell\"") {
                let concern = line.split_once("concern=").unwrap().1.split_whitespace().next().unwrap();
                *falls.lock().unwrap().entry(concern.to_owned()).or_default() += 1;
            }
        }
    });
    network.holders[HOLDER] = Some(starting.ready());
}

/// Asks a holder until its status is as wanted.
fn wait_for(network: &Network, holder: usize, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE * 3;
    loop {
        let held = network.held(holder);
        if is(&held) {
            return held;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}: {held}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_holder_that_lost_shards_reads_which_owner_saw_it_and_what_to_do() {
    let mut network = Network::planned(PLAN);
    let falls = Falls::default();
    network.kill_holder(HOLDER);
    start(&mut network, &falls);
    let owner = network.owner.as_ref().unwrap().did.clone();
    let did = network.holders[HOLDER].as_ref().unwrap().did.clone();
    assert_eq!(
        (&network.held(HOLDER)["leases"], &network.held(HOLDER)["repute"]["owners"]),
        (&0.into(), &0.into())
    );
    let has = |network: &Network| {
        let status = network.status();
        let segments = status["segments"].as_array().unwrap();
        let holds = |segment: &&Value| {
            segment["holders"].as_array().unwrap().iter().any(|place| place[1] == did.as_str())
        };
        segments.iter().filter(holds).count()
    };
    for number in 0..OBJECTS {
        if has(&network) >= SHARDS {
            break;
        }
        network.put(&format!("object{number}"), &object(OBJECT_BYTES, number));
    }
    assert!(has(&network) >= SHARDS, "{} shards of {OBJECTS} objects", has(&network));

    // Where all is well, that is what it hears.
    let well =
        wait_for(&network, HOLDER, "a good word", |held| held["opinions"][0]["passed"].as_u64() > Some(0));
    let word = &well["opinions"][0];
    assert_eq!(
        (word["owner"].as_str(), &word["vetted"], &word["lost"]),
        (Some(&*owner), &true.into(), &0.into())
    );
    assert!(word["leases"].as_u64() >= Some(9) && well["leases"] == word["leases"], "{well}");
    assert_eq!((&well["repute"]["owners"], &well["repute"]["dismissed"]), (&1.into(), &0.into()));

    network.rot(HOLDER);
    let told = wait_for(&network, HOLDER, "the bad news", |held| held["repute"]["dismissed"] == 1);
    let word = &told["opinions"][0];
    assert_eq!(
        (word["owner"].as_str(), &word["dismissed"], &word["reputation"]),
        (Some(&*owner), &true.into(), &0.into())
    );
    assert!(word["lost"].as_u64() >= Some(5) && word["vetted"] == false, "{word}");
    assert!(word["words"].as_str().unwrap().contains("were answered as lost"), "{word}");
    assert!(word["advice"][0].as_str().unwrap().contains("Look at the disk"), "{word}");
    let shown = text(&network.ask_holder(HOLDER, &["status"]));
    assert!(
        shown.contains(&owner) && shown.contains("Dismissed") && shown.contains("Look at the disk"),
        "{shown}"
    );
    let node = network.holders[HOLDER].as_ref().unwrap();
    let page = node.get("/status").text();
    assert!(page.contains("Shards held for others") && page.contains(&owner), "{page}");
    assert!(page.contains("dismissed by 1.") && page.contains("Look at the disk"), "{page}");
    let metrics = node.get("/metrics").text();
    for line in ["owners 1", "owners_dismissing 1", "worst_reputation 0"] {
        assert!(metrics.contains(&format!("\nblackhole_held_{line}\n")), "{line}: {metrics}");
    }
    let lost = format!("blackhole_held_audits{{end=\"lost\"}} {}\n", word["lost"]);
    assert!(metrics.contains(&lost), "{lost}: {metrics}");

    // The others hear of themselves, and nothing of it.
    let other = wait_for(&network, 0, "a good word", |held| held["opinions"][0]["passed"].as_u64() > Some(0));
    assert_eq!(
        (&other["opinions"][0]["lost"], &other["opinions"][0]["dismissed"]),
        (&0.into(), &false.into())
    );
    let refused = network.ask_holder(HOLDER, &["ls"]);
    assert!(!refused.status.success() && text(&refused).contains("no section [storage.own]"), "{refused:?}");

    // Who starts again hears it again, though it is asked nothing any more; and each process tells it once.
    let heard = falls.lock().unwrap().clone();
    assert_eq!(heard.get("Dismissed"), Some(&1), "{heard:?}");
    assert!(heard.get("Doubted").is_none_or(|times| *times == 1), "{heard:?}");
    network.kill_holder(HOLDER);
    start(&mut network, &falls);
    wait_for(&network, HOLDER, "the same again", |held| held["repute"]["dismissed"] == 1);
}
