//! IPFS: the same bytes as blocks that the rest of that world reads, and its blocks as we read them.
//!
//! ```text
//! import:  chunks ─ FileBuilder ─┐                       read:  path ─ Resolver ─► CID ─ Walk ─► blocks, pieces of a file
//!                     Tree ──────┴─► dag-pb blocks              wants ─ bitswap ─► blocks
//! ```
//! Import is by the profile `unixfs-v1-2025` of IPIP-499, and by no other: CIDv1, sha2-256, chunks of 1 MiB as raw
//! leaves, balanced trees of 1,024 links, directories that become HAMTs of 256 buckets beyond 256 KiB of block, no modes
//! and no times. So equal bytes get equal CIDs here, in kubo and in Helia under that profile.
//!
//! Blocks of others are hostile: each is at most [`MAX_BLOCK_BYTES`], has at most [`MAX_LINKS`], and stands at most
//! [`MAX_DEPTH`] below its root; sizes that disagree are an error. Bytes come and go by the shell; here is which block
//! comes next, and what of it counts.
//!
//! Non-goals: writing other profiles or other codecs than dag-pb and raw, following symbolic links, UnixFS 1.5's modes
//! and times (they are read over).

pub mod bitswap;
mod block;
pub mod car;
mod dag_pb;
pub mod dnslink;
mod hamt;
mod import;
pub mod ipns;
mod naming;
mod path;
pub mod redirects;
mod tree;
mod unixfs;
mod walk;

pub use block::{BLAKE3, BlockError, Cid, DAG_PB, LIBP2P_KEY, MAX_BLOCK_BYTES, RAW, check, cid_of, inlined};
pub use dag_pb::{Link, MAX_LINKS, Node, NodeError};
pub use import::{CHUNK_BYTES, FileBuilder, ImportError, Imported, NewBlock, symlink};
pub use naming::{Naming, NamingError, Root};
pub use path::{ContentPath, PathError, Resolver};
pub use tree::{MAX_TREE_DEPTH, Tree};
pub use unixfs::{Entry, FileNode, Shard};
pub use walk::{EntityBytes, MAX_DEPTH, Piece, Scope, Visit, Walk, WalkError};

#[cfg(test)]
mod tests;
