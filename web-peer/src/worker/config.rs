//! What the page hands over at the start.

use serde::Deserialize;
use shared::cdn::manifest::Pin;

/// As the script tag and the page's loader have it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    /// The supernode's HTTP edge, without a trailing slash.
    pub(super) edge: String,
    /// The publisher's own origin.
    pub(super) origin: String,
    publisher: String,
    site: String,
    min_delegation: f64,
    /// The highest sequence this origin has believed so far.
    seen: f64,
    /// What the cache may take.
    pub(super) cache_bytes: f64,
    /// What this tab may give away.
    pub(super) upload_bytes: f64,
}

impl Config {
    /// Whose site this page is.
    pub(super) fn pin(&self) -> Result<Pin, String> {
        let publisher = self.publisher.parse().map_err(|error| format!("data-publisher: {error}"))?;
        Ok(Pin { publisher, site: self.site.clone(), min_delegation: whole(self.min_delegation) })
    }

    pub(super) fn seen(&self) -> u64 {
        whole(self.seen)
    }
}

/// A JavaScript number as a count; what is none counts as nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what is wanted"
)]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}
