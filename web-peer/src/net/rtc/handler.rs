//! Signalling streams of one connection.

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll};

use libp2p_core::upgrade::ReadyUpgrade;
use libp2p_swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p_swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
};

use super::behaviour::Reply;
use super::error::Error;
use super::signalling::PROTOCOL;

/// Streams that a remote has opened and the behaviour has not taken: more is a flood.
const INCOMING_MAX: usize = 4;

/// Open a stream and answer with it.
pub struct OpenSignalling {
    pub(super) reply: Reply,
}

/// A remote has opened a stream.
pub struct Opened(pub(super) Stream);

/// Opens and accepts signalling streams; keeps the connection while one is being opened. A stream
/// that is open keeps it by itself.
#[derive(Default)]
pub struct Handler {
    wanted: VecDeque<Reply>,
    opening: usize,
    incoming: VecDeque<Stream>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = OpenSignalling;
    type ToBehaviour = Opened;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.opening > 0 || !self.wanted.is_empty() || !self.incoming.is_empty()
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Reply, Opened>> {
        if let Some(stream) = self.incoming.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Opened(stream)));
        }
        if let Some(reply) = self.wanted.pop_front() {
            self.opening += 1;
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), reply);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, OpenSignalling { reply }: OpenSignalling) {
        self.wanted.push_back(reply);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Reply>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. })
                if self.incoming.len() < INCOMING_MAX =>
            {
                self.incoming.push_back(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.opening -= 1;
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                self.opening -= 1;
                let _ = info.send(Err(match error {
                    StreamUpgradeError::Timeout => Error::Timeout,
                    StreamUpgradeError::NegotiationFailed => Error::SignallingRefused,
                    StreamUpgradeError::Io(error) => Error::SignallingLost(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }
}

impl fmt::Debug for OpenSignalling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenSignalling")
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened")
    }
}
