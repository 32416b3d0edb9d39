//! The handle by which the worker uses the network, and the task that drives the swarm behind it.

use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::{FutureExt, SinkExt, StreamExt};
use libp2p_core::multiaddr::{Multiaddr, Protocol};
use libp2p_core::transport::{ListenerId, TransportError};
use libp2p_identity::{Keypair, PeerId};
use libp2p_swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p_swarm::{ConnectionId, DialError, StreamProtocol, Swarm, SwarmEvent};
use web_sys::MessagePort;

use super::rtc;
use super::swarm::{Behaviour, BehaviourEvent, assemble};

/// Commands that wait for the swarm. It takes one a turn, so this is never the bottleneck.
const COMMANDS_MAX: usize = 32;
/// Events nobody has read; more say nothing that the links do not say better.
const EVENTS_MAX: usize = 256;
/// Addresses tried for one peer: some relays and one server's.
const ADDRESSES_MAX: usize = 16;

/// How the network is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Protocols for which remotes may open streams.
    pub protocols: Vec<StreamProtocol>,
    /// Bounds on links and their streams.
    pub limits: links::Limits,
    /// A connection without a stream goes after this. A relayed one that a direct one has replaced
    /// frees its place at the relay then.
    pub idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            protocols: Vec::new(),
            limits: links::Limits::default(),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// What happens besides links.
#[derive(Clone, Debug)]
pub enum Event {
    /// Others reach us at this address from now on.
    Reachable(Multiaddr),
    /// Others reach us at this address no longer.
    Unreachable(Multiaddr),
    /// The reservation at this relay has ended, or never came about: listen again after a while.
    ReservationLost {
        /// What was given to [`Network::listen_via`].
        relay: Multiaddr,
        /// Why, for people.
        reason: String,
    },
    /// What [`rtc::Arranger::answer`] began did not become a connection.
    Missed(PeerId),
    /// A remote tried to connect directly and it did not come about.
    #[cfg(feature = "interop")]
    IncomingFailed {
        /// [`rtc::Error::reason`], or `other`.
        reason: &'static str,
    },
    /// A remote has said what it is.
    #[cfg(feature = "interop")]
    Identified {
        /// Who.
        peer: PeerId,
        /// Its software.
        agent: String,
        /// Where it says it can be reached.
        addresses: Vec<Multiaddr>,
    },
    /// A round trip to a peer, on one of its connections.
    #[cfg(feature = "interop")]
    RoundTrip {
        /// Who.
        peer: PeerId,
        /// How long.
        time: Duration,
    },
}

/// Receives the [`Event`]s.
pub type Events = mpsc::Receiver<Event>;

/// No connection came about.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct DialFailed {
    /// [`rtc::Error::reason`] where our own transport failed, `other` elsewhere. Stable.
    pub reason: &'static str,
    /// For people; what each address said.
    pub text: String,
}

/// The address is not one of a relay that this tab can use.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot listen there: {0}")]
pub struct ListenFailed(String);

/// The tab's network. Clones are equal; the swarm ends with the last one, or by `close`.
#[derive(Clone)]
pub struct Network {
    peer: PeerId,
    links: links::Control,
    arranger: rtc::Arranger,
    commands: mpsc::Sender<Command>,
}

type DialReply = oneshot::Sender<Result<(), DialFailed>>;

enum Command {
    Dial {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        reply: DialReply,
    },
    Listen {
        relay: Multiaddr,
        reply: oneshot::Sender<Result<(), ListenFailed>>,
    },
    #[cfg(feature = "interop")]
    StopListening {
        relay: Multiaddr,
    },
    #[cfg(feature = "interop")]
    Close,
}

impl Network {
    /// Starts the network. `rtc_port` leads to `serveRtc` on the page.
    pub fn start(
        keypair: &Keypair,
        rtc_port: MessagePort,
        config: Config,
    ) -> Result<(Self, links::Events, Events), libp2p_noise::Error> {
        let (swarm, arranger, links, link_events) = assemble(keypair, rtc_port, config)?;
        let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        let peer = keypair.public().to_peer_id();
        wasm_bindgen_futures::spawn_local(Driver::new(swarm, event_sender).run(command_receiver));
        Ok((Self { peer, links, arranger, commands }, link_events, events))
    }

    /// Who we are.
    #[must_use]
    pub fn local_peer(&self) -> PeerId {
        self.peer
    }

    /// Streams on links.
    #[must_use]
    pub fn links(&self) -> &links::Control {
        &self.links
    }

    /// Connects to `peer` at one of `addresses`, even where another connection to it exists: a
    /// direct one is dialled beside the relayed one that it replaces.
    pub async fn dial(&self, peer: PeerId, mut addresses: Vec<Multiaddr>) -> Result<(), DialFailed> {
        addresses.truncate(ADDRESSES_MAX);
        let closed = || DialFailed { reason: "closed", text: "the network is closed".to_owned() };
        let (reply, answer) = oneshot::channel();
        let command = Command::Dial { peer, addresses, reply };
        self.commands.clone().send(command).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Makes direct connections whose descriptions others pass on.
    #[must_use]
    pub fn arranger(&self) -> &rtc::Arranger {
        &self.arranger
    }

    /// Makes a reservation at a relay (`…/p2p/<relay>`), so that others reach us through it. Says
    /// only that it has begun; [`Event::Reachable`] and [`Event::ReservationLost`] say the rest.
    pub async fn listen_via(&self, relay: Multiaddr) -> Result<(), ListenFailed> {
        let closed = || ListenFailed("the network is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands.clone().send(Command::Listen { relay, reply }).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Gives a reservation up.
    #[cfg(feature = "interop")]
    pub async fn stop_listening_via(&self, relay: Multiaddr) {
        let _ = self.commands.clone().send(Command::StopListening { relay }).await;
    }

    /// Ends all connections. Every clone's calls fail from then on.
    #[cfg(feature = "interop")]
    pub async fn close(&self) {
        let _ = self.commands.clone().send(Command::Close).await;
    }
}

/// Owns the swarm, and remembers who waits for what.
struct Driver {
    swarm: Swarm<Behaviour>,
    events: mpsc::Sender<Event>,
    /// As many as are under way: a handful.
    dials: Vec<(ConnectionId, DialReply)>,
    reservations: Vec<(Multiaddr, ListenerId)>,
}

impl Driver {
    fn new(swarm: Swarm<Behaviour>, events: mpsc::Sender<Event>) -> Self {
        Self { swarm, events, dials: Vec::new(), reservations: Vec::new() }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        if let Err(error) = self.swarm.listen_on(Protocol::WebRTC.into()) {
            tracing::error!(%error, "the WebRTC transport does not listen");
        }
        loop {
            futures::select! {
                command = commands.next() => match command {
                    None => return,
                    #[cfg(feature = "interop")]
                    Some(Command::Close) => return,
                    Some(command) => self.handle_command(command),
                },
                event = self.swarm.next().fuse() => match event {
                    None => return,
                    Some(event) => self.handle_event(event),
                },
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Dial { peer, addresses, reply } => self.dial(peer, addresses, reply),
            Command::Listen { relay, reply } => {
                let _ = reply.send(self.listen(relay));
            }
            #[cfg(feature = "interop")]
            Command::StopListening { relay } => {
                while let Some(at) = self.reservations.iter().position(|(known, _)| *known == relay) {
                    let (_, listener) = self.reservations.swap_remove(at);
                    self.swarm.remove_listener(listener);
                }
            }
            #[cfg(feature = "interop")]
            Command::Close => {}
        }
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: DialReply) {
        let opts = DialOpts::peer_id(peer).addresses(addresses).condition(PeerCondition::Always).build();
        let connection = opts.connection_id();
        match self.swarm.dial(opts) {
            Ok(()) => {
                self.dials.push((connection, reply));
            }
            Err(error) => {
                let _ = reply.send(Err(explain(&error)));
            }
        }
    }

    fn listen(&mut self, relay: Multiaddr) -> Result<(), ListenFailed> {
        if self.reservations.iter().any(|(known, _)| *known == relay) {
            return Ok(());
        }
        let listener = self
            .swarm
            .listen_on(relay.clone().with(Protocol::P2pCircuit))
            .map_err(|error| ListenFailed(error.to_string()))?;
        self.reservations.push((relay, listener));
        Ok(())
    }

    fn take_dial(&mut self, connection: ConnectionId) -> Option<DialReply> {
        let at = self.dials.iter().position(|(known, _)| *known == connection)?;
        Some(self.dials.swap_remove(at).1)
    }

    fn handle_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                if let Some(reply) = self.take_dial(connection_id) {
                    let _ = reply.send(Ok(()));
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                tracing::debug!(%error, "dial failed");
                if let Some(reply) = self.take_dial(connection_id) {
                    let _ = reply.send(Err(explain(&error)));
                }
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                if let Some(peer) = rtc::arranged_peer(&send_back_addr) {
                    self.report(Event::Missed(peer));
                }
                #[cfg(feature = "interop")]
                self.report(Event::IncomingFailed { reason: reason_of(&error).unwrap_or("other") });
                tracing::debug!(%error, "a remote's connection did not come about");
            }
            SwarmEvent::NewListenAddr { address, .. } if is_direct(&address) => {
                self.report(Event::Reachable(address));
            }
            SwarmEvent::ExpiredListenAddr { address, .. } if is_direct(&address) => {
                self.report(Event::Unreachable(address));
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let reason = reason.err().map_or_else(|| "closed".to_owned(), |error| error.to_string());
                self.handle_listener_closed(listener_id, reason);
            }
            #[cfg(feature = "interop")]
            SwarmEvent::Behaviour(event) => self.handle_behaviour_event(event),
            _ => {}
        }
    }

    fn handle_listener_closed(&mut self, listener: ListenerId, reason: String) {
        if let Some(at) = self.reservations.iter().position(|(_, known)| *known == listener) {
            let (relay, _) = self.reservations.swap_remove(at);
            self.report(Event::ReservationLost { relay, reason });
        }
    }

    #[cfg(feature = "interop")]
    fn handle_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(libp2p::identify::Event::Received { peer_id: peer, info, .. }) => {
                let mut addresses = info.listen_addrs;
                addresses.truncate(ADDRESSES_MAX);
                self.report(Event::Identified { peer, agent: info.agent_version, addresses });
            }
            BehaviourEvent::Ping(libp2p::ping::Event { peer, result: Ok(time), .. }) => {
                self.report(Event::RoundTrip { peer, time });
            }
            _ => {}
        }
    }

    fn report(&mut self, event: Event) {
        // Nobody waits for these: a reader that is not there must not stop the network.
        let _ = self.events.try_send(event);
    }
}

fn is_direct(address: &Multiaddr) -> bool {
    address.iter().any(|protocol| protocol == Protocol::WebRTC)
}

fn explain(error: &DialError) -> DialFailed {
    let reason = match error {
        DialError::Transport(failures) => failures.iter().find_map(|(_, failure)| match failure {
            TransportError::Other(error) => reason_of(error),
            TransportError::MultiaddrNotSupported(_) => None,
        }),
        _ => None,
    };
    DialFailed { reason: reason.unwrap_or("other"), text: error.to_string() }
}

/// The name of our own transport's error, however deep it is wrapped.
fn reason_of(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<rtc::Error>() {
        return Some(error.reason());
    }
    error.source().and_then(reason_of)
}
