//! What an origin may cost us.

use std::time::Duration;

use serde::Deserialize;

const MIB: u64 = 1024 * 1024;

/// The `[cdn.origin]` section of the configuration.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OriginLimits {
    /// Until an origin has accepted a connection.
    pub connect_seconds: u64,
    /// Until it has begun to answer.
    pub response_seconds: u64,
    /// Without any byte of a body.
    pub idle_seconds: u64,
    /// A body that comes more slowly than this on the whole is given up.
    pub bytes_per_second_min: u64,
    /// The longest asset.
    pub asset_mib_max: u64,
    /// The most assets of a site.
    pub assets_max: usize,
    /// How many links away from the first page assets are sought.
    pub depth_max: usize,
    /// Requests at a time to one origin; browsers open six.
    pub requests: usize,
}

impl Default for OriginLimits {
    fn default() -> Self {
        Self {
            connect_seconds: 10,
            response_seconds: 30,
            idle_seconds: 20,
            bytes_per_second_min: 4 * 1024,
            asset_mib_max: 1024,
            assets_max: 5_000,
            depth_max: 8,
            requests: 6,
        }
    }
}

impl OriginLimits {
    pub(crate) const fn connect(&self) -> Duration {
        Duration::from_secs(self.connect_seconds)
    }

    pub(crate) const fn response(&self) -> Duration {
        Duration::from_secs(self.response_seconds)
    }

    pub(crate) const fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }

    pub(crate) const fn asset_bytes(&self) -> u64 {
        self.asset_mib_max.saturating_mul(MIB)
    }
}
