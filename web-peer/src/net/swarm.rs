//! What the tab's swarm is made of.

use std::fmt;
use std::time::Duration;

use libp2p::websocket_websys;
use libp2p_core::Transport as _;
use libp2p_core::muxing::StreamMuxerBox;
use libp2p_core::transport::timeout::TransportTimeout;
use libp2p_core::upgrade::Version;
use libp2p_identity::Keypair;
use libp2p_swarm::{NetworkBehaviour, Swarm};
use web_sys::MessagePort;

use super::network::Config;
use super::ping::Ping;
use super::rtc;
use super::socket::Socket;

/// A socket that takes longer than this to open and to prove its key is no use to a waiting page.
const SOCKET_DEADLINE: Duration = Duration::from_secs(15);
const PROTOCOL_VERSION: &str = "blackhole/1.0.0";
const AGENT_VERSION: &str = concat!("blackhole-tab/", env!("CARGO_PKG_VERSION"));

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
pub(super) struct Behaviour {
    pub(super) relay: libp2p::relay::client::Behaviour,
    pub(super) rtc: rtc::Behaviour,
    pub(super) identify: libp2p::identify::Behaviour,
    pub(super) ping: Ping,
    pub(super) links: links::Behaviour,
}

/// Puts the swarm together.
pub(super) fn assemble(
    keypair: &Keypair,
    port: MessagePort,
    config: Config,
) -> Result<(Swarm<Behaviour>, rtc::Arranger, links::Control, links::Events), libp2p_noise::Error> {
    let peer = keypair.public().to_peer_id();
    let (rtc_transport, rtc, arranger) = rtc::new(port, keypair.clone());
    let (relay_transport, relay) = libp2p::relay::client::new(peer);
    let direct =
        rtc_transport.map_err(Failure).map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    // The socket transport would take a relayed address for its relay's, so it stands behind.
    let sockets = relay_transport
        .or_transport(websocket_websys::Transport::default().map(|connection, _| Socket(connection)))
        // A round trip less for each of the two protocols, and through a relay each is two of the line.
        .upgrade(Version::V1Lazy)
        .authenticate(libp2p_noise::Config::new(keypair)?)
        .multiplex(libp2p::yamux::Config::default());
    let sockets = TransportTimeout::new(sockets, SOCKET_DEADLINE)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let transport = direct.or_transport(sockets).map(|either, _| either.into_inner()).boxed();

    let identify = libp2p::identify::Config::new(PROTOCOL_VERSION.to_owned(), keypair.public())
        .with_agent_version(AGENT_VERSION.to_owned())
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    let (links, control, events) =
        links::Behaviour::new(links::Config { protocols: config.protocols, limits: config.limits });
    let behaviour = Behaviour {
        relay,
        rtc,
        identify: libp2p::identify::Behaviour::new(identify),
        ping: Ping::default(),
        links,
    };
    let swarm_config =
        libp2p_swarm::Config::with_wasm_executor().with_idle_connection_timeout(config.idle_timeout);
    Ok((Swarm::new(transport, behaviour, peer, swarm_config), arranger, control, events))
}

/// Carries our error through libp2p's combinators, which pass on an error's source but not its type.
#[derive(Debug)]
struct Failure(rtc::Error);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
