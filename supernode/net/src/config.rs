//! What an operator can set about the network. Every field has a default; an unknown one is refused.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shared::coordination::ServiceName;

use crate::address::{DialAddress, ListenAddress};

/// The `[network]` section of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0 takes any free port.
    pub listen: Vec<ListenAddress>,
    /// Nodes to find the others by. One that answers is enough.
    pub bootstrap: Vec<DialAddress>,
    /// Where this node is reachable from outside, where it cannot find that out by itself: behind
    /// a port forwarding, or by a name.
    pub external: Vec<DialAddress>,
    /// Speak with private and loopback addresses, and announce one's own. For a network of one's
    /// own and for tests; on the internet it would let strangers point this node at its neighbours.
    pub local_network: bool,
    /// The certificate for secure WebSocket listeners.
    pub secure_websocket: Option<SecureWebSocket>,
    /// Where the certificate of WebRTC Direct listeners is kept, made on the first start. Addresses
    /// carry its hash: without a file they change with every start.
    pub webrtc_certificate: Option<PathBuf>,
    /// How many connections to hold.
    pub connections: ConnectionLimits,
    /// What to carry for peers that cannot reach each other yet.
    pub relay: RelayLimits,
    /// What to remember for the network.
    pub records: RecordLimits,
    /// Protocols that remotes may open streams for beside the services, and that nobody is told of: what this node speaks
    /// with its own visitors. Set by the program, not by the operator.
    #[serde(skip)]
    pub unadvertised: Vec<ServiceName>,
}

/// Other nodes by the first two; visitors by a WebSocket, or by WebRTC, which needs no name and no certificate of an
/// authority, and which also tells them their own address.
const EVERYWHERE: [&str; 5] = [
    "/ip4/0.0.0.0/tcp/4001",
    "/ip4/0.0.0.0/udp/4001/quic-v1",
    "/ip4/0.0.0.0/tcp/4002/ws",
    "/ip4/0.0.0.0/udp/4003/webrtc-direct",
    // Seen from two places, a visitor learns whether its address differs from one to the next.
    "/ip4/0.0.0.0/udp/4004/webrtc-direct",
];

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: EVERYWHERE.iter().filter_map(|address| address.parse().ok()).collect(),
            bootstrap: Vec::new(),
            external: Vec::new(),
            local_network: false,
            secure_websocket: None,
            webrtc_certificate: None,
            connections: ConnectionLimits::default(),
            relay: RelayLimits::default(),
            records: RecordLimits::default(),
            unadvertised: Vec::new(),
        }
    }
}

/// A certificate that browsers trust, as files in PEM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecureWebSocket {
    /// The certificate chain, the node's own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How many connections to hold. Beyond a limit, a newcomer is refused; nobody is thrown out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionLimits {
    /// In all. At 64 KiB a quiet session, the default is 640 MiB.
    pub established: u32,
    /// From one IPv4 address or IPv6 /64. An office or a mobile carrier shares one among many
    /// visitors. Loopback is exempt: a proxy in front of this node has that address for everybody.
    pub established_per_source: u32,
    /// To one peer: a relayed link, its direct successor, and a reconnect that overlaps.
    pub established_per_peer: u32,
    /// Handshakes under way that others started. Each holds some 20 KiB for seconds at most.
    pub pending_incoming: u32,
    /// The same from one source, so that one cannot keep the others out.
    pub pending_per_source: u32,
    /// Dials under way.
    pub pending_outgoing: u32,
    /// Take no more connections while the process uses more than this, in MiB; 0 stands for four
    /// fifths of the machine's memory.
    pub memory_mib: u64,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            established: 10_000,
            established_per_source: 1_024,
            established_per_peer: 8,
            pending_incoming: 512,
            pending_per_source: 128,
            pending_outgoing: 256,
            memory_mib: 0,
        }
    }
}

/// What the relay carries: signalling, so that two tabs can set up their own link. Not content.
///
/// A WebRTC offer, answer and candidates are some 10 KiB; the rest of a circuit's allowance is for
/// the identification and control messages that precede them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayLimits {
    /// Whether to relay at all.
    pub enabled: bool,
    /// Peers reachable through this node at a time: each attached tab holds one.
    pub reservations: usize,
    /// Seconds until a reservation must be renewed.
    pub reservation_seconds: u32,
    /// Circuits open at a time.
    pub circuits: usize,
    /// Circuits open at a time to or from one peer: a tab signals with a dozen others at most, and
    /// each of them may be signalling with it.
    pub circuits_per_peer: usize,
    /// Bytes one circuit may carry, each way.
    pub circuit_bytes: u64,
    /// Seconds one circuit may last.
    pub circuit_seconds: u32,
    /// New reservations a minute from one IP address, and as many at once after a pause; 0 is no limit.
    pub reservations_per_minute_and_source: u32,
    /// New circuits a minute from one IP address, and as many at once after a pause; 0 is no limit.
    pub circuits_per_minute_and_source: u32,
    /// New circuits a minute from one peer, and as many at once after a pause; 0 is no limit.
    pub circuits_per_minute_and_peer: u32,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            enabled: true,
            reservations: 8_192,
            reservation_seconds: 3_600,
            circuits: 2_048,
            circuits_per_peer: 32,
            circuit_bytes: 128 * 1024,
            circuit_seconds: 120,
            reservations_per_minute_and_source: 1_200,
            circuits_per_minute_and_source: 2_400,
            circuits_per_minute_and_peer: 60,
        }
    }
}

/// What this node remembers for the network: its part of the DHT, and who offers what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordLimits {
    /// Values stored for others, each at most `value_bytes`.
    pub values: usize,
    /// The largest value stored.
    pub value_bytes: usize,
    /// Keys that somebody, or this node, provides.
    pub provided_keys: usize,
    /// Adverts of other nodes known at a time.
    pub adverts: usize,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self { values: 4_096, value_bytes: 16 * 1024, provided_keys: 65_536, adverts: 4_096 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ListenKind;

    #[test]
    fn a_node_that_is_told_nothing_is_there_for_nodes_and_for_visitors() {
        let listen = Config::default().listen;
        assert_eq!(listen.len(), EVERYWHERE.len(), "each is an address: {listen:?}");
        let kinds: Vec<_> = listen.iter().map(ListenAddress::kind).collect();
        assert_eq!(
            kinds,
            [
                ListenKind::Tcp,
                ListenKind::Quic,
                ListenKind::WebSocket,
                ListenKind::WebRtcDirect,
                ListenKind::WebRtcDirect
            ]
        );
    }
}
