//! Links between real swarms over the in-memory transport.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, SwarmBuilder, Transport as _,
    core::{transport::MemoryTransport, upgrade::Version},
    multiaddr::Protocol,
    noise, relay,
    swarm::{Config as SwarmConfig, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle},
    yamux,
};
use links::{
    Behaviour, Config, Control, Counters, Direction, Event, Events, Limits, LinkId, LinkKind, OpenError,
    StreamProtocol, UnlinkReason,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

const ECHO: StreamProtocol = StreamProtocol::new("/echo/1");
const UNKNOWN: StreamProtocol = StreamProtocol::new("/unknown/1");

/// Ample on a loaded machine; a test that hangs should say so, not stop the suite.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(NetworkBehaviour)]
struct NodeBehaviour {
    links: Behaviour,
    relay_client: relay::client::Behaviour,
    relay_server: Toggle<relay::Behaviour>,
}

enum Ask {
    Dial(Multiaddr),
    Listen(Multiaddr),
}

/// A swarm that runs by itself, and the ends of its links.
struct Node {
    peer: PeerId,
    control: Control,
    events: Events,
    ask: mpsc::Sender<Ask>,
    listening: mpsc::Receiver<Multiaddr>,
    task: JoinHandle<()>,
}

impl Node {
    fn new(limits: Limits, relays: bool) -> Self {
        let (behaviour, control, events) = Behaviour::new(Config { protocols: vec![ECHO], limits });
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_other_transport(|keypair| {
                MemoryTransport::default()
                    .upgrade(Version::V1)
                    .authenticate(noise::Config::new(keypair).expect("an ed25519 key signs"))
                    .multiplex(yamux::Config::default())
            })
            .expect("the memory transport needs nothing")
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .expect("the relay client needs nothing")
            .with_behaviour(|keypair, relay_client| NodeBehaviour {
                links: behaviour,
                relay_client,
                relay_server: relays
                    .then(|| relay::Behaviour::new(keypair.public().to_peer_id(), relay::Config::default()))
                    .into(),
            })
            .expect("the behaviour needs nothing")
            .with_swarm_config(|config: SwarmConfig| config.with_idle_connection_timeout(PATIENCE))
            .build();

        let peer = *swarm.local_peer_id();
        let (ask, mut asked) = mpsc::channel(8);
        let (heard, listening) = mpsc::channel(8);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    ask = asked.recv() => match ask {
                        Some(Ask::Dial(address)) => swarm.dial(address).expect("the address is dialable"),
                        Some(Ask::Listen(address)) => {
                            swarm.listen_on(address).expect("the address can be listened on");
                        }
                        None => return,
                    },
                    event = swarm.select_next_some() => {
                        if let SwarmEvent::NewListenAddr { address, .. } = event {
                            swarm.add_external_address(address.clone());
                            heard.send(address).await.expect("the test reads all addresses");
                        }
                    }
                }
            }
        });
        Self { peer, control, events, ask, listening, task }
    }

    async fn listen(&mut self, address: Multiaddr) -> Multiaddr {
        self.ask.send(Ask::Listen(address)).await.expect("the swarm runs");
        within(self.listening.recv()).await.expect("the swarm runs")
    }

    async fn dial(&self, address: &Multiaddr) {
        self.ask.send(Ask::Dial(address.clone())).await.expect("the swarm runs");
    }

    async fn next(&mut self) -> Event {
        within(self.events.next()).await.expect("the swarm runs")
    }

    async fn linked(&mut self) -> (LinkId, PeerId, LinkKind, Direction) {
        match self.next().await {
            Event::Linked { link, peer, kind, direction, .. } => (link, peer, kind, direction),
            other => panic!("expected a link, got {other:?}"),
        }
    }

    /// Waits for something the swarm does on its own, such as counting.
    async fn until(&self, reached: impl Fn(&Control) -> bool) {
        let reach = async {
            while !reached(&self.control) {
                tokio::task::yield_now().await;
            }
        };
        within(reach).await;
    }
}

async fn within<Output>(future: impl Future<Output = Output>) -> Output {
    timeout(PATIENCE, future).await.expect("nothing happened for too long")
}

/// Two nodes, the second listening; the memory transport picks a free address.
async fn pair(first: Limits, second: Limits) -> (Node, Node, Multiaddr) {
    let dialer = Node::new(first, false);
    let mut listener = Node::new(second, false);
    let address = listener.listen(Multiaddr::empty().with(Protocol::Memory(0))).await;
    let address = address.with(Protocol::P2p(listener.peer));
    (dialer, listener, address)
}

#[tokio::test]
async fn stream_opens_on_the_link_that_was_asked() {
    let (mut alice, mut bob, address) = pair(Limits::default(), Limits::default()).await;
    alice.dial(&address).await;
    let (first, peer, kind, direction) = alice.linked().await;
    assert_eq!((peer, kind, direction), (bob.peer, LinkKind::Other, Direction::Dialed));
    let (bobs_first, peer, _, direction) = bob.linked().await;
    assert_eq!((peer, direction), (alice.peer, Direction::Accepted));

    alice.dial(&address).await;
    let (second, ..) = alice.linked().await;
    let (bobs_second, ..) = bob.linked().await;
    assert_ne!(first, second);
    assert_eq!(alice.control.best(&bob.peer), Some(first), "the oldest of equals");

    for (link, expect) in [(second, bobs_second), (first, bobs_first), (second, bobs_second)] {
        let mut ours = within(alice.control.open(link, ECHO)).await.expect("bob speaks echo");
        ours.write_all(b"hello").await.expect("the link is up");
        ours.close().await.expect("the link is up");
        let Event::Incoming { link, protocol, mut stream } = bob.next().await else {
            panic!("expected a stream");
        };
        assert_eq!((link, protocol), (expect, ECHO));
        let mut heard = Vec::new();
        within(stream.read_to_end(&mut heard)).await.expect("alice closed in order");
        assert_eq!(heard, b"hello");
    }
}

#[tokio::test]
async fn unknown_protocol_is_said_so() {
    let (mut alice, _bob, address) = pair(Limits::default(), Limits::default()).await;
    alice.dial(&address).await;
    let (link, ..) = alice.linked().await;
    let refused = within(alice.control.open(link, UNKNOWN)).await;
    assert!(matches!(refused, Err(OpenError::Unsupported(protocol)) if protocol == UNKNOWN));
}

#[tokio::test]
async fn closed_link_ends_on_both_sides_and_opens_no_more() {
    let (mut alice, mut bob, address) = pair(Limits::default(), Limits::default()).await;
    alice.dial(&address).await;
    let (link, ..) = alice.linked().await;
    let (bobs, ..) = bob.linked().await;
    alice.control.close(link);
    alice.control.close(link);

    let Event::Unlinked { link: ended, reason } = alice.next().await else { panic!("expected the end") };
    assert_eq!((ended, reason), (link, UnlinkReason::Closed));
    let Event::Unlinked { link: ended, reason } = bob.next().await else { panic!("expected the end") };
    assert!(ended == bobs && matches!(reason, UnlinkReason::Lost(_)), "{reason}");
    assert!(matches!(within(alice.control.open(link, ECHO)).await, Err(OpenError::Unlinked)));
    assert_eq!(alice.control.best(&bob.peer), None);
    assert!(alice.control.links().is_empty() && bob.control.links().is_empty());
}

#[tokio::test]
async fn streams_nobody_takes_are_reset_and_counted() {
    let limits = Limits { incoming_per_link: 2, ..Limits::default() };
    let (mut alice, mut bob, address) = pair(Limits::default(), limits).await;
    alice.dial(&address).await;
    let (link, ..) = alice.linked().await;

    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(within(alice.control.open(link, ECHO)).await.expect("the protocol was agreed on"));
    }
    bob.until(|control| control.counters().incoming_reset == 3).await;
    bob.linked().await;
    for _ in 0..2 {
        assert!(matches!(bob.next().await, Event::Incoming { .. }));
    }
    assert!(bob.events.try_next_event().is_none());

    let mut nothing = [0; 1];
    let read = within(streams[4].read(&mut nothing)).await;
    assert!(!matches!(read, Ok(1)), "a reset stream carries nothing");
    let _kept = within(alice.control.open(link, ECHO)).await.expect("there is room again");
    assert!(matches!(bob.next().await, Event::Incoming { .. }));
}

#[tokio::test]
async fn openings_are_bounded_per_link() {
    let limits = Limits { opens_per_link: 2, ..Limits::default() };
    let (mut alice, mut bob, address) = pair(limits, Limits::default()).await;
    alice.dial(&address).await;
    let (link, ..) = alice.linked().await;
    bob.linked().await;

    let attempts: Vec<_> = (0..3).map(|_| alice.control.open(link, ECHO)).collect();
    let outcomes = within(futures::future::join_all(attempts)).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Err(OpenError::Busy))).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    assert_eq!(alice.control.counters(), Counters { opens_refused: 1, ..Counters::default() });
    within(alice.control.open(link, ECHO)).await.expect("the places are free again");
}

#[tokio::test]
async fn links_are_bounded_per_peer() {
    let limits = Limits { links_per_peer: 1, ..Limits::default() };
    let (mut alice, mut bob, address) = pair(Limits::default(), limits).await;
    alice.dial(&address).await;
    let (first, ..) = alice.linked().await;
    let (kept, ..) = bob.linked().await;
    alice.dial(&address).await;
    bob.until(|control| control.counters().links_refused == 1).await;
    // Alice may see the second link for a moment, or not at all; the first is unharmed.
    assert_eq!(bob.control.links().iter().map(|link| link.id).collect::<Vec<_>>(), [kept]);
    within(alice.control.open(first, ECHO)).await.expect("the first link still works");
}

#[tokio::test]
async fn link_that_came_and_went_unread_is_not_mentioned() {
    let (mut alice, mut bob, address) = pair(Limits::default(), Limits::default()).await;
    alice.dial(&address).await;
    let (link, ..) = alice.linked().await;
    let _stream = within(alice.control.open(link, ECHO)).await.expect("bob speaks echo");
    bob.until(|control| control.links().len() == 1).await;
    alice.control.close(link);
    bob.until(|control| control.links().is_empty()).await;
    assert!(bob.events.try_next_event().is_none());
}

#[tokio::test]
async fn events_end_with_the_swarm() {
    let (mut alice, _bob, address) = pair(Limits::default(), Limits::default()).await;
    alice.dial(&address).await;
    let (link, ..) = alice.linked().await;
    alice.task.abort();
    assert!(within(alice.events.next()).await.is_none());
    assert!(matches!(alice.control.open(link, ECHO).await, Err(OpenError::Stopped)));
}

#[tokio::test]
async fn direct_link_is_preferred_to_a_relayed_one() {
    let mut relay = Node::new(Limits::default(), true);
    let via = relay.listen(Multiaddr::empty().with(Protocol::Memory(0))).await;
    let circuit = via.with(Protocol::P2p(relay.peer)).with(Protocol::P2pCircuit);
    let mut bob = Node::new(Limits::default(), false);
    let direct = bob.listen(Multiaddr::empty().with(Protocol::Memory(0))).await;
    bob.listen(circuit.clone()).await;
    let (.., kind, _) = bob.linked().await;
    assert!(kind.is_direct(), "the link to the relay itself");

    let mut alice = Node::new(Limits::default(), false);
    alice.dial(&circuit.with(Protocol::P2p(bob.peer))).await;
    let (to_relay, peer, ..) = alice.linked().await;
    assert_eq!(peer, relay.peer);
    let (relayed, peer, kind, _) = alice.linked().await;
    assert_eq!((peer, kind), (bob.peer, LinkKind::Relayed));
    let (_, peer, kind, direction) = bob.linked().await;
    assert_eq!((peer, kind, direction), (alice.peer, LinkKind::Relayed, Direction::Accepted));
    assert_eq!(alice.control.best(&bob.peer), Some(relayed));
    assert_eq!(alice.control.best(&relay.peer), Some(to_relay));

    alice.dial(&direct.with(Protocol::P2p(bob.peer))).await;
    let (direct, peer, kind, _) = alice.linked().await;
    assert!(peer == bob.peer && kind.is_direct());
    assert_eq!(alice.control.best(&bob.peer), Some(direct));
    assert_eq!(alice.control.links_of(&bob.peer).len(), 2, "the relayed link survives");

    let _stream = within(alice.control.open(relayed, ECHO)).await.expect("the relayed link still works");
    let (bobs_direct, ..) = bob.linked().await;
    let Event::Incoming { link, .. } = bob.next().await else { panic!("expected a stream") };
    assert_ne!(link, bobs_direct);
}
