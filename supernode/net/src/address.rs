//! Addresses of the configuration, parsed into what cannot be wrong, and which addresses are public.
//!
//! A mistake is answered where it is read, so that a TOML reader can name the line, and the answer
//! says what to write instead.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use serde::{Deserialize, Serialize};

/// The forms a listening address can have, for messages.
const LISTEN_FORMS: &str = "/ip4/0.0.0.0/tcp/4001, /ip4/0.0.0.0/udp/4001/quic-v1, /ip4/0.0.0.0/tcp/4002/ws, \
     /ip4/0.0.0.0/tcp/443/tls/ws, /ip4/0.0.0.0/udp/4003/webrtc-direct or …/p2p/RELAY/p2p-circuit";

/// Why an address of the configuration is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a multiaddress at all; host:port, for example.
    #[error("{0:?} is not a multiaddress: write it like {LISTEN_FORMS}")]
    Syntax(String),
    /// A listening address of a form this node does not have.
    #[error("cannot listen on {0}: use one of {LISTEN_FORMS}")]
    Unlistenable(Multiaddr),
    /// Names are for others to find us by, not to bind.
    #[error("cannot listen on the name in {0}: listen on an IP address and put the name under `external`")]
    ListenName(Multiaddr),
    /// The hash follows from the certificate in the data directory.
    #[error("{0} states a certificate hash: leave it out, the node adds its own")]
    ListenCertificate(Multiaddr),
    /// The identity follows from the key in the data directory.
    #[error("{0} states a peer id: leave it out, the node adds its own")]
    ListenPeer(Multiaddr),
    /// Nobody can dial this.
    #[error("{0} cannot be dialled: it needs an IP address or a name, and a port that is not 0")]
    Undialable(Multiaddr),
}

/// Where a `/webrtc-direct` address answers STUN, as `host:port`; none for other addresses, and for those of this
/// machine alone: whoever reaches them needs nobody to say where it is.
pub fn stun_endpoint(address: &Multiaddr) -> Option<String> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) if !ip.is_loopback() => ip.to_string(),
        Protocol::Ip6(ip) if !ip.is_loopback() => format!("[{ip}]"),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.into_owned(),
        _ => return None,
    };
    match (parts.next()?, parts.next()?) {
        (Protocol::Udp(port), Protocol::WebRTCDirect) => Some(format!("{host}:{port}")),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Multiaddr, AddressError> {
    text.parse().map_err(|_| AddressError::Syntax(text.chars().take(120).collect()))
}

/// What a listening address listens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenKind {
    /// Plain TCP.
    Tcp,
    /// QUIC.
    Quic,
    /// WebSocket without TLS: for a proxy that terminates it, and for tests.
    WebSocket,
    /// WebSocket with TLS: needs the certificate section of the configuration.
    SecureWebSocket,
    /// WebRTC without signalling.
    WebRtcDirect,
    /// A reservation at a relay.
    Relayed,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress {
    address: Multiaddr,
    kind: ListenKind,
}

impl ListenAddress {
    /// The address as libp2p takes it.
    #[must_use]
    pub fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// What it listens with.
    #[must_use]
    pub fn kind(&self) -> ListenKind {
        self.kind
    }
}

impl TryFrom<Multiaddr> for ListenAddress {
    type Error = AddressError;

    fn try_from(address: Multiaddr) -> Result<Self, AddressError> {
        use Protocol::{
            Certhash, Dns, Dns4, Dns6, Dnsaddr, Ip4, Ip6, P2p, P2pCircuit, QuicV1, Tcp, Tls, Udp,
            WebRTCDirect, Ws, Wss,
        };
        let parts: Vec<_> = address.iter().collect();
        let kind = match parts.as_slice() {
            [.., P2p(_), P2pCircuit] if is_dialable(&address) => ListenKind::Relayed,
            [Dns(_) | Dns4(_) | Dns6(_) | Dnsaddr(_), ..] => return Err(AddressError::ListenName(address)),
            [.., P2p(_)] => return Err(AddressError::ListenPeer(address)),
            [Ip4(_) | Ip6(_), Tcp(_)] => ListenKind::Tcp,
            [Ip4(_) | Ip6(_), Udp(_), QuicV1] => ListenKind::Quic,
            [Ip4(_) | Ip6(_), Tcp(_), Ws(_)] => ListenKind::WebSocket,
            [Ip4(_) | Ip6(_), Tcp(_), Wss(_)] | [Ip4(_) | Ip6(_), Tcp(_), Tls, Ws(_)] => {
                ListenKind::SecureWebSocket
            }
            [Ip4(_) | Ip6(_), Udp(_), WebRTCDirect] => ListenKind::WebRtcDirect,
            [Ip4(_) | Ip6(_), Udp(_), WebRTCDirect, Certhash(_), ..] => {
                return Err(AddressError::ListenCertificate(address));
            }
            _ => return Err(AddressError::Unlistenable(address)),
        };
        Ok(Self { address, kind })
    }
}

/// An address others can dial: a bootstrap node's, or this node's own as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DialAddress(Multiaddr);

impl DialAddress {
    /// The address as libp2p takes it.
    #[must_use]
    pub fn address(&self) -> &Multiaddr {
        &self.0
    }
}

impl TryFrom<Multiaddr> for DialAddress {
    type Error = AddressError;

    fn try_from(address: Multiaddr) -> Result<Self, AddressError> {
        if is_dialable(&address) { Ok(Self(address)) } else { Err(AddressError::Undialable(address)) }
    }
}

macro_rules! text_form {
    ($name:ident, $address:tt) => {
        impl FromStr for $name {
            type Err = AddressError;

            fn from_str(text: &str) -> Result<Self, AddressError> {
                parse(text)?.try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = AddressError;

            fn try_from(text: String) -> Result<Self, AddressError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(address: $name) -> Self {
                address.$address.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.$address.fmt(formatter)
            }
        }
    };
}

text_form!(ListenAddress, address);
text_form!(DialAddress, 0);

fn is_dialable(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified(),
        // A dnsaddr record holds the whole address, port included.
        Some(Protocol::Dnsaddr(_)) => return true,
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    };
    host && matches!(parts.next(), Some(Protocol::Tcp(port) | Protocol::Udp(port)) if port != 0)
}

/// Whether this is an address the whole internet can dial, as far as its first part can tell.
pub(crate) fn is_public(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => is_public_v4(ip),
        Some(Protocol::Ip6(ip)) => is_public_v6(ip),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => true,
        _ => false,
    }
}

/// The IP address a connection comes from; none for one through a relay.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    if address.iter().any(|part| matches!(part, Protocol::P2pCircuit)) {
        return None;
    }
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.to_canonical()),
        _ => None,
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, third, _] = ip.octets();
    let shared_by_carrier = first == 100 && second & 0xc0 == 64;
    let protocol_assignments = first == 192 && second == 0 && third == 0;
    let benchmarking = first == 198 && second & 0xfe == 18;
    let this_network = first == 0;
    let reserved = first >= 240;
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast()
        || shared_by_carrier
        || protocol_assignments
        || benchmarking
        || this_network
        || reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(ip) = ip.to_ipv4_mapped() {
        return is_public_v4(ip);
    }
    let documentation = ip.segments()[0] == 0x2001 && ip.segments()[1] == 0xdb8;
    let global_unicast = ip.segments()[0] & 0xe000 == 0x2000;
    global_unicast && !documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn listens(text: &str, expect: ListenKind) {
        assert_eq!(text.parse::<ListenAddress>().expect(text).kind(), expect, "{text}");
    }

    fn refused(text: &str, expect: &str) {
        let error = text.parse::<ListenAddress>().expect_err(text).to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn listening_addresses_have_six_forms() {
        listens("/ip4/0.0.0.0/tcp/4001", ListenKind::Tcp);
        listens("/ip6/::/tcp/4001", ListenKind::Tcp);
        listens("/ip4/0.0.0.0/udp/4001/quic-v1", ListenKind::Quic);
        listens("/ip4/127.0.0.1/tcp/0/ws", ListenKind::WebSocket);
        listens("/ip4/0.0.0.0/tcp/443/wss", ListenKind::SecureWebSocket);
        listens("/ip4/0.0.0.0/tcp/443/tls/ws", ListenKind::SecureWebSocket);
        listens("/ip4/0.0.0.0/udp/4003/webrtc-direct", ListenKind::WebRtcDirect);
        listens(&format!("/ip4/1.1.1.1/tcp/1/p2p/{PEER}/p2p-circuit"), ListenKind::Relayed);
    }

    #[test]
    fn webrtc_direct_answers_stun_where_others_reach_it() {
        let check = |address: &str, expect: Option<&str>| {
            assert_eq!(stun_endpoint(&address.parse().unwrap()).as_deref(), expect, "{address}");
        };
        check("/ip4/203.0.113.9/udp/4003/webrtc-direct", Some("203.0.113.9:4003"));
        check("/ip6/2001:db8::9/udp/4003/webrtc-direct", Some("[2001:db8::9]:4003"));
        check("/dns4/node.example/udp/4003/webrtc-direct", Some("node.example:4003"));
        check("/ip4/127.0.0.1/udp/4003/webrtc-direct", None);
        check("/ip4/203.0.113.9/udp/4001/quic-v1", None);
        check("/ip4/203.0.113.9/tcp/4002/ws", None);
    }

    #[test]
    fn listening_mistakes_are_answered_with_the_remedy() {
        refused("0.0.0.0:4001", "is not a multiaddress: write it like /ip4/0.0.0.0/tcp/4001");
        refused("/dns4/example.org/tcp/443/wss", "put the name under `external`");
        refused(&format!("/ip4/0.0.0.0/tcp/4001/p2p/{PEER}"), "the node adds its own");
        refused("/ip4/0.0.0.0/udp/4001", "use one of");
        refused("/ip4/0.0.0.0/udp/4001/quic", "use one of");
        refused("/ip4/0.0.0.0", "use one of");
        refused("/memory/1", "use one of");
        refused(&"x".repeat(10_000), "is not a multiaddress");
    }

    #[test]
    fn dialled_addresses_have_host_and_port() {
        for good in
            ["/ip4/192.0.2.1/tcp/1", "/dns4/a.org/tcp/443/wss", "/dnsaddr/a.org", "/ip6/::1/udp/9/quic-v1"]
        {
            good.parse::<DialAddress>().expect(good);
        }
        for bad in ["/ip4/0.0.0.0/tcp/1", "/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1", "a.org:443", "/memory/1"]
        {
            bad.parse::<DialAddress>().expect_err(bad);
        }
    }

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for public in ["/ip4/1.1.1.1/tcp/1", "/ip6/2606:4700::1/tcp/1", "/dns4/example.org/tcp/1"] {
            assert!(is_public(&public.parse().expect(public)), "{public}");
        }
        for private in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/100.64.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/fc00::1/tcp/1",
            "/ip6/::ffff:10.0.0.1/tcp/1",
            "/memory/1",
        ] {
            assert!(!is_public(&private.parse().expect(private)), "{private}");
        }
    }
}
