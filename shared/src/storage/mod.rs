//! Storage: objects that are sealed by their owner, cut, spread over strangers, proved and repaired.
//!
//! ```text
//! object ─ seal ─► frames of 64 KiB ─► segments ≤ 64 MiB ─ erasure ─► n shards, each a blob
//!            └─ key ─► record (signed; its secret part sealed by the object's path) ◄─ roots of the shards
//! ```
//!
//! Here is what is decided and computed; bytes are handed in and out by the shell that drives it, a frame or a
//! stripe at a time. Who holds a shard is proved to anybody who knows the shard's root, and to nobody's trust.

pub mod custody;
pub mod durability;
pub mod erasure;
pub mod extras;
pub mod holders;
pub mod ipfs;
pub mod messages;
pub mod placement;
pub mod proof;
pub mod read;
pub mod record;
pub mod repair;
pub mod seal;
pub mod upload;
