//! Connections as **links**.
//!
//! libp2p thinks in peers: ask for a stream and it comes on any connection to that peer. The
//! Blackhole protocol thinks in links: a relayed connection and the direct one that replaces it
//! have different costs, and their streams must not mix. This behaviour gives each connection a
//! [`LinkId`], says what carries it ([`LinkKind`]), and opens streams on exactly that one.
//!
//! ```text
//!   Control::open(link) ──► Behaviour ──► Handler (one a connection) ──► stream, or why not
//!   Events              ◄── Behaviour ◄── Handler                    ◄── stream of the remote's
//! ```
//!
//! Promises:
//! - Per link, [`Event::Linked`] comes first, [`Event::Unlinked`] last, incoming streams between.
//!   A link that came and went while nobody read the events is not mentioned at all.
//! - Every [`Control::open`] is answered once, within [`Limits::open_timeout`].
//! - Nothing grows without bound, whatever the remote does or the reader of the events neglects:
//!   see [`Limits`]. Links are never lost from the events; streams beyond a limit are reset and
//!   counted in [`Counters`].
//! - Order is by [`LinkId`], never by a hash.
//!
//! Not here: dialling (the shell decides whom), keeping connections alive (a stream does that),
//! bytes (the streams are libp2p's own).

mod behaviour;
mod control;
mod event;
mod handler;
mod limits;
mod link;
mod state;
pub mod webrtc;

pub use behaviour::{Behaviour, Config, LinkRefused};
pub use control::{Control, OpenError};
pub use event::{Event, Events, UnlinkReason};
pub use libp2p_swarm::{Stream, StreamProtocol};
pub use limits::{Counters, Limits};
pub use link::{Direction, Link, LinkId, LinkKind};
