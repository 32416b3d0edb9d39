//! The libp2p transport: which address is reached how, one deadline over each upgrade, and the
//! listener that announces where we can be reached.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::future::{Either, select};
use futures::{SinkExt, StreamExt};
use futures_timer::Delay;
use libp2p_core::multiaddr::{Multiaddr, Protocol};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p_identity::{Keypair, PeerId};
use send_wrapper::SendWrapper;

use super::arranged::{self, Accepted};
use super::behaviour::{Notice, Request};
use super::connection::Connection;
use super::error::Error;
use super::page::{Page, PeerConnection};
use super::{direct, signalling};

/// From the first packet to the relay until the direct connection stands.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(20);

type Event = TransportEvent<Upgrade, Error>;

/// A connection that is coming about.
pub type Upgrade = Pin<Box<dyn Future<Output = Result<(PeerId, Connection), Error>> + Send>>;

/// Dials `…/webrtc-direct/certhash/…`, `…/p2p-circuit/webrtc/p2p/…`, and `/webrtc/p2p/…` what was arranged; listens on `/webrtc`, which
/// announces one address for each relay that reaches us.
pub struct Transport {
    page: SendWrapper<Page>,
    keypair: Keypair,
    requests: mpsc::Sender<Request>,
    notices: mpsc::Receiver<Notice>,
    accepted: SendWrapper<Accepted>,
    listener: Option<ListenerId>,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

impl Transport {
    pub(super) fn new(
        page: Page,
        keypair: Keypair,
        requests: mpsc::Sender<Request>,
        notices: mpsc::Receiver<Notice>,
        accepted: Accepted,
    ) -> Self {
        Self {
            page: SendWrapper::new(page),
            keypair,
            requests,
            notices,
            accepted: SendWrapper::new(accepted),
            listener: None,
            events: VecDeque::new(),
            waker: None,
        }
    }

    fn handle_notice(&mut self, notice: Notice) -> Option<Event> {
        let listener_id = self.listener?;
        Some(match notice {
            Notice::Reachable(listen_addr) => TransportEvent::NewAddress { listener_id, listen_addr },
            Notice::Unreachable(listen_addr) => TransportEvent::AddressExpired { listener_id, listen_addr },
            Notice::Incoming { peer, stream } => {
                let page = Page::clone(&self.page);
                incoming(listener_id, peer, async move { signalling::answer(&page, stream).await })
            }
            Notice::Answered { peer, connection } => incoming(listener_id, peer, async move {
                let connection = connection.take();
                arranged::connected(&connection).await?;
                Ok(connection)
            }),
        })
    }
}

impl libp2p_core::Transport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        if address != Multiaddr::from(Protocol::WebRTC) || self.listener.is_some() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        self.listener = Some(id);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let ours = self.listener == Some(id);
        if ours {
            self.listener = None;
            self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        ours
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Upgrade, TransportError<Error>> {
        if options.role.is_listener() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let page = Page::clone(&self.page);
        if let Some(target) = direct::Target::parse(&address) {
            let target = target.map_err(TransportError::Other)?;
            let keypair = self.keypair.clone();
            return Ok(within_deadline(async move { direct::dial(&page, &keypair, target).await }));
        }
        if let Some(peer) = arranged_peer(&address) {
            let connection =
                arranged::take(&self.accepted, peer).ok_or(Error::Address("nothing was arranged"));
            let connection = connection.map_err(TransportError::Other)?;
            return Ok(within_deadline(async move {
                arranged::connected(&connection).await?;
                Ok((peer, Connection::new(connection)))
            }));
        }
        let Some(target) = parse_relayed(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let (circuit, peer) = target.map_err(TransportError::Other)?;
        let mut requests = self.requests.clone();
        Ok(within_deadline(async move {
            let (reply, answer) = oneshot::channel();
            requests.send(Request { peer, circuit, reply }).await.map_err(|_| Error::Closed)?;
            let lost = |_| Error::SignallingLost("the relayed connection closed".into());
            let stream = answer.await.map_err(lost)??;
            let connection = signalling::offer(&page, stream).await?;
            Ok((peer, Connection::new(connection)))
        }))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            match self.notices.poll_next_unpin(cx) {
                Poll::Ready(Some(notice)) => {
                    if let Some(event) = self.handle_notice(notice) {
                        return Poll::Ready(event);
                    }
                }
                _ => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

fn incoming(
    listener_id: ListenerId,
    peer: PeerId,
    connection: impl Future<Output = Result<PeerConnection, Error>> + 'static,
) -> Event {
    TransportEvent::Incoming {
        listener_id,
        // No relay in these: the connection will not go through one.
        local_addr: Protocol::WebRTC.into(),
        send_back_addr: Multiaddr::from(Protocol::WebRTC).with(Protocol::P2p(peer)),
        upgrade: within_deadline(async move { Ok((peer, Connection::new(connection.await?))) }),
    }
}

/// The browser's objects stay on the one thread there is.
fn within_deadline(upgrade: impl Future<Output = Result<(PeerId, Connection), Error>> + 'static) -> Upgrade {
    Box::pin(SendWrapper::new(async move {
        match select(std::pin::pin!(upgrade), Delay::new(UPGRADE_DEADLINE)).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(Error::Timeout),
        }
    }))
}

/// The peer of `/webrtc/p2p/<peer>`.
pub fn arranged_peer(address: &Multiaddr) -> Option<PeerId> {
    let mut protocols = address.iter();
    match (protocols.next(), protocols.next(), protocols.next()) {
        (Some(Protocol::WebRTC), Some(Protocol::P2p(peer)), None) => Some(peer),
        _ => None,
    }
}

/// Splits `<relay>/p2p-circuit/webrtc/p2p/<peer>` into the relayed address and the peer; `None` if
/// the address is of another kind.
fn parse_relayed(address: &Multiaddr) -> Option<Result<(Multiaddr, PeerId), Error>> {
    let protocols: Vec<Protocol<'_>> = address.iter().collect();
    let circuit_at = protocols.iter().position(|protocol| *protocol == Protocol::P2pCircuit)?;
    if protocols.get(circuit_at + 1) != Some(&Protocol::WebRTC) {
        return None;
    }
    let Some(Protocol::P2p(peer)) = protocols.get(circuit_at + 2) else {
        return Some(Err(Error::Address("no peer after /webrtc")));
    };
    let circuit = protocols[..=circuit_at].iter().cloned().chain([Protocol::P2p(*peer)]).collect();
    Some(Ok((circuit, *peer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str =
        "/ip4/127.0.0.1/tcp/4001/ws/p2p/12D3KooWHgTBmJmbVvKiCoJQEGoiTTMhYqgLXJZwUwd2M2ZNk7Xk/p2p-circuit";
    const PEER: &str = "12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvpg";

    #[test]
    fn relayed_addresses_split_into_the_circuit_and_the_peer() {
        let address = format!("{RELAY}/webrtc/p2p/{PEER}").parse().unwrap();
        let (circuit, peer) = parse_relayed(&address).unwrap().unwrap();
        assert_eq!(circuit, format!("{RELAY}/p2p/{PEER}").parse().unwrap());
        assert_eq!(peer.to_string(), PEER);
    }

    #[test]
    fn other_addresses_are_left_to_others() {
        assert!(parse_relayed(&format!("{RELAY}/p2p/{PEER}").parse().unwrap()).is_none());
        assert!(parse_relayed(&"/ip4/127.0.0.1/tcp/4001/ws".parse().unwrap()).is_none());
        assert_eq!(arranged_peer(&format!("/webrtc/p2p/{PEER}").parse().unwrap()), PEER.parse().ok());
        assert_eq!(arranged_peer(&format!("{RELAY}/webrtc/p2p/{PEER}").parse().unwrap()), None);
        let bare = format!("{RELAY}/webrtc").parse().unwrap();
        assert!(matches!(parse_relayed(&bare), Some(Err(Error::Address(_)))));
    }
}
