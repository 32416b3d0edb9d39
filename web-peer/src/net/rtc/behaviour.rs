//! The transport's companion in the swarm: it owns the way to a peer over which a direct connection
//! is signalled. The transport asks; this dials the relayed connection if there is none, opens the
//! signalling stream, and hands over those that remotes open.
//!
//! A failed upgrade costs the stream, never the relayed connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use libp2p_core::multiaddr::{Multiaddr, Protocol};
use libp2p_core::transport::PortUse;
use libp2p_core::{ConnectedPoint, Endpoint};
use libp2p_identity::PeerId;
use libp2p_swarm::behaviour::{ConnectionEstablished, DialFailure, FromSwarm};
use libp2p_swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p_swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, ExpiredListenAddr, NetworkBehaviour, NewListenAddr,
    NotifyHandler, Stream, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use send_wrapper::SendWrapper;

use super::error::Error;
use super::handler::{Handler, OpenSignalling};
use super::page::PeerConnection;

/// The transport wants a signalling stream to `peer`.
pub(super) struct Request {
    pub(super) peer: PeerId,
    /// `…/p2p-circuit/p2p/<peer>`, for when there is no relayed connection yet.
    pub(super) circuit: Multiaddr,
    pub(super) reply: Reply,
}

pub(super) type Reply = oneshot::Sender<Result<Stream, Error>>;

/// What the transport should know.
pub(super) enum Notice {
    /// A remote has opened a signalling stream.
    Incoming { peer: PeerId, stream: Stream },
    /// We answered an offer that others passed on.
    Answered { peer: PeerId, connection: SendWrapper<PeerConnection> },
    /// A relay reaches us at this address from now on.
    Reachable(Multiaddr),
    /// A relay reaches us at this address no longer.
    Unreachable(Multiaddr),
}

/// The swarm's side of [`super::Transport`].
pub struct Behaviour {
    requests: mpsc::Receiver<Request>,
    notices: mpsc::Sender<Notice>,
    /// Connections over which a direct one can be signalled, oldest first.
    relayed: Vec<(PeerId, ConnectionId)>,
    /// Requests that wait for a relayed connection to come about, by the dial that should bring it.
    dialing: Vec<Waiting>,
    actions: VecDeque<ToSwarm<Infallible, OpenSignalling>>,
}

struct Waiting {
    dial: ConnectionId,
    peer: PeerId,
    replies: Vec<Reply>,
}

impl Behaviour {
    pub(super) fn new(requests: mpsc::Receiver<Request>, notices: mpsc::Sender<Notice>) -> Self {
        Self { requests, notices, relayed: Vec::new(), dialing: Vec::new(), actions: VecDeque::new() }
    }

    fn handle_established(&mut self, event: &ConnectionEstablished<'_>) {
        if is_signalling_path(event.endpoint) {
            self.relayed.push((event.peer_id, event.connection_id));
        }
        let Some(waiting) = self.take_waiting(event.connection_id) else { return };
        for reply in waiting.replies {
            self.open(event.peer_id, event.connection_id, reply);
        }
    }

    fn handle_closed(&mut self, event: &ConnectionClosed<'_>) {
        self.relayed.retain(|(_, connection)| *connection != event.connection_id);
    }

    fn handle_dial_failure(&mut self, failure: &DialFailure<'_>) {
        let Some(waiting) = self.take_waiting(failure.connection_id) else { return };
        let reason = failure.error.to_string();
        for reply in waiting.replies {
            let _ = reply.send(Err(Error::RelayUnreachable(reason.clone())));
        }
    }

    fn handle_request(&mut self, request: Request) {
        let Request { peer, circuit, reply } = request;
        // The newest is the least likely to be near its relay's limits.
        if let Some((_, connection)) = self.relayed.iter().rfind(|(known, _)| *known == peer) {
            return self.open(peer, *connection, reply);
        }
        if let Some(waiting) = self.dialing.iter_mut().find(|waiting| waiting.peer == peer) {
            return waiting.replies.push(reply);
        }
        let opts = DialOpts::peer_id(peer).addresses(vec![circuit]).condition(PeerCondition::Always).build();
        self.dialing.push(Waiting { dial: opts.connection_id(), peer, replies: vec![reply] });
        self.actions.push_back(ToSwarm::Dial { opts });
    }

    fn take_waiting(&mut self, dial: ConnectionId) -> Option<Waiting> {
        let at = self.dialing.iter().position(|waiting| waiting.dial == dial)?;
        Some(self.dialing.swap_remove(at))
    }

    fn open(&mut self, peer_id: PeerId, connection: ConnectionId, reply: Reply) {
        let event = OpenSignalling { reply };
        self.actions.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event,
        });
    }

    fn notify(&mut self, notice: Notice) {
        // A full queue refuses: the stream is dropped, and the remote learns it by the reset.
        let _ = self.notices.try_send(notice);
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.handle_established(&event),
            FromSwarm::ConnectionClosed(event) => self.handle_closed(&event),
            FromSwarm::DialFailure(event) => self.handle_dial_failure(&event),
            FromSwarm::NewListenAddr(NewListenAddr { addr, .. }) => {
                if let Some(address) = direct_address(addr) {
                    self.notify(Notice::Reachable(address));
                }
            }
            FromSwarm::ExpiredListenAddr(ExpiredListenAddr { addr, .. }) => {
                if let Some(address) = direct_address(addr) {
                    self.notify(Notice::Unreachable(address));
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, stream: THandlerOutEvent<Self>) {
        self.notify(Notice::Incoming { peer, stream: stream.0 });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
            match self.requests.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => self.handle_request(request),
                _ => return Poll::Pending,
            }
        }
    }
}

/// Whether a connection goes through a relay. One that was *signalled* through a relay has
/// `p2p-circuit` in its address too, but does not go through it.
fn is_signalling_path(endpoint: &ConnectedPoint) -> bool {
    endpoint.is_relayed()
        && !endpoint.get_remote_address().iter().any(|protocol| protocol == Protocol::WebRTC)
}

/// `…/p2p-circuit[/p2p/<us>]` as the address at which we can be reached directly.
fn direct_address(relayed: &Multiaddr) -> Option<Multiaddr> {
    let mut address = relayed.clone();
    let us = match address.iter().last()? {
        Protocol::P2p(_) => address.pop(),
        _ => None,
    };
    if address.iter().last()? != Protocol::P2pCircuit {
        return None;
    }
    address.push(Protocol::WebRTC);
    if let Some(us) = us {
        address.push(us);
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str =
        "/dns4/relay.example/tcp/443/tls/ws/p2p/12D3KooWHgTBmJmbVvKiCoJQEGoiTTMhYqgLXJZwUwd2M2ZNk7Xk";

    #[test]
    fn a_reservation_is_an_address_for_direct_connections() {
        let relayed: Multiaddr = format!("{RELAY}/p2p-circuit").parse().unwrap();
        assert_eq!(direct_address(&relayed), format!("{RELAY}/p2p-circuit/webrtc").parse().ok());
        let other: Multiaddr = RELAY.parse().unwrap();
        assert_eq!(direct_address(&other), None);
    }

    #[test]
    fn a_connection_signalled_through_a_relay_does_not_go_through_it() {
        let dialed = |address: String| ConnectedPoint::Dialer {
            address: address.parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        assert!(is_signalling_path(&dialed(format!("{RELAY}/p2p-circuit"))));
        assert!(!is_signalling_path(&dialed(format!("{RELAY}/p2p-circuit/webrtc"))));
    }
}
