//! How bytes are laid out between peers: frames, protobuf messages, refusal codes.
//!
//! The specification is `shared/proto/*.proto`; `cargo xtask codegen` writes `generated/` from it.

mod fields;
mod framing;
// Where nothing is stored or paid, nobody speaks of it.
#[cfg_attr(not(all(feature = "economy", feature = "storage")), allow(dead_code))]
mod generated;
mod refusal;

pub use fields::occurrences;
pub use framing::{FrameError, FrameReader, MAX_FRAME_BYTES, split_frame, write_frame};
pub use refusal::Refusal;

/// What tabs and supernodes speak about extra shards: frames of storage, of which a tab's network need know nothing.
pub const TAB_STORAGE_PROTOCOL: &str = "/blackhole/storage/tab/1.0.0";

/// Messages of `/blackhole/cdn/1.0.0` and the statements publishers sign, from `cdn.proto`.
pub use generated::blackhole::cdn::v1 as cdn;

/// What the IPFS world has agreed on, from `ipfs.proto`.
#[cfg(feature = "storage")]
pub use generated::ipfs;

/// What storage records and signs, from `storage.proto`.
#[cfg(feature = "storage")]
pub use generated::blackhole::storage::v1 as storage;

/// Quotes, vouchers, bindings and entries of the books, from `economy.proto`.
#[cfg(feature = "economy")]
pub use generated::blackhole::economy::v1 as economy;

/// What nodes tell each other about themselves, from `coordination.proto`.
pub use generated::blackhole::coordination::v1 as coordination;
