//! What a link is: an id, whom it reaches, and what carries it.

use std::fmt;

use libp2p_core::{ConnectedPoint, Multiaddr, multiaddr::Protocol};
use libp2p_identity::PeerId;

/// One connection of this node, never reused within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

impl LinkId {
    /// A link id from its number, for a caller that carried it through another type.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number behind the id.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What carries a link. Ordered from the one to prefer to the one to prefer least.
///
/// The order is by what a byte costs both ends: kernel transports first, WebSocket at an eighth
/// of the CPU of WebRTC, and the relay last because a third party pays for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkKind {
    /// QUIC over UDP.
    Quic,
    /// Plain TCP.
    Tcp,
    /// WebSocket, secure or not.
    WebSocket,
    /// WebRTC between browsers, set up through a relay.
    WebRtc,
    /// WebRTC to a server, set up without signalling.
    WebRtcDirect,
    /// A transport this crate has no name for, such as one in memory.
    Other,
    /// Through a relay, which meters it.
    Relayed,
}

impl LinkKind {
    /// What carries a connection with this endpoint.
    #[must_use]
    pub fn of(endpoint: &ConnectedPoint) -> Self {
        match endpoint {
            ConnectedPoint::Dialer { address, .. } => Self::of_address(address),
            // The remote's address says nothing about a relay: our own side of it does.
            ConnectedPoint::Listener { local_addr, .. } => Self::of_address(local_addr),
        }
    }

    /// What would carry a connection dialled at this address.
    #[must_use]
    pub fn of_address(address: &Multiaddr) -> Self {
        let mut kind = Self::Other;
        for part in address {
            kind = match part {
                Protocol::Tcp(_) => Self::Tcp,
                Protocol::Ws(_) | Protocol::Wss(_) => Self::WebSocket,
                Protocol::Quic | Protocol::QuicV1 => Self::Quic,
                Protocol::WebRTCDirect => Self::WebRtcDirect,
                // Whatever stands before it led to the relay, not to the peer.
                Protocol::P2pCircuit => Self::Relayed,
                // `/p2p-circuit/webrtc`: the circuit carried the signalling, not the link.
                Protocol::WebRTC => Self::WebRtc,
                _ => kind,
            };
        }
        kind
    }

    /// Whether no third party carries the bytes.
    #[must_use]
    pub const fn is_direct(self) -> bool {
        !matches!(self, Self::Relayed)
    }

    /// The name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::WebSocket => "websocket",
            Self::WebRtc => "webrtc",
            Self::WebRtcDirect => "webrtc-direct",
            Self::Other => "other",
            Self::Relayed => "relayed",
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Which side asked for the connection. Where exactly one side must speak first, it is the dialler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We dialled.
    Dialed,
    /// The remote dialled.
    Accepted,
}

/// All that is known of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// Whom it reaches; authenticated by the transport.
    pub peer: PeerId,
    /// What carries it.
    pub kind: LinkKind,
    /// Who asked for it.
    pub direction: Direction,
    /// Where the remote is, as far as the transport can tell.
    pub address: Multiaddr,
}

impl Link {
    /// The remote's own address, where it is directly there and not behind another peer or a name.
    pub fn ip(&self) -> Option<core::net::IpAddr> {
        let direct = self.kind.is_direct();
        self.address.iter().next().filter(|_| direct).and_then(|part| match part {
            Protocol::Ip4(ip) => Some(ip.into()),
            Protocol::Ip6(ip) => Some(ip.into()),
            _ => None,
        })
    }

    pub(crate) fn new(id: LinkId, peer: PeerId, endpoint: &ConnectedPoint) -> Self {
        Self {
            id,
            peer,
            kind: LinkKind::of(endpoint),
            direction: if endpoint.is_dialer() { Direction::Dialed } else { Direction::Accepted },
            address: endpoint.get_remote_address().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expect: LinkKind) {
        let address: Multiaddr = address.parse().expect("the test's address is well formed");
        assert_eq!(LinkKind::of_address(&address), expect, "{address}");
    }

    const RELAY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn kind_is_what_carries_the_bytes() {
        check("/ip4/192.0.2.1/tcp/4001", LinkKind::Tcp);
        check("/ip4/192.0.2.1/tcp/4001/ws", LinkKind::WebSocket);
        check("/dns4/example.org/tcp/443/wss", LinkKind::WebSocket);
        check("/dns4/example.org/tcp/443/tls/ws", LinkKind::WebSocket);
        check("/ip6/::1/udp/4001/quic-v1", LinkKind::Quic);
        check("/ip4/192.0.2.1/udp/4001/webrtc-direct", LinkKind::WebRtcDirect);
        check(&format!("/ip4/192.0.2.1/tcp/4001/ws/p2p/{RELAY}/p2p-circuit"), LinkKind::Relayed);
        check(
            &format!("/ip4/192.0.2.1/udp/1/quic-v1/p2p/{RELAY}/p2p-circuit/p2p/{RELAY}"),
            LinkKind::Relayed,
        );
        check(
            &format!("/ip4/192.0.2.1/tcp/1/ws/p2p/{RELAY}/p2p-circuit/webrtc/p2p/{RELAY}"),
            LinkKind::WebRtc,
        );
        check("/memory/7", LinkKind::Other);
    }

    #[test]
    fn relayed_is_the_last_resort() {
        use LinkKind::{Other, Quic, Relayed, Tcp, WebRtc, WebRtcDirect, WebSocket};
        let all = [Quic, Tcp, WebSocket, WebRtc, WebRtcDirect, Other, Relayed];
        assert!(all.is_sorted());
        assert!(all.iter().all(|kind| kind.is_direct() == (*kind != Relayed)));
    }
}
