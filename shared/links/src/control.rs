//! What the rest of the program asks of the links.

use std::{fmt, io, sync::Arc};

use libp2p_identity::PeerId;
use libp2p_swarm::{Stream, StreamProtocol};

use crate::{Counters, Link, LinkId, state::Shared};

/// Opens streams on links and looks links up. Cheap to clone; all clones are equal.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// One link, while it lives.
    #[must_use]
    pub fn link(&self, link: LinkId) -> Option<Link> {
        self.shared.lock().link(link).cloned()
    }

    /// All links, oldest first.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        self.shared.lock().links().cloned().collect()
    }

    /// All links to a peer, oldest first.
    #[must_use]
    pub fn links_of(&self, peer: &PeerId) -> Vec<Link> {
        self.shared.lock().links_of(peer).cloned().collect()
    }

    /// The link to prefer for a peer: direct before relayed, then what costs least, then the oldest.
    #[must_use]
    pub fn best(&self, peer: &PeerId) -> Option<LinkId> {
        self.shared.lock().best(peer)
    }

    /// How often the limits were met.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters()
    }

    /// Opens a stream on this link and no other.
    ///
    /// Dropping the future abandons the stream; its place among the link's openings is free again
    /// once the remote has answered.
    pub async fn open(&self, link: LinkId, protocol: StreamProtocol) -> Result<Stream, OpenError> {
        let answer = self.shared.lock().request_open(link, protocol)?;
        // The opening is dropped unanswered only together with its connection.
        answer.await.unwrap_or(Err(OpenError::Unlinked))
    }

    /// Closes a link, gracefully where the transport can. An unknown link is none of our business.
    pub fn close(&self, link: LinkId) {
        self.shared.lock().request_close(link);
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The link ended, before or meanwhile.
    #[error("the link is gone")]
    Unlinked,
    /// Too many streams are being opened on this link: try again when one of them is there.
    #[error("too many streams are being opened on this link")]
    Busy,
    /// The remote does not speak the protocol.
    #[error("the remote does not speak {0}")]
    Unsupported(StreamProtocol),
    /// The remote did not answer in time.
    #[error("the remote did not answer in time")]
    Timeout,
    /// The connection failed while the protocol was being agreed on.
    #[error("the connection failed while opening a stream")]
    Io(#[source] io::Error),
    /// This node is shutting down.
    #[error("the network is shut down")]
    Stopped,
}
