//! Supernodes that find each other, over real sockets on this machine.

use std::{future::Future, net::TcpListener, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use links::{Event, LinkKind, StreamProtocol};
use prometheus_client::registry::Registry;
use shared::{coordination::ServiceName, identity::Keypair};
use supernode_net::{Config, DialFailed, Multiaddr, Network};

const CDN: &str = "/blackhole/cdn/1.0.0";

/// Ample on a loaded machine; a test that hangs should say so, not stop the suite.
const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    network: Network,
    events: links::Events,
    metrics: Registry,
}

async fn within<Output>(what: &str, future: impl Future<Output = Output>) -> Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Looks again and again, since gossip and the DHT have no event for "now everybody knows".
async fn until(what: &str, reached: impl Fn() -> bool) {
    let reach = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, reach).await;
}

fn config(listen: &[&str], bootstrap: &[Multiaddr]) -> Config {
    Config {
        listen: listen.iter().map(|address| address.parse().expect(address)).collect(),
        bootstrap: bootstrap.iter().map(|address| address.clone().try_into().expect("dialable")).collect(),
        local_network: true,
        ..Config::default()
    }
}

fn services() -> Vec<ServiceName> {
    vec![CDN.parse().expect("a protocol id")]
}

async fn start(number: u8, config: Config) -> Node {
    let mut metrics = Registry::default();
    let keypair = Keypair::from_secret([number; 32]);
    let (network, events) =
        Network::start(config, &keypair, services(), &mut metrics).await.expect("the network starts");
    Node { network, events, metrics }
}

async fn refusal(config: Config) -> String {
    let keypair = Keypair::from_secret([99; 32]);
    let outcome = Network::start(config, &keypair, services(), &mut Registry::default()).await;
    let Err(error) = outcome else { panic!("a bad configuration was taken") };
    format!("{error:#}")
}

impl Node {
    fn knows(&self, other: &Node) -> bool {
        let wanted = other.network.peer_id();
        self.network.adverts().iter().any(|advert| {
            advert.node.to_peer_id() == wanted
                && advert.services.iter().any(|service| service.as_str() == CDN)
                && !advert.addresses.is_empty()
        })
    }

    async fn linked(&mut self, to: &Node, kind: LinkKind) -> links::LinkId {
        let peer = to.network.peer_id();
        let find = async {
            loop {
                if let Event::Linked { link, peer: found, kind: of, .. } =
                    self.events.next().await.expect("running")
                    && found == peer
                    && of == kind
                {
                    return link;
                }
            }
        };
        within("a link", find).await
    }

    async fn incoming(&mut self) -> links::Stream {
        let find = async {
            loop {
                if let Event::Incoming { stream, .. } = self.events.next().await.expect("running") {
                    return stream;
                }
            }
        };
        within("a stream", find).await
    }
}

/// One bootstrap address, one transport: both learn what the other provides.
async fn check_meeting(listen: &str, expect: LinkKind) {
    let mut alice = start(1, config(&[listen], &[])).await;
    let mut bob = start(2, config(&[listen], &alice.network.listen_addrs())).await;
    let link = bob.linked(&alice, expect).await;
    alice.linked(&bob, expect).await;
    until("both adverts", || alice.knows(&bob) && bob.knows(&alice)).await;

    let control = bob.network.links();
    let mut stream = within("opening", control.open(link, StreamProtocol::new(CDN)))
        .await
        .expect("alice provides the service");
    stream.write_all(b"over the link").await.expect("the link is up");
    stream.close().await.expect("the link is up");
    let mut heard = Vec::new();
    within("the bytes", alice.incoming().await.read_to_end(&mut heard)).await.expect("bob closed in order");
    assert_eq!(heard, b"over the link");

    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &alice.metrics).expect("metrics encode");
    assert!(text.contains("blackhole_net_adverts 1"), "{text}");
    within("the end", alice.network.shutdown()).await;
    within("the end", bob.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webrtc_direct_address_keeps_its_certificate_hash_over_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(&["/ip4/127.0.0.1/udp/0/webrtc-direct"], &[]);
    config.webrtc_certificate = Some(directory.path().join("webrtc.pem"));
    let hash = async |number| {
        let node = start(number, config.clone()).await;
        let address = node.network.listen_addrs().first().expect("an address").to_string();
        node.network.shutdown().await;
        address.split("/certhash/").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned)
    };
    let first = hash(1).await;
    assert!(first.is_some());
    assert_eq!(first, hash(1).await);
}

#[tokio::test]
async fn two_nodes_meet_over_tcp() {
    check_meeting("/ip4/127.0.0.1/tcp/0", LinkKind::Tcp).await;
}

#[tokio::test]
async fn two_nodes_meet_over_quic() {
    check_meeting("/ip4/127.0.0.1/udp/0/quic-v1", LinkKind::Quic).await;
}

#[tokio::test]
async fn two_nodes_meet_over_websocket() {
    check_meeting("/ip4/127.0.0.1/tcp/0/ws", LinkKind::WebSocket).await;
}

#[tokio::test]
async fn what_one_provides_is_found_by_those_it_never_met() {
    let middle = start(1, config(&["/ip4/127.0.0.1/tcp/0"], &[])).await;
    let bootstrap = middle.network.listen_addrs();
    let alice = start(2, config(&["/ip4/127.0.0.1/tcp/0"], &bootstrap)).await;
    let bob = start(3, config(&["/ip4/127.0.0.1/udp/0/quic-v1"], &bootstrap)).await;
    until("adverts across the middle", || alice.knows(&bob) && bob.knows(&alice)).await;

    let key = vec![7; 34];
    alice.network.provide(key.clone()).await.expect("running");
    let find = async {
        while bob.network.providers(key.clone()).await.expect("running") != [alice.network.peer_id()] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the provider", find).await;
    assert!(bob.network.providers(vec![8; 34]).await.expect("running").is_empty());

    let mut heard = alice.network.subscribe("/test/topic").await.expect("running");
    let say = async {
        while bob.network.publish("/test/topic", b"hello".to_vec()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("somebody who listens", say).await;
    let message = within("the message", heard.recv()).await.expect("running");
    assert_eq!((message.author, message.bytes), (bob.network.peer_id(), b"hello".to_vec()));
}

#[tokio::test]
async fn peers_reach_each_other_through_a_relay() {
    let relay = start(1, config(&["/ip4/127.0.0.1/tcp/0"], &[])).await;
    let via = relay.network.listen_addrs().remove(0);
    let circuit = format!("{via}/p2p-circuit");
    let mut bob = start(2, config(&[&circuit], &[])).await;
    until("the reservation", || !bob.network.listen_addrs().is_empty()).await;

    let mut alice = start(3, config(&[], &[])).await;
    let address = format!("{circuit}/p2p/{}", bob.network.peer_id()).parse().expect("an address");
    assert_eq!(within("a circuit", alice.network.dial(address)).await, Ok(bob.network.peer_id()));
    let link = alice.linked(&bob, LinkKind::Relayed).await;
    bob.linked(&alice, LinkKind::Relayed).await;
    let mut stream = within("opening", alice.network.links().open(link, StreamProtocol::new(CDN)))
        .await
        .expect("bob answers");
    stream.write_all(b"signal").await.expect("the circuit is up");
    stream.close().await.expect("the circuit is up");
    let mut heard = Vec::new();
    within("the bytes", bob.incoming().await.read_to_end(&mut heard)).await.expect("alice closed in order");
    assert_eq!(heard, b"signal");
}

#[tokio::test]
async fn reservation_is_renewed_for_as_long_as_its_holder_lives() {
    let mut limits = config(&["/ip4/127.0.0.1/tcp/0"], &[]);
    limits.relay.reservation_seconds = 4;
    let relay = start(1, limits).await;
    let circuit = format!("{}/p2p-circuit", relay.network.listen_addrs().remove(0));
    let bob = start(2, config(&[&circuit], &[])).await;
    // Each is good for four seconds; the third was given after the first had ended.
    until("two renewals", || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &relay.metrics).expect("metrics encode");
        let given = "blackhole_net_reservations_given_total ";
        let count = text.lines().find_map(|line| line.strip_prefix(given)?.parse::<u64>().ok());
        count.is_some_and(|count| count >= 3)
    })
    .await;
    assert_eq!(relay.network.status().reservations, 1);
    let alice = start(3, config(&[], &[])).await;
    let address = format!("{circuit}/p2p/{}", bob.network.peer_id()).parse().expect("an address");
    assert_eq!(within("a circuit", alice.network.dial(address)).await, Ok(bob.network.peer_id()));
    until("the circuit in the status", || relay.network.status().circuits_opened == 1).await;
}

#[tokio::test]
async fn unreachable_address_is_said_so() {
    let node = start(1, config(&[], &[])).await;
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let address = format!("/ip4/127.0.0.1/tcp/{}", nobody.port()).parse().expect("an address");
    assert!(matches!(within("an answer", node.network.dial(address)).await, Err(DialFailed::Unreachable(_))));
}

#[tokio::test]
async fn private_addresses_are_not_dialled_on_the_internet() {
    let neighbour = start(1, config(&["/ip4/127.0.0.1/tcp/0"], &[])).await;
    let node = start(2, Config { local_network: false, ..config(&["/ip4/127.0.0.1/tcp/0"], &[]) }).await;
    assert!(node.network.external_addrs().is_empty());
    let outcome = within("an answer", node.network.dial(neighbour.network.listen_addrs().remove(0))).await;
    assert!(matches!(outcome, Err(DialFailed::Unreachable(_))), "{outcome:?}");
}

#[tokio::test]
async fn taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    for form in ["tcp/{}", "tcp/{}/ws"] {
        let listen = format!("/ip4/127.0.0.1/{}", form.replace("{}", &port.to_string()));
        let error = refusal(config(&[&listen], &[])).await;
        assert!(error.contains(&listen) && error.contains("taken by another program"), "{error}");
    }
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let listen = format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().expect("an address").port());
    let error = refusal(config(&[&listen], &[])).await;
    assert!(error.contains(&listen), "{error}");
}

#[tokio::test]
async fn secure_websocket_wants_its_certificate() {
    let listen = ["/ip4/127.0.0.1/tcp/0/tls/ws"];
    let error = refusal(config(&listen, &[])).await;
    assert!(error.contains("[network.secure_websocket]"), "{error}");

    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    let files = supernode_net::SecureWebSocket { certificate: certificate.clone(), key: key.clone() };
    let secure = Config { secure_websocket: Some(files), ..config(&listen, &[]) };
    assert!(refusal(secure.clone()).await.contains("chain.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&certificate, made.cert.pem()).expect("writable");
    std::fs::write(&key, "not a key").expect("writable");
    assert!(refusal(secure.clone()).await.contains("holds no private key"));
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("writable");
    let node = start(1, secure).await;
    let address = node.network.listen_addrs().remove(0).to_string();
    assert!(address.contains("/tls/ws/p2p/") || address.contains("/wss/p2p/"), "{address}");
}

#[test]
fn bad_configuration_names_the_line() {
    let refused = |text: &str, line: &str, why: &str| {
        let error = toml::from_str::<Config>(text).expect_err(text).to_string();
        assert!(error.contains(line) && error.contains(why), "{error}");
    };
    refused("local_network = true\nlisten = [\"0.0.0.0:4001\"]", "line 2", "is not a multiaddress");
    refused("bootstrap = [\"/ip4/0.0.0.0/tcp/1\"]", "line 1", "cannot be dialled");
    refused("\n\nlisen = []", "line 3", "unknown field `lisen`");
    refused("[relay]\ncircuit_bites = 1", "line 2", "unknown field");
    let config: Config = toml::from_str("[connections]\nestablished = 7").expect("the rest has defaults");
    assert_eq!((config.connections.established, config.listen.len()), (7, 5));
}
