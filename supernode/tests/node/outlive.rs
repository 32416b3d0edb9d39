//! What outlives the death of n − k holders, and no more: with as many dead an object is read, with one more the door
//! says plainly that it cannot be now, and one that returns brings it back.
//!
//! The suite plays it with 4 of 12; `cargo xtask bench holders` with 29 of 80, each a process.

use std::time::Duration;

use shared::base::SeededRng;

use crate::strangers::{Network, Plan, object};

/// First byte of an object of which as many holders died as may.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(2);

struct Figures {
    first_bytes: Vec<Duration>,
    resident_kib: Vec<u64>,
}

/// Kills holders of an object at random until it cannot be read, lets one return, and then all, for each seed.
/// It is stored `tries` times, until every holder has a shard.
fn play(
    plan: Plan,
    needed: usize,
    (bytes, tries): (usize, usize),
    seeds: impl Iterator<Item = u64>,
) -> Figures {
    let mut network = Network::planned(plan);
    let client = network.s3();
    assert_eq!(client.ask("PUT", "/bucket", &[]).status, 200);
    let mut figures = Figures { first_bytes: Vec::new(), resident_kib: Vec::new() };
    let stored = object(bytes, 1);
    // The slowest are cancelled once enough holders signed; where all are to have their shard, it is tried again.
    for _ in 0..tries {
        assert_eq!(client.ask("PUT", "/bucket/a", &stored).status, 200);
        let first =
            |status: &serde_json::Value| (status["segments"].as_array().unwrap().len() == 1).then_some(());
        network.wait_for("the segment before to be given up", first);
        if network.all_holders().len() == plan.holders {
            break;
        }
    }
    let holding = network.all_holders();
    println!("{} of {} holders have a shard, and {needed} are needed", holding.len(), plan.holders);
    assert!(tries == 1 || holding.len() == plan.holders, "never did all take their shard in {tries} tries");
    let tolerated = holding.len() - needed;
    for seed in seeds {
        let mut order = holding.clone();
        SeededRng::from_number(seed).shuffle(&mut order);
        for (dead, victim) in (1..).zip(&order[..=tolerated]) {
            network.kill_holder(*victim);
            if dead + 1 < tolerated {
                continue;
            }
            let (first, answer) = client.get_timed("/bucket/a");
            if dead <= tolerated {
                assert!(
                    answer.status == 200 && answer.body == stored,
                    "seed {seed}: {dead} dead: {}",
                    answer.status
                );
                figures.first_bytes.push(first);
            } else {
                assert_eq!(answer.status, 503, "seed {seed}: {dead} dead: {}", answer.text());
                assert!(answer.text().contains("<Code>ServiceUnavailable</Code>"), "{}", answer.text());
            }
        }
        network.start_holder(order[tolerated]);
        network.wait_for("it to be readable with one more", |_| {
            let answer = client.ask("GET", "/bucket/a", &[]);
            if answer.status == 503 {
                return None;
            }
            assert!(answer.status == 200 && answer.body == stored, "seed {seed}: {}", answer.status);
            Some(())
        });
        network.start_holders(&order[..tolerated]);
        figures.resident_kib =
            network.holders.iter().flatten().map(crate::process::Node::resident_kib).collect();
        // Read once from all, so that the next round begins with what an owner knows of a network that is well.
        network.wait_for("all to be there again", |_| {
            (client.ask("GET", "/bucket/a", &[]).body == stored).then_some(())
        });
        println!(
            "seed {seed}: first byte with {} and {tolerated} dead {:?}",
            tolerated - 1,
            figures.first_bytes.last_chunk::<2>()
        );
    }
    figures
}

/// `cargo xtask bench holders` plays it with eighty, which want some 3 GB of memory and minutes to begin:
/// `BLACKHOLE_SEEDS` says how often they die.
#[test]
fn as_many_holders_may_die_as_the_code_says_and_no_more() {
    let Ok(seeds) = std::env::var("BLACKHOLE_SEEDS") else {
        let plan = Plan { holders: 12, gone_seconds: 86_400, ..Plan::SMALL };
        play(plan, 4, (3_000_000, 1), 1..3);
        return;
    };
    let seeds = seeds.parse().unwrap();
    // Where eighty say each few seconds that they are there, two cores do nothing else.
    let plan =
        Plan { holders: 80, profile: "29/80", advert_seconds: 300, gone_seconds: 86_400, ..Plan::SMALL };
    let Figures { mut first_bytes, mut resident_kib } = play(plan, 29, (8_000_000, 20), 0..seeds);
    first_bytes.sort_unstable();
    resident_kib.sort_unstable();
    println!(
        "{seeds} seeds; first byte: median {:?}, longest {:?}; memory of a holder: median {} KiB, most {} KiB",
        first_bytes[first_bytes.len() / 2],
        first_bytes.last().unwrap(),
        resident_kib[resident_kib.len() / 2],
        resident_kib.last().unwrap()
    );
    if first_bytes.last() > Some(&FIRST_BYTE_WITHIN) {
        println!("a first byte came later than {FIRST_BYTE_WITHIN:?}");
    }
}
