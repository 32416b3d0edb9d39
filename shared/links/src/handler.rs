//! One connection's part: agree on a protocol for each new stream and pass the stream on.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use libp2p_core::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p_swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
    handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
};

use crate::{OpenError, state::Opening};

/// The connection task's part of [`Behaviour`](crate::Behaviour).
pub struct Handler {
    accepts: Vec<StreamProtocol>,
    open_timeout: Duration,
    /// Bounded by the permits that openings hold.
    openings: VecDeque<Opening>,
    /// Emptied by every poll, so no longer than the streams the swarm negotiates at a time.
    arrived: VecDeque<Arrived>,
}

/// The remote opened a stream.
#[derive(Debug)]
pub struct Arrived {
    pub(crate) protocol: StreamProtocol,
    pub(crate) stream: Stream,
}

/// Open a stream on this connection.
#[derive(Debug)]
pub struct Open(pub(crate) Opening);

impl Handler {
    pub(crate) fn new(accepts: Vec<StreamProtocol>, open_timeout: Duration) -> Self {
        Self { accepts, open_timeout, openings: VecDeque::new(), arrived: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Arrived;
    type InboundProtocol = Agree;
    type OutboundProtocol = Agree;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opening;

    fn listen_protocol(&self) -> SubstreamProtocol<Agree> {
        SubstreamProtocol::new(Agree { protocols: self.accepts.clone() }, ()).with_timeout(self.open_timeout)
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Agree, Opening, Arrived>> {
        if let Some(arrived) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(arrived));
        }
        while let Some(opening) = self.openings.pop_front() {
            if opening.reply.is_canceled() {
                continue;
            }
            let agree = Agree { protocols: vec![opening.protocol.clone()] };
            let protocol = SubstreamProtocol::new(agree, opening).with_timeout(self.open_timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        // Both queues are filled by the two methods below, after which the swarm polls again.
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, Open(opening): Open) {
        self.openings.push_back(opening);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Agree, Agree, (), Opening>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let (stream, protocol) = protocol;
                self.arrived.push_back(Arrived { protocol, stream });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info: opening }) => {
                let (stream, _) = protocol;
                // Nobody waits any more: the stream is dropped, and thereby reset.
                let _ = opening.reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info: opening }) => {
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::Timeout,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported(opening.protocol),
                    StreamUpgradeError::Io(error) => OpenError::Io(error),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = opening.reply.send(Err(error));
            }
            _ => {}
        }
    }
}

/// Agrees on one of the protocols and leaves the stream as it is.
pub struct Agree {
    protocols: Vec<StreamProtocol>,
}

impl UpgradeInfo for Agree {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.protocols.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Agree {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Agree {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
