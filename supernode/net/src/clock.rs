//! The wall clock, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::base::UnixSeconds;

pub(crate) fn unix_now() -> UnixSeconds {
    UnixSeconds(unix_millis() / 1000)
}

/// A clock before 1970 is treated as 1970: adverts then expire at once, and nothing else depends on it.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
