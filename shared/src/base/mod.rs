//! The ground floor: time, names and seeded randomness. Imports nothing else of this crate.

mod ids;
mod rng;
mod time;

pub use ids::{BlobRoot, EffectId, LinkId, ParseRootError, RequestId, SiteId};
pub use rng::SeededRng;
pub use time::{Instant, UnixSeconds};
