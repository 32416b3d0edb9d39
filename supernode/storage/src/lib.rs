//! The supernode's storage service: blobs on disk or in a bucket, objects with their metadata, and the S3 door.
//!
//! ```text
//! s3/ ─► objects/ ─┬─► meta/       who owns what, which version is which: one redb transaction an operation
//!                  └─► segments    where sealed segments lie: in store/ on this machine, or with strangers/
//!                        └─► store/   blobs by their BLAKE3 root: verified, leased, within a quota
//! ```
//!
//! An operation is acknowledged once it survives the death of the process and of the machine: the blobs are
//! synced, or confirmed by the bucket's server, then the metadata is committed, then the client hears of it.

mod commits;
mod config;
pub mod ipfs;
pub mod meta;
mod meters;
pub mod objects;
mod pieces;
pub mod s3;
mod service;
mod socket;
pub mod store;
pub mod strangers;

pub use config::Config;
pub use meters::Meters;
pub use service::Storage;
