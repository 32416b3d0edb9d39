//! Who exists and what they offer: soft statements, signed and expiring.
//!
//! Nothing in here promises anything to anybody; it says where to ask.

mod advert;
mod rate;
mod registry;
mod repetition;

pub use advert::{
    Advert, AdvertError, MAX_ADVERT_BYTES, MAX_ADVERT_LIFETIME_SECONDS, MAX_ADVERT_SKEW_SECONDS, ServiceName,
    ServiceNameError,
};
pub use rate::{Rate, RateBySource};
pub use registry::{AdvertRefusal, AdvertRegistry, AdvertVerdict, RegistryLimits};
pub use repetition::Repetition;
