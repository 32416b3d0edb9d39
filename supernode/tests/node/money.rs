//! A node says whether its vouchers become money, and keeps its account and books.

use std::fs;

use crate::process::{World, blackhole, run, text};

const CHANNELS: &str = "0x00000000000000000000000000000000000000c1";

fn section(more: &str) -> String {
    format!("[chain]\nchain_id = 137\nchannels = \"{CHANNELS}\"\ncoin_price = 100000\n{more}")
}

#[test]
fn a_node_without_a_chain_says_that_it_is_unsettled() {
    let world = World::new();
    let node = world.node("data", "");
    assert!(node.get("/status").text().contains("Unsettled: this node has no chain"));
    assert!(node.get("/metrics").text().contains("blackhole_chain_settled 0\n"));
    assert!(!world.path("data").join("purse.redb").exists());
}

#[test]
fn vouchers_wait_for_an_endpoint_and_the_account_survives_a_kill() {
    let world = World::new();
    let key = world.text("own.key");
    let made = run(&["account", "new", &key]);
    assert_eq!(run(&["account", "show", &key]), made);
    let section = section(&format!("key_file = {key:?}\n"));
    let node = world.node("data", &section);
    let status = node.get("/status").text();
    assert!(status.contains("unsettled: vouchers for chain 137 are kept"), "{status}");
    let metrics = node.get("/metrics").text();
    for line in ["blackhole_chain_settled 0\n", "blackhole_chain_base_units{figure=\"earned\"} 0\n"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert!(status.contains(made.trim()), "{status}");
    node.kill();
    // The books are this account's, and open again after a kill.
    let node = world.node("data", &section);
    assert!(node.get("/status").text().contains(made.trim()));
}

#[test]
fn an_endpoint_that_is_away_is_said_so_and_keeps_nothing_else_waiting() {
    let world = World::new();
    // Nobody listens on the port of the discard service.
    let node = world.node("data", &section("rpc = \"http://127.0.0.1:9/secret\"\n"));
    let status = node.get("/status").text();
    assert!(status.contains("settled on chain 137") && status.contains("does not answer"), "{status}");
    assert!(!status.contains("/secret"), "{status}");
    assert!(node.get("/metrics").text().contains("blackhole_chain_settled 1\n"));
}

#[test]
fn bad_money_is_refused_with_a_remedy() {
    let world = World::new();
    let refused = |sections: &str, expect: &[&str]| {
        let config = world.config("data", sections);
        let output = blackhole(&["node", "run", "--config", config.to_str().unwrap()]).output().unwrap();
        assert!(!output.status.success(), "{sections}");
        for part in expect {
            assert!(text(&output).contains(part), "{:?} lacks {part:?}", text(&output));
        }
    };
    refused("[chain]\nchain_id = 137\n", &["missing field `channels`"]);
    refused(&section("").replace(CHANNELS, "0xc1"), &["channels = ", "40 hexadecimal digits"]);
    refused(&section("poll_seconds = 0\n"), &["poll_seconds", "at least 1"]);
    let key = world.path("wrong.key");
    fs::copy(world.path("publisher.key"), &key).unwrap();
    refused(&section(&format!("key_file = {:?}\n", key.to_str().unwrap())), &["key_file", "is not a key"]);
    drop(world.node("data", &section("")));
    refused(&section("").replace("137", "1"), &["purse.redb", "move"]);
}
