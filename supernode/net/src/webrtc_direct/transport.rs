//! The libp2p transport: listeners, their addresses, what comes in.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use libp2p_core::multiaddr::{Multiaddr, Protocol};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p_identity::{Keypair, PeerId};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::admission::Admission;
use super::certificate::Certificate;
use super::driver::Driver;
use super::limits::Limits;
use super::muxer::Connection;
use super::session::{CloseReason, Session};
use super::stats::Stats;
use super::upgrade::upgrade;
use super::wire::Wire;

/// Sessions ready for Noise that the swarm has not yet taken up; beyond, they are turned away.
const INCOMING_MAX: usize = 256;

/// What the kernel should hold of datagrams while the driver is busy. It may allow less.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket could not be had.
    #[error("WebRTC socket: {0}")]
    Io(#[from] io::Error),
    /// The Noise handshake failed.
    #[error("WebRTC Noise handshake: {0}")]
    Noise(#[from] libp2p_noise::Error),
    /// The session ended during the handshake.
    #[error("WebRTC session: {0}")]
    Closed(#[from] CloseReason),
    /// Somebody asked to dial.
    #[error("supernodes only listen on /webrtc-direct; dial this peer by QUIC or TCP")]
    DialRefused,
}

/// The `/webrtc-direct` transport.
pub struct Transport {
    identity: Keypair,
    certificate: Certificate,
    limits: Limits,
    stats: Arc<Stats>,
    admission: Arc<Admission>,
    listeners: Vec<Listener>,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

type Event = TransportEvent<BoxFuture<'static, Result<(PeerId, Connection), Error>>, Error>;

struct Listener {
    id: ListenerId,
    local: SocketAddr,
    incoming: mpsc::Receiver<Arc<Session>>,
    /// For a listener on all interfaces: which there are.
    interfaces: Option<IfWatcher>,
}

impl Transport {
    /// A transport for this peer. Must be used inside a tokio runtime.
    #[must_use]
    pub fn new(identity: Keypair, certificate: Certificate, limits: Limits) -> Self {
        let stats = Arc::<Stats>::default();
        Self {
            identity,
            certificate,
            admission: Admission::new(limits.clone(), stats.clone()),
            limits,
            stats,
            listeners: Vec::new(),
            events: VecDeque::new(),
            waker: None,
        }
    }

    /// The counters of all listeners of this transport.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    fn listen(&mut self, id: ListenerId, address: SocketAddr) -> Result<(), Error> {
        let socket = bind(address)?;
        let local = socket.local_addr()?;
        let wire =
            Arc::new(Wire::new(socket, self.certificate.clone(), self.limits.clone(), self.stats.clone())?);
        let (sender, incoming) = mpsc::channel(INCOMING_MAX);
        let interfaces = if local.ip().is_unspecified() {
            Some(IfWatcher::new()?)
        } else {
            let listen_addr = self.listen_address(local);
            self.events.push_back(TransportEvent::NewAddress { listener_id: id, listen_addr });
            None
        };
        tokio::spawn(Driver::new(wire, self.admission.clone(), sender).run());
        self.listeners.push(Listener { id, local, incoming, interfaces });
        Ok(())
    }

    /// Where clients find us: the address with our certificate's hash.
    fn listen_address(&self, address: SocketAddr) -> Multiaddr {
        multiaddr(address).with(Protocol::Certhash(self.certificate.certhash()))
    }

    fn interface_event(&self, index: usize, event: &IfEvent) -> Option<Event> {
        let listener = &self.listeners[index];
        let (IfEvent::Up(net) | IfEvent::Down(net)) = event;
        let address = net.addr();
        // A link-local address means nothing without its interface, which a multiaddr lacks here.
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if address.is_ipv4() != listener.local.is_ipv4() || link_local {
            return None;
        }
        let listener_id = listener.id;
        let listen_addr = self.listen_address(SocketAddr::new(address, listener.local.port()));
        Some(match event {
            IfEvent::Up(_) => TransportEvent::NewAddress { listener_id, listen_addr },
            IfEvent::Down(_) => TransportEvent::AddressExpired { listener_id, listen_addr },
        })
    }

    fn incoming(&self, index: usize, session: Arc<Session>) -> Event {
        let listener = &self.listeners[index];
        TransportEvent::Incoming {
            listener_id: listener.id,
            local_addr: self.listen_address(listener.local),
            send_back_addr: multiaddr(session.remote()),
            upgrade: upgrade(session, self.identity.clone(), self.certificate.certhash().to_bytes()).boxed(),
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("listeners", &self.listeners.len()).finish_non_exhaustive()
    }
}

impl libp2p_core::Transport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = BoxFuture<'static, Result<Self::Output, Self::Error>>;
    type Dial = futures::future::Pending<Result<Self::Output, Self::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        let Some(socket_address) = parse_listen_address(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        self.listen(id, socket_address).map_err(TransportError::Other)?;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let before = self.listeners.len();
        // Its driver sees the channel close and takes the sessions down.
        self.listeners.retain(|listener| listener.id != id);
        let removed = self.listeners.len() < before;
        if removed {
            self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        removed
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        if address.iter().any(|protocol| protocol == Protocol::WebRTCDirect) {
            Err(TransportError::Other(Error::DialRefused))
        } else {
            Err(TransportError::MultiaddrNotSupported(address))
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        for index in 0..self.listeners.len() {
            if let Poll::Ready(session) = self.listeners[index].incoming.poll_recv(context) {
                let Some(session) = session else {
                    // The driver ends by itself only when its socket fails.
                    let listener_id = self.listeners.remove(index).id;
                    let reason = Err(Error::Io(io::ErrorKind::NotConnected.into()));
                    return Poll::Ready(TransportEvent::ListenerClosed { listener_id, reason });
                };
                return Poll::Ready(self.incoming(index, session));
            }
            while let Some(Poll::Ready(Some(event))) =
                self.listeners[index].interfaces.as_mut().map(|watcher| watcher.poll_next_unpin(context))
            {
                let event = match event {
                    Ok(event) => self.interface_event(index, &event),
                    Err(error) => Some(TransportEvent::ListenerError {
                        listener_id: self.listeners[index].id,
                        error: error.into(),
                    }),
                };
                if let Some(event) = event {
                    return Poll::Ready(event);
                }
            }
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// The multiaddr of a remote, or of a listener without its hash.
pub(super) fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip().to_canonical())
        .with(Protocol::Udp(address.port()))
        .with(Protocol::WebRTCDirect)
}

/// `/ip4|ip6/…/udp/…/webrtc-direct`, with or without a hash: the hash is ours to say.
fn parse_listen_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut protocols = address.iter();
    let ip = match protocols.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    let Protocol::Udp(port) = protocols.next()? else { return None };
    let Protocol::WebRTCDirect = protocols.next()? else { return None };
    protocols.all(|protocol| matches!(protocol, Protocol::Certhash(_))).then_some(SocketAddr::new(ip, port))
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    for set in [socket2::Socket::set_recv_buffer_size, socket2::Socket::set_send_buffer_size] {
        if let Err(error) = set(&socket, SOCKET_BUFFER_BYTES) {
            tracing::debug!(%error, "the kernel keeps its own socket buffer size");
        }
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use libp2p_core::Transport as _;

    use super::*;

    fn check(address: &str, expect: Option<&str>) {
        let parsed = parse_listen_address(&address.parse().unwrap());
        assert_eq!(parsed, expect.map(|expect| expect.parse().unwrap()), "{address}");
    }

    #[test]
    fn only_webrtc_direct_addresses_are_listened_on() {
        check("/ip4/127.0.0.1/udp/0/webrtc-direct", Some("127.0.0.1:0"));
        check("/ip6/::1/udp/7/webrtc-direct", Some("[::1]:7"));
        check("/ip4/127.0.0.1/udp/1/quic-v1", None);
        check("/ip4/127.0.0.1/tcp/1", None);
        check("/ip4/127.0.0.1/udp/1/webrtc-direct/p2p-circuit", None);
    }

    fn transport() -> Transport {
        Transport::new(Keypair::generate_ed25519(), Certificate::generate().unwrap(), Limits::default())
    }

    #[tokio::test]
    async fn listener_reports_its_hash_and_closes_when_removed() {
        let mut transport = transport();
        let id = ListenerId::next();
        transport.listen_on(id, "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap()).unwrap();
        let event = futures::future::poll_fn(|context| Pin::new(&mut transport).poll(context)).await;
        let TransportEvent::NewAddress { listen_addr, .. } = event else { panic!("{event:?}") };
        assert!(listen_addr.iter().any(|p| p == Protocol::Certhash(transport.certificate.certhash())));
        assert!(transport.remove_listener(id));
        let event = futures::future::poll_fn(|context| Pin::new(&mut transport).poll(context)).await;
        assert!(matches!(event, TransportEvent::ListenerClosed { reason: Ok(()), .. }));
    }

    #[test]
    fn dialling_is_refused_with_the_remedy() {
        let address: Multiaddr = "/ip4/127.0.0.1/udp/1/webrtc-direct".parse().unwrap();
        let options = DialOpts {
            role: libp2p_core::Endpoint::Dialer,
            port_use: libp2p_core::transport::PortUse::Reuse,
        };
        let Err(error) = transport().dial(address, options) else { panic!("dialled") };
        assert!(error.to_string().contains("QUIC") || format!("{error:?}").contains("DialRefused"));
    }
}
