//! The swarm's part: which connections there are, and the way to each one's handler.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p_core::{Endpoint, Multiaddr, transport::PortUse};
use libp2p_identity::PeerId;
use libp2p_swarm::{
    AddressChange, CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, StreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    behaviour::ConnectionEstablished,
};

use crate::{
    Control, Events, Limits, Link, UnlinkReason,
    handler::{Arrived, Handler, Open},
    state::{Command, Shared},
};

/// How a [`Behaviour`] is set up.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The protocols remotes may open streams for.
    pub protocols: Vec<StreamProtocol>,
    /// The bounds.
    pub limits: Limits,
}

/// Turns the connections of a swarm into links.
pub struct Behaviour {
    protocols: Vec<StreamProtocol>,
    shared: Arc<Shared>,
}

impl Behaviour {
    /// The behaviour for the swarm, and the two ends for the rest of the program.
    pub fn new(config: Config) -> (Self, Control, Events) {
        let shared = Shared::new(config.limits);
        let control = Control::new(Arc::clone(&shared));
        let events = Events::new(Arc::clone(&shared));
        (Self { protocols: config.protocols, shared }, control, events)
    }

    /// Another control of the same links.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared))
    }

    fn handler(&self, peer: &PeerId) -> Result<Handler, ConnectionDenied> {
        let mut state = self.shared.lock();
        if !state.admit(peer) {
            return Err(ConnectionDenied::new(LinkRefused));
        }
        Ok(Handler::new(self.protocols.clone(), state.limits().open_timeout))
    }
}

impl Drop for Behaviour {
    fn drop(&mut self) {
        self.shared.lock().stop();
    }
}

/// A connection was refused because this peer, or this node, has enough links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many links")]
pub struct LinkRefused;

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(&peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let mut state = self.shared.lock();
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id,
                endpoint,
                ..
            }) => state.handle_established(connection_id, peer, |id| Link::new(id, peer, endpoint)),
            FromSwarm::AddressChange(AddressChange { connection_id, new, .. }) => {
                state.handle_moved(connection_id, new.get_remote_address().clone());
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, cause, .. }) => {
                state.handle_closed(connection_id, UnlinkReason::of(cause));
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        Arrived { protocol, stream }: THandlerOutEvent<Self>,
    ) {
        self.shared.lock().handle_incoming(connection, protocol, stream);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        let mut state = self.shared.lock();
        loop {
            let command = match state.poll_command(context) {
                Poll::Ready(command) => command,
                Poll::Pending => return Poll::Pending,
            };
            let link = match &command {
                Command::Open(opening) => opening.link,
                Command::Close(link) => *link,
            };
            // Gone meanwhile: a dropped opening answers its caller.
            let Some((peer_id, connection)) = state.route(link) else { continue };
            return Poll::Ready(match command {
                Command::Open(opening) => ToSwarm::NotifyHandler {
                    peer_id,
                    handler: NotifyHandler::One(connection),
                    event: Open(opening),
                },
                Command::Close(_) => {
                    ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) }
                }
            });
        }
    }
}
