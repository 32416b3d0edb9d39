//! The one task that owns the swarm: it turns commands into libp2p calls and libp2p events into
//! decisions, answers and adverts.

mod adverts;
mod content;
mod dialing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub, identify, metrics::Recorder as _, swarm::SwarmEvent};
use shared::{
    coordination::{AdvertRegistry, ServiceName},
    identity::Keypair,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

pub use adverts::{Gossiped, PublishFailed};
pub use dialing::DialFailed;

use self::{adverts::Announcer, content::Content, dialing::Dialing};
use crate::{
    Config,
    address::is_public,
    behaviour::{Protocols, ProtocolsEvent},
    dht,
    lean::Lean,
    listen::Listeners,
    metrics::Metrics,
    network::Board,
};

/// A connection on which nothing is open is closed after this. Whoever has a use for one holds a
/// stream; a tab that is being set up has a relay reservation.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Looking after what has no event of its own: expiry, retries, gauges.
const TICK: Duration = Duration::from_millis(500);

/// Connections closed in good order at the end; what takes longer is cut.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a handle asks of the driver.
pub(crate) enum Command {
    Dial { address: Multiaddr, reply: oneshot::Sender<Result<PeerId, DialFailed>> },
    Provide { key: Vec<u8> },
    Withdraw { key: Vec<u8> },
    Providers { key: Vec<u8>, reply: oneshot::Sender<Vec<PeerId>> },
    Subscribe { topic: String, sender: mpsc::Sender<Gossiped> },
    Publish { topic: String, bytes: Vec<u8>, reply: oneshot::Sender<Result<(), PublishFailed>> },
    Shutdown,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) swarm: Swarm<Lean<Protocols>>,
    pub(crate) config: Config,
    pub(crate) keypair: Keypair,
    pub(crate) services: Vec<ServiceName>,
    pub(crate) links: links::Control,
    pub(crate) listeners: Listeners,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) board: Arc<Mutex<Board>>,
    pub(crate) adverts: Arc<Mutex<AdvertRegistry>>,
    pub(crate) metrics: Metrics,
    pub(crate) libp2p_metrics: libp2p::metrics::Metrics,
}

pub(crate) struct Driver {
    parts: Parts,
    announcer: Announcer,
    content: Content,
    dialing: Dialing,
    topics: BTreeMap<gossipsub::TopicHash, Vec<mpsc::Sender<Gossiped>>>,
}

impl Driver {
    pub(crate) fn new(mut parts: Parts) -> Self {
        for external in &parts.config.external {
            parts.swarm.add_external_address(external.address().clone());
        }
        let dialing = Dialing::new(&parts.config);
        let content = Content::new(&parts.services, &parts.config.records);
        let mut driver =
            Self { parts, announcer: Announcer::default(), content, dialing, topics: BTreeMap::new() };
        for address in driver.parts.listeners.bound.clone() {
            driver.on_bound(&address);
        }
        driver.join_adverts_topic();
        driver.provide_services();
        driver.publish_board();
        driver
    }

    pub(crate) async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.parts.swarm.select_next_some() => self.on_event(event),
                command = self.parts.commands.recv() => match command {
                    Some(Command::Shutdown) | None => break,
                    Some(command) => self.on_command(command),
                },
                _ = ticks.tick() => self.on_tick(),
            }
        }
        self.say_goodbye().await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { address, reply } => self.dial(address, reply),
            Command::Provide { key } => self.provide(key),
            Command::Withdraw { key } => self.withdraw(&key),
            Command::Providers { key, reply } => self.ask_providers(key, reply),
            Command::Subscribe { topic, sender } => self.subscribe(&topic, sender),
            Command::Publish { topic, bytes, reply } => {
                // A caller that left does not need to know.
                let _ = reply.send(self.publish(&topic, bytes));
            }
            Command::Shutdown => {}
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        self.tick_adverts(now);
        self.tick_content(now);
        self.tick_dialing(now);
        self.parts.metrics.observe(&self.parts.links);
    }

    fn on_event(&mut self, event: SwarmEvent<ProtocolsEvent>) {
        self.parts.libp2p_metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_protocol(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                self.on_dialed(connection_id, Ok(peer_id));
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dialed(connection_id, Err(DialFailed::Unreachable(error.to_string())));
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.parts.listeners.bound.push(address.clone());
                self.on_bound(&address);
                self.publish_board();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.parts.listeners.bound.retain(|bound| *bound != address);
                self.parts.swarm.remove_external_address(&address);
                self.publish_board();
            }
            SwarmEvent::ExternalAddrConfirmed { address } => {
                tracing::info!(%address, "reachable from outside");
                self.publish_board();
            }
            SwarmEvent::ExternalAddrExpired { .. } => self.publish_board(),
            SwarmEvent::ListenerClosed { listener_id, reason, addresses } => {
                self.parts.listeners.bound.retain(|bound| !addresses.contains(bound));
                let relayed = &mut self.parts.listeners.relayed;
                match relayed.iter_mut().find(|(_, listener)| *listener == Some(listener_id)) {
                    Some((relay, listener)) => {
                        *listener = None;
                        tracing::debug!(%relay, ?reason, "the reservation ended");
                    }
                    None => tracing::warn!(?addresses, ?reason, "a listener closed"),
                }
                self.publish_board();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "a listener had an error"),
            _ => {}
        }
    }

    fn on_protocol(&mut self, event: ProtocolsEvent) {
        match event {
            // Not among libp2p's metrics: those remember the protocols of every peer, at a kilobyte each.
            ProtocolsEvent::Identify(event) => {
                if let identify::Event::Received { peer_id, info, .. } = event {
                    self.on_identified(peer_id, &info);
                }
            }
            ProtocolsEvent::Dht(event) => {
                self.parts.libp2p_metrics.record(&event);
                self.on_dht(event);
            }
            ProtocolsEvent::Gossip(event) => {
                self.parts.libp2p_metrics.record(&event);
                self.on_gossip(event);
            }
            ProtocolsEvent::Ping(event) => self.parts.libp2p_metrics.record(&event),
            ProtocolsEvent::Dcutr(event) => self.parts.libp2p_metrics.record(&event),
            ProtocolsEvent::Relay(event) => {
                self.parts.libp2p_metrics.record(&event);
                self.parts.metrics.relayed(&event);
            }
            ProtocolsEvent::AutonatClient(event) => {
                tracing::debug!(address = %event.tested_addr, result = ?event.result, "reachability was tested");
            }
            ProtocolsEvent::RelayClient(event) => tracing::debug!(?event, "relay client"),
            ProtocolsEvent::AutonatServer(_) => {}
            ProtocolsEvent::Totals(never) | ProtocolsEvent::Sources(never) | ProtocolsEvent::Links(never) => {
                match never {}
            }
            ProtocolsEvent::Memory(never) => match never {},
        }
    }

    /// An address this machine really has needs nobody's confirmation that it is ours; whether a
    /// firewall stands before it only others can tell, and `AutoNAT` asks them.
    fn on_bound(&mut self, address: &Multiaddr) {
        tracing::info!(%address, "listening");
        if self.parts.config.local_network || is_public(address) {
            self.parts.swarm.add_external_address(address.clone());
        }
    }

    fn on_identified(&mut self, peer: PeerId, info: &identify::Info) {
        tracing::debug!(%peer, agent = %info.agent_version.chars().take(64).collect::<String>(), "identified");
        if !info.protocols.contains(&dht::PROTOCOL) {
            return;
        }
        let local_network = self.parts.config.local_network;
        for address in dht::usable(&info.listen_addrs, local_network) {
            self.parts.swarm.behaviour_mut().dht.add_address(&peer, address.clone());
        }
    }

    fn publish_board(&self) {
        let mut board = self.parts.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.listening.clone_from(&self.parts.listeners.bound);
        board.external = self.parts.swarm.external_addresses().cloned().collect();
        board.external.sort();
    }

    async fn say_goodbye(&mut self) {
        let peers: Vec<_> = self.parts.swarm.connected_peers().copied().collect();
        for peer in peers {
            // Gone meanwhile is as good.
            let _ = self.parts.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.parts.swarm.network_info().num_peers() > 0 {
                self.parts.swarm.select_next_some().await;
            }
        };
        if timeout(GOODBYE, closed).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
    }
}
