//! What a node served and a receiver signed for: on its operator's page and in the export, each figure with its receipt.

use std::collections::BTreeMap;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use links::{Event, StreamProtocol};
use net::{Config, Multiaddr, Network};
use prometheus_client::registry::Registry;
use prost::Message as _;
use shared::{
    base::BlobRoot,
    cdn::{
        bulk::{Answer, AnswerReader, PROTOCOL, SWARM_VERSION, StreamKind, open_frame},
        messages,
        receipts::Receipt,
    },
    identity::{Keypair, PublicKey},
    wire::{FrameReader, cdn as wire, write_frame},
};

use crate::{
    http::{exchange, get, unchunked},
    process::{Node, PATIENCE, World, blackhole},
};

const NETWORK: &str = "[network]\nlocal_network = true\nlisten = [\"/ip4/127.0.0.1/tcp/0/ws\"]\n";
const EARNINGS: &str = "[earnings]\nprice = { base_units = 3, per_bytes = 1000 }\nbook_seconds = 1\n";

/// A receiver that gets groups of a blob, signs for all it got, and stays until it is dropped. Says how many bytes that
/// were, and in which session.
async fn receive(
    node: &Node,
    key: &Keypair,
    site: Vec<u8>,
    root: BlobRoot,
    groups: u32,
) -> (Network, u64, u64) {
    let config = Config { listen: Vec::new(), local_network: true, ..Config::default() };
    let services = vec![PROTOCOL.parse().unwrap()];
    let (network, mut events) =
        Network::start(config, key, services, &mut Registry::default()).await.unwrap();
    let address: Multiaddr = node.addresses[0].parse().unwrap();
    network.dial(address).await.unwrap();
    let link = loop {
        if let Event::Linked { link, .. } = events.next().await.unwrap() {
            break link;
        }
    };
    tokio::spawn(async move { while events.next().await.is_some() {} });
    let protocol = || StreamProtocol::new(PROTOCOL);
    let mut control = network.links().open(link, protocol()).await.unwrap();
    let state = wire::SiteState { site, sequence: 1, complete: false, swarm: 0 };
    let hello = wire::Hello {
        version: SWARM_VERSION,
        role: wire::Role::Tab.into(),
        sites: vec![state],
        session: 1,
        ..wire::Hello::default()
    };
    let mut out = open_frame(StreamKind::Control);
    write_frame(&messages::control(wire::control::Message::Hello(hello)), &mut out);
    control.write_all(&out).await.unwrap();
    control.flush().await.unwrap();
    let (mut frames, mut buffer) = (FrameReader::default(), [0; 4096]);
    let session = loop {
        let read = control.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the node says who it is");
        frames.handle_bytes(&buffer[..read]);
        let frame = frames.poll_frame().unwrap().map(|frame| wire::Control::decode(&*frame).unwrap());
        if let Some(wire::control::Message::Hello(hello)) = frame.and_then(|frame| frame.message) {
            break hello.session;
        }
    };

    let mut bulk = network.links().open(link, protocol()).await.unwrap();
    let mut out = open_frame(StreamKind::Bulk);
    let part = wire::bulk_request::Part::Groups(wire::GroupRange { first: 0, count: groups });
    let request = wire::BulkRequest { request: 1, root: root.0.to_vec(), part: Some(part), receipt: None };
    write_frame(&request.encode_to_vec(), &mut out);
    bulk.write_all(&out).await.unwrap();
    bulk.flush().await.unwrap();
    let (mut answers, mut bytes, mut pieces) = (AnswerReader::default(), 0, 0);
    while pieces < groups {
        let read = bulk.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the node serves what it has");
        answers.handle_bytes(&buffer[..read]);
        while let Some(answer) = answers.poll_answer().unwrap() {
            let Answer::Piece { payload, .. } = answer else { panic!("refused: {answer:?}") };
            bytes += payload.len() as u64;
            pieces += 1;
        }
    }
    let provider: PublicKey = node.did.parse().unwrap();
    let mut out = Vec::new();
    for signed in [bytes / 2, bytes] {
        let receipt = Receipt::sign(key, &provider, session, signed);
        write_frame(&messages::control(wire::control::Message::Receipt(receipt)), &mut out);
    }
    control.write_all(&out).await.unwrap();
    control.flush().await.unwrap();
    // Held open, so that the session runs until the network ends.
    tokio::spawn(async move { tokio::time::timeout(PATIENCE, control.read(&mut buffer)).await.map(drop) });
    (network, bytes, session)
}

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
    let (receiver, site) = (Keypair::from_secret([9; 32]), world.pin().site_id().0.to_vec());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (network, bytes, session) = runtime.block_on(receive(&node, &receiver, site, root, 4));
    assert_eq!(bytes, 50_000);
    let running = node.wait_for("the receipt", |node| export(node).pop());
    let did = receiver.public().to_string();
    assert_eq!((running["state"].as_str(), running["receiver"].as_str()), ("running", did.as_str()));
    node.wait_for("the newest receipt", |node| (export(node)[0]["signed_bytes"] == "50000").then_some(()));
    let page = node.get("/status/earnings").text();
    assert!(page.contains(&did) && page.contains(&format!("{session:016x}")), "{page}");

    runtime.block_on(network.shutdown());
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
