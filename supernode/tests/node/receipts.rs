//! What tabs deliver to each other is known to a supernode by the receipts that they hand in.

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use links::{Event, StreamProtocol};
use net::{Config, Multiaddr, Network};
use prometheus_client::registry::Registry;
use shared::{
    cdn::{
        bulk::{PROTOCOL, SWARM_VERSION, StreamKind, open_frame},
        messages,
        receipts::{Receipt, Verified},
    },
    identity::{Keypair, PublicKey},
    wire::{cdn as wire, write_frame},
};

use crate::process::{PATIENCE, World};

const DELIVERED: u64 = 5_000_000;

/// A tab that says Hello, and asks for others with receipts in its hand; returns once it was answered.
async fn hand_in(node: &Multiaddr, tab: &Keypair, site: Vec<u8>, receipts: Vec<wire::SignedReceipt>) {
    let config = Config { listen: Vec::new(), local_network: true, ..Config::default() };
    let services = vec![PROTOCOL.parse().unwrap()];
    let (network, mut events) =
        Network::start(config, tab, services, &mut Registry::default()).await.unwrap();
    network.dial(node.clone()).await.unwrap();
    let link = loop {
        if let Event::Linked { link, .. } = events.next().await.unwrap() {
            break link;
        }
    };
    let mut stream = network.links().open(link, StreamProtocol::new(PROTOCOL)).await.unwrap();
    let state = wire::SiteState { site: site.clone(), sequence: 1, complete: false, swarm: 0 };
    let hello = wire::Hello {
        version: SWARM_VERSION,
        role: wire::Role::Tab.into(),
        sites: vec![state],
        session: 1,
        ..wire::Hello::default()
    };
    let ask = wire::AskPeers { request: 1, site, count: 8, receipts, ..wire::AskPeers::default() };
    let mut out = open_frame(StreamKind::Control);
    write_frame(&messages::control(wire::control::Message::Hello(hello)), &mut out);
    write_frame(&messages::control(wire::control::Message::AskPeers(ask)), &mut out);
    stream.write_all(&out).await.unwrap();
    stream.flush().await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    // Stays a member for as long as the test looks.
    tokio::time::sleep(PATIENCE).await;
}

#[test]
fn status_shows_what_tabs_delivered_to_each_other() {
    let world = World::new();
    world.file("site/index.html", b"<p>hello");
    let network = "[network]\nlocal_network = true\nlisten = [\"/ip4/127.0.0.1/tcp/0/ws\"]\n";
    let node = world.node("data", &format!("{network}{}", world.site("")));
    assert!(world.publish("site", &["--to", &node.edge]).output().unwrap().status.success());
    let site = world.pin().site_id().0.to_vec();
    let [provider, receiver, forger] = [1, 2, 3].map(|number| Keypair::from_secret([number; 32]));
    let key: PublicKey = provider.public();
    let good = Receipt::sign(&receiver, &key, 1, Verified::of(DELIVERED));
    // Cumulative: the same again adds nothing. Not signed by whom it names: adds nothing either.
    let mut forged = Receipt::sign(&forger, &key, 1, Verified::of(9 * DELIVERED));
    forged.signature = good.signature.clone();
    let receipts = vec![good.clone(), good, forged];
    let address: Multiaddr = node.addresses[0].parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.spawn(async move { hand_in(&address, &provider, site, receipts).await });

    let counted = format!("blackhole_cdn_bytes_total{{site=\"site.example\",source=\"Peer\"}} {DELIVERED}\n");
    node.wait_for("the receipts", |node| node.get("/metrics").text().contains(&counted).then_some(()));
    let metrics = node.get("/metrics").text();
    assert!(metrics.contains("blackhole_cdn_swarm{site=\"site.example\"} 1\n"), "{metrics}");
    assert!(metrics.contains("blackhole_net_links{kind=\"websocket\"} 1\n"), "{metrics}");
    let status = node.get("/status").text();
    assert!(status.contains("4.8 MiB, by receipts") && status.contains("100.0 %"), "{status}");
    assert!(status.contains("Links by websocket"), "{status}");
    runtime.shutdown_background();
}
