//! What the simulator asks of a node's decisions. The product's `Peer` is one such machine; a liar is another.

use core::ops::Range;
use std::sync::Arc;

use shared::{
    base::{BlobRoot, EffectId, Instant, LinkId, RequestId},
    cdn::{blob::BlobShape, manifest::Manifest, offences::Offence, part::Piece},
    identity::PublicKey,
    peer::{
        Budget, Consent, Description, Done, Effect, Event, FetchId, LinkAbout, Meters, Priority, Received,
        Stream,
    },
};

/// What a node's user tells it.
#[derive(Clone, Debug)]
pub enum Command {
    /// Get the whole blob.
    Fetch {
        /// Which.
        root: BlobRoot,
        /// Its geometry.
        shape: BlobShape,
        /// How soon.
        priority: Priority,
    },
    /// Believe this manifest and take part in its site.
    Adopt(Arc<Manifest>),
    /// Be found at these addresses.
    Addresses(Vec<Vec<u8>>),
    /// No longer.
    Cancel(FetchId),
    /// What the user allows.
    Consent(Consent),
    /// How much may flow.
    Budget(Budget),
    /// These groups are in the store already.
    Add {
        /// Which blob.
        root: BlobRoot,
        /// Its geometry.
        shape: BlobShape,
        /// Verified groups held.
        groups: Vec<Range<u32>>,
    },
}

/// How a sent piece differs from what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forgery {
    /// A bit is wrong.
    Flipped,
    /// It is another piece, or another blob's.
    Other,
    /// More than a piece may have.
    Oversize,
    /// Fewer bytes than announced.
    Truncated,
    /// It is right: a liar may also tell the truth for a while.
    None,
}

/// What a machine does to the world.
#[derive(Clone, Debug)]
pub enum Act {
    /// What a lawful peer asks of its shell.
    Lawful(Effect),
    /// A piece that no lawful shell would send like that.
    Lie {
        /// To whom.
        link: LinkId,
        /// In answer to what.
        request: RequestId,
        /// Of which blob.
        root: BlobRoot,
        /// Claimed to be what.
        piece: Piece,
        /// What is wrong with it.
        forgery: Forgery,
    },
}

/// The decisions of a node. After each input the simulator drains acts and events, then asks for the deadline.
pub trait Machine {
    /// A link is open.
    fn handle_linked(&mut self, now: Instant, link: LinkId, about: LinkAbout);
    /// A link is gone.
    fn handle_unlinked(&mut self, now: Instant, link: LinkId);
    /// A dial did not lead to a link.
    fn handle_dial_failed(&mut self, now: Instant, peer: &PublicKey);
    /// A connection can be described, or not.
    fn handle_described(&mut self, now: Instant, effect: EffectId, description: Option<Description>);
    /// A frame came.
    fn handle_frame(&mut self, now: Instant, link: LinkId, stream: Stream, frame: &[u8]);
    /// The shell saw a piece break the rules of the stream.
    fn handle_offence(&mut self, now: Instant, link: LinkId, offence: Offence);
    /// A piece came and was judged.
    fn handle_received(&mut self, now: Instant, received: Received);
    /// An effect ended.
    fn handle_done(&mut self, now: Instant, effect: EffectId, done: Done);
    /// The deadline passed.
    fn handle_timeout(&mut self, now: Instant);
    /// The user speaks. A `Fetch` is given its name.
    fn command(&mut self, now: Instant, command: Command) -> Option<FetchId>;
    /// Its own count of what it moved, where it keeps one.
    fn meters(&self) -> Option<Meters> {
        None
    }
    /// What to do next.
    fn poll_act(&mut self) -> Option<Act>;
    /// What to tell the user next.
    fn poll_event(&mut self) -> Option<Event>;
    /// When to call `handle_timeout`.
    fn poll_timeout(&mut self) -> Option<Instant>;
}
