//! The ground floor: time, names, verified blobs and seeded randomness. Imports nothing else of this crate.

pub mod blob;
mod ids;
mod rng;
mod time;

pub use ids::{BlobRoot, EffectId, LinkId, ParseRootError, RequestId, SegmentId, SiteId};
pub use rng::SeededRng;
pub use time::{Instant, UnixSeconds};
