//! What the links say.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::{ConnectionError, Stream, StreamProtocol};

use crate::{Direction, LinkId, LinkKind, state::Shared};

/// Something happened on a link.
#[derive(Debug)]
pub enum Event {
    /// A connection was established, either way.
    Linked {
        /// The new link.
        link: LinkId,
        /// Whom it reaches.
        peer: PeerId,
        /// What carries it.
        kind: LinkKind,
        /// Who asked for it.
        direction: Direction,
        /// Where the remote is.
        address: Multiaddr,
    },
    /// The remote opened a stream. Dropping the stream resets it.
    Incoming {
        /// On this link.
        link: LinkId,
        /// The protocol both sides agreed on, one of [`Config::protocols`](crate::Config).
        protocol: StreamProtocol,
        /// The stream.
        stream: Stream,
    },
    /// The connection is gone, and all its streams with it.
    Unlinked {
        /// The link that was.
        link: LinkId,
        /// Why.
        reason: UnlinkReason,
    },
}

impl Event {
    /// The link this is about.
    #[must_use]
    pub const fn link(&self) -> LinkId {
        match self {
            Self::Linked { link, .. } | Self::Incoming { link, .. } | Self::Unlinked { link, .. } => *link,
        }
    }
}

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlinkReason {
    /// This side closed it.
    Closed,
    /// Nobody had a stream open for the idle timeout of the swarm.
    Idle,
    /// The remote closed it, or the path broke.
    Lost(io::ErrorKind),
}

impl UnlinkReason {
    pub(crate) fn of(cause: Option<&ConnectionError>) -> Self {
        match cause {
            None => Self::Closed,
            Some(ConnectionError::KeepAliveTimeout) => Self::Idle,
            Some(ConnectionError::IO(error)) => Self::Lost(error.kind()),
        }
    }
}

impl fmt::Display for UnlinkReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed by this side"),
            Self::Idle => formatter.write_str("idle"),
            Self::Lost(kind) => write!(formatter, "lost: {kind}"),
        }
    }
}

/// Receives the [`Event`]s. Ends when the behaviour is dropped.
#[must_use = "streams of remotes are reset while nobody reads the events"]
pub struct Events {
    shared: Arc<Shared>,
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next event, if one is waiting.
    pub fn try_next_event(&mut self) -> Option<Event> {
        self.shared.lock().take_event()
    }
}

impl futures::Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.shared.lock().poll_event(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.lock().stop_events();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}
