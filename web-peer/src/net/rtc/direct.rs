//! `/webrtc-direct`: a browser reaches a server that has neither a name nor a certificate authority.
//!
//! The address carries the hash of the server's certificate. No descriptions travel: each side
//! writes the other's, with ICE credentials that both derive from one random name. Then Noise over
//! channel 0 proves the peer's key, bound to both certificates by its prologue. The server is the
//! Noise initiator, so that it may speak half a round trip sooner.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};

use libp2p_core::UpgradeInfo;
use libp2p_core::multiaddr::{Multiaddr, Protocol};
use libp2p_core::upgrade::InboundConnectionUpgrade;
use libp2p_identity::{Keypair, PeerId};
use links::webrtc::LARGE_FRAMES_MARK;

use super::connection::Connection;
use super::error::Error;
use super::page::{Candidates, Page};

/// The specification's mark, by which a server knows what a STUN packet is for.
const UFRAG_PREFIX: &str = "libp2p+webrtc+v1/";
/// Enough that nobody guesses or repeats one.
const UFRAG_RANDOM_BYTES: usize = 32;
const NOISE_PROLOGUE_PREFIX: &[u8] = b"libp2p-webrtc-noise:";
/// The multihash code of SHA-256, and the length of its digest.
const SHA256_HEADER: [u8; 2] = [0x12, 32];

/// A certificate's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint([u8; 32]);

/// Where a `/webrtc-direct` address leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    socket: SocketAddr,
    certificate: Fingerprint,
}

impl Target {
    /// `None` if the address is of another kind.
    pub(super) fn parse(address: &Multiaddr) -> Option<Result<Self, Error>> {
        let mut protocols = address.iter();
        let ip = match protocols.next()? {
            Protocol::Ip4(ip) => IpAddr::from(ip),
            Protocol::Ip6(ip) => IpAddr::from(ip),
            _ => return None,
        };
        let Protocol::Udp(port) = protocols.next()? else { return None };
        let Protocol::WebRTCDirect = protocols.next()? else { return None };
        let certificate = protocols.find_map(|protocol| match protocol {
            Protocol::Certhash(hash) if hash.code() == u64::from(SHA256_HEADER[0]) => {
                hash.digest().try_into().ok().map(Fingerprint)
            }
            _ => None,
        });
        Some(match certificate {
            Some(certificate) => Ok(Self { socket: SocketAddr::new(ip, port), certificate }),
            None => Err(Error::Address("no SHA-256 certificate hash")),
        })
    }

    /// The description that the server would have sent.
    fn answer(&self, ufrag: &str) -> String {
        let ip = self.socket.ip();
        let port = self.socket.port();
        let version = if ip.is_ipv4() { 4 } else { 6 };
        let fingerprint = self.certificate.to_sdp();
        [
            "v=0",
            &format!("o=- 0 0 IN IP{version} {ip}"),
            "s=-",
            "t=0 0",
            "a=ice-lite",
            &format!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel"),
            &format!("c=IN IP{version} {ip}"),
            "a=mid:0",
            "a=ice-options:ice2",
            &format!("a=ice-ufrag:{ufrag}"),
            &format!("a=ice-pwd:{ufrag}"),
            &format!("a=fingerprint:sha-256 {fingerprint}"),
            "a=setup:passive",
            "a=sctp-port:5000",
            "a=max-message-size:16384",
            &format!("a=candidate:1 1 UDP 2113937151 {ip} {port} typ host"),
            "a=end-of-candidates",
            "",
        ]
        .join("\r\n")
    }
}

/// Connects and proves both identities.
pub(super) async fn dial(
    page: &Page,
    keypair: &Keypair,
    target: Target,
) -> Result<(PeerId, Connection), Error> {
    let ufrag = random_ufrag()?;
    let connection = page.offer(Some(&ufrag), Candidates::Trickle)?;
    let (description, _) = poll_fn(|cx| connection.poll_description(cx)).await?;
    let local = Fingerprint::from_sdp(&description)
        .ok_or_else(|| Error::Handshake("our own description has no SHA-256 fingerprint".into()))?;
    connection.accept(&target.answer(&ufrag));
    let channel = poll_fn(|cx| connection.poll_opened(cx)).await?;
    let noise = libp2p_noise::Config::new(keypair)
        .map_err(|error| Error::Handshake(error.to_string()))?
        .with_prologue(prologue(local, target.certificate));
    let protocol = noise.protocol_info().next().unwrap_or_default();
    // A path that fails ends the connection, not the channel's handshake: watch both.
    let handshake = noise.upgrade_inbound(channel, protocol);
    let ended = poll_fn(|cx| connection.poll_ended(cx));
    let (peer, channel) = match futures::future::select(std::pin::pin!(handshake), ended).await {
        futures::future::Either::Left((done, _)) => {
            done.map_err(|error| Error::Handshake(error.to_string()))?
        }
        futures::future::Either::Right((error, _)) => return Err(error),
    };
    Ok((peer, Connection::new(connection).keeping(channel)))
}

fn prologue(client: Fingerprint, server: Fingerprint) -> Vec<u8> {
    let hashes = [client, server].into_iter().flat_map(|hash| SHA256_HEADER.into_iter().chain(hash.0));
    NOISE_PROLOGUE_PREFIX.iter().copied().chain(hashes).collect()
}

fn random_ufrag() -> Result<String, Error> {
    const ICE_CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = [0; UFRAG_RANDOM_BYTES];
    getrandom03::fill(&mut random).map_err(|error| Error::Browser(error.to_string()))?;
    let name = random.iter().map(|byte| char::from(ICE_CHARACTERS[usize::from(byte % 64)]));
    Ok(UFRAG_PREFIX.chars().chain(LARGE_FRAMES_MARK.chars()).chain(name).collect())
}

impl Fingerprint {
    fn to_sdp(self) -> String {
        self.0.map(|byte| format!("{byte:02X}")).join(":")
    }

    fn from_sdp(description: &str) -> Option<Self> {
        let value =
            description.lines().find_map(|line| line.trim().strip_prefix("a=fingerprint:sha-256 "))?;
        let mut digest = [0; 32];
        let mut pairs = value.split(':');
        for byte in &mut digest {
            *byte = u8::from_str_radix(pairs.next()?, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str =
        "/ip4/127.0.0.1/udp/4001/webrtc-direct/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";

    #[test]
    fn only_complete_addresses_are_targets() {
        let target = Target::parse(&ADDRESS.parse().unwrap()).unwrap().unwrap();
        assert_eq!(target.socket, "127.0.0.1:4001".parse().unwrap());
        assert!(Target::parse(&"/ip4/127.0.0.1/tcp/4001/ws".parse().unwrap()).is_none());
        let bare = "/ip4/127.0.0.1/udp/4001/webrtc-direct".parse().unwrap();
        assert!(matches!(Target::parse(&bare), Some(Err(Error::Address(_)))));
    }

    #[test]
    fn fingerprints_survive_sdp() {
        let fingerprint = Fingerprint(std::array::from_fn(|index| index as u8 * 7));
        let line = format!("v=0\r\na=fingerprint:sha-256 {}\r\n", fingerprint.to_sdp());
        assert_eq!(Fingerprint::from_sdp(&line), Some(fingerprint));
        assert_eq!(Fingerprint::from_sdp("a=fingerprint:sha-256 00:11\r\n"), None);
    }

    #[test]
    fn the_prologue_names_client_then_server() {
        let prologue = prologue(Fingerprint([1; 32]), Fingerprint([2; 32]));
        assert!(prologue.starts_with(b"libp2p-webrtc-noise:\x12\x20\x01"));
        assert!(prologue.ends_with(&[0x12, 0x20].iter().copied().chain([2; 32]).collect::<Vec<u8>>()));
    }
}
