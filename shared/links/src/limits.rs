//! What bounds the links, and what the bounds refused.

use std::time::Duration;

/// A tab and its supernode need one link, two while a relayed one is replaced by a direct one;
/// more than a few is a peer that opens connections for their own sake.
const LINKS_PER_PEER: usize = 8;

/// Above what one process can hold open files for; connection limits usually bite first.
const LINKS: usize = 16_384;

/// One control stream and a few bulk streams are opened at a time; the rest can wait their turn.
const OPENS_PER_LINK: usize = 32;

/// A reader that is this far behind on one link is not serving that link.
const INCOMING_PER_LINK: usize = 16;

/// Each undelivered stream holds its muxer buffers, some tens of kilobytes.
const INCOMING: usize = 512;

/// Two round trips at the worst distance, with room for a busy remote.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The bounds of a [`Behaviour`](crate::Behaviour).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Links to one peer; a further connection is refused.
    pub links_per_peer: usize,
    /// Links in all; a further connection is refused.
    pub links: usize,
    /// Streams being opened on one link; a further one is [`OpenError::Busy`](crate::OpenError::Busy).
    pub opens_per_link: usize,
    /// Streams of one link that the reader of the events has not taken; a further one is reset.
    pub incoming_per_link: usize,
    /// Streams of all links that the reader has not taken; a further one is reset.
    pub incoming: usize,
    /// How long a stream may take to open.
    pub open_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links_per_peer: LINKS_PER_PEER,
            links: LINKS,
            opens_per_link: OPENS_PER_LINK,
            incoming_per_link: INCOMING_PER_LINK,
            incoming: INCOMING,
            open_timeout: OPEN_TIMEOUT,
        }
    }
}

/// How often the [`Limits`] were met since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections refused because the peer, or the node, had enough links.
    pub links_refused: u64,
    /// Calls to `open` refused because too many were under way on that link.
    pub opens_refused: u64,
    /// Streams of remotes that were reset because nobody took the ones before.
    pub incoming_reset: u64,
}
