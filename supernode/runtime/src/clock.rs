//! The one place that reads wall time for what is signed.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::base::UnixSeconds;

/// Now. A clock before 1970 counts as 1970: everything signed has then not begun, which is refused.
#[must_use]
pub fn unix_now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
