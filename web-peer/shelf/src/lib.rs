//! The shelf: extra shards of others' objects, kept in a visitor's browser.
//!
//! ```text
//!   supernode ── streams, through the tab's network ──► serve ──► Shelf ── a file a shard ──► Files (OPFS)
//!        ▲                                                          │
//!        └───────────── room, and what is kept: each minute ────────┘
//! ```
//! A module of its own, loaded after the visitor agreed to it and never before: nobody else pays its 62 KB.
//!
//! Promises: nothing is kept beyond what the visitor allowed, or of which a byte is not the shard's; what has rotted is
//! owned up to and goes; all of it goes at once when the visitor says so. It is apart from the site's own cache, and
//! neither evicts the other.
//!
//! Non-goals: what the shards are of (nobody can read that here), and being there tomorrow.

mod conversation;
mod files;
mod header;
mod shelf;

#[cfg(target_family = "wasm")]
mod browser;

pub use conversation::{Broken, Conversation, Stream};
pub use files::{File, FileError, Files};
pub use shelf::{Shelf, Status};

#[cfg(test)]
mod tests;
