//! What a node served and a receiver signed for: on its operator's page and in the export, each figure with its receipt.

use std::collections::BTreeMap;

use shared::{cdn::receipts::Receipt, identity::Keypair, wire::cdn as wire};

use crate::{
    http::{exchange, get, unchunked},
    process::{Node, World, blackhole},
    visitor::Visitor,
};

const NETWORK: &str = "[network]\nlocal_network = true\nlisten = [\"/ip4/127.0.0.1/tcp/0/ws\"]\n";
const EARNINGS: &str = "[earnings]\nprice = { base_units = 3, per_bytes = 1000 }\nbook_seconds = 1\n";

/// The export, a map of columns a line.
fn export(node: &Node) -> Vec<BTreeMap<String, String>> {
    let answer = node.get("/status/earnings.csv");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.headers["content-type"].starts_with("text/csv"));
    let text = unchunked(&answer);
    let mut lines = text.split_terminator("\r\n").map(|line| line.split(',').map(str::to_owned));
    let head: Vec<String> = lines.next().unwrap().collect();
    lines.map(|line| head.iter().cloned().zip(line).collect()).collect()
}

#[test]
fn what_a_receiver_signed_for_is_earned_shown_and_exported_with_its_receipt() {
    let world = World::new();
    world.file("site/film.bin", &vec![7; 50_000]);
    let sections = format!("{NETWORK}{EARNINGS}{}", world.site(""));
    let node = world.node("data", &sections);
    assert!(world.publish("site", &["--to", &node.edge]).output().unwrap().status.success());
    assert!(node.get("/status/earnings").text().contains("3 base units for each 1\u{202f}000 bytes"));
    assert_eq!(export(&node), []);

    let manifest = node.manifest(&world.pin()).unwrap();
    let root = manifest.assets[&"/film.bin".parse().unwrap()].root;
    let (receiver, site) = (Keypair::from_secret([9; 32]), world.pin().site_id());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let arrive = Visitor::arrive(&node.addresses[0], &node.did, &receiver, site);
    let mut visitor = runtime.block_on(arrive).unwrap();
    let session = visitor.session;
    assert!(runtime.block_on(visitor.get(root, 4)).unwrap());
    assert_eq!(visitor.bytes, 50_000);
    for signed in [25_000, 50_000] {
        runtime.block_on(visitor.sign(signed)).unwrap();
    }
    let running = node.wait_for("the receipt", |node| export(node).pop());
    let did = receiver.public().to_string();
    assert_eq!((running["state"].as_str(), running["receiver"].as_str()), ("running", did.as_str()));
    node.wait_for("the newest receipt", |node| (export(node)[0]["signed_bytes"] == "50000").then_some(()));
    let page = node.get("/status/earnings").text();
    assert!(page.contains(&did) && page.contains(&format!("{session:016x}")), "{page}");

    runtime.block_on(visitor.leave());
    let booked =
        node.wait_for("the booking", |node| export(node).pop().filter(|row| row["state"] == "booked"));
    let provider = node.did.clone();
    let check = |row: &BTreeMap<String, String>| {
        for (column, value) in [
            ("batch", "0"),
            ("signed_bytes", "50000"),
            ("sent_bytes", "50000"),
            ("price_base_units", "3"),
            ("price_per_bytes", "1000"),
            ("worth_base_units", "150"),
        ] {
            assert_eq!(row[column], value, "{row:?}");
        }
        // Whoever has the export can check it.
        let hex = |column: &str| hex::decode(&row[column]).unwrap();
        let signed = wire::SignedReceipt { receipt: hex("receipt"), signature: hex("signature") };
        let receipt = Receipt::open(&signed).unwrap();
        assert_eq!((receipt.receiver, receipt.provider.to_string()), (receiver.public(), provider.clone()));
        assert_eq!((receipt.session, receipt.bytes), (session, 50_000));
    };
    check(&booked);
    let status = node.get("/status").text();
    assert!(status.contains("48.8 KiB of what this node sent over links, worth 150 base units"), "{status}");
    assert!(!status.contains(&did), "who received is for the operator alone");

    node.kill();
    let node = world.node("data", &sections);
    check(&export(&node)[0]);
    let page = node.get("/status/earnings").text();
    assert!(page.contains("Unsettled: no chain is configured.") && page.contains("have 1 entries"), "{page}");
}

#[test]
fn earnings_are_for_the_operator_alone() {
    let world = World::new();
    let node = world.node("data", "");
    let page = node.get("/status/earnings");
    assert_eq!(page.status, 200);
    assert!(!page.headers.contains_key("access-control-allow-origin"), "another page could read it");
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(page.text().contains("none: what is served is counted, and comes to nothing"));
    for path in ["/status/earnings", "/status/earnings.csv"] {
        for proxied in ["x-forwarded-for", "forwarded", "via"] {
            assert_eq!(get(node.address, path, &[(proxied, "192.0.2.1")]).status, 403);
        }
        assert_eq!(get(node.address, path, &[("sec-fetch-site", "cross-site")]).status, 403);
        let rebound = format!("GET {path} HTTP/1.1\r\nhost: rebound.example\r\nconnection: close\r\n\r\n");
        let answer = String::from_utf8(exchange(node.address, rebound.as_bytes())).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("from the node's own machine"),
            "{answer}"
        );
    }
    // There is no other way to write the path, by which it would be open to other pages.
    for other in ["/status/%65arnings", "/status//earnings", "/status/earnings/", "/STATUS/EARNINGS"] {
        assert_eq!(node.get(other).status, 404, "{other}");
    }
    // Behind a proxy everybody comes from this machine.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = world.config("named", &format!("public_url = \"http://{free}\"\n"));
    let text = std::fs::read_to_string(&config).unwrap().replace("127.0.0.1:0", &free.to_string());
    std::fs::write(&config, text).unwrap();
    let named = Node::start(blackhole(&["node", "run", "--config", config.to_str().unwrap()]));
    assert_eq!(get(named.address, "/status/earnings", &[]).status, 403);
}
