//! Looking for rot before a reader meets it.

use std::time::Instant;

use shared::base::BlobRoot;

use super::{Held, StoreError, editions::Edition, state::State};

/// What a round of scrubbing found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Blobs that were read and hashed.
    pub checked: u64,
    /// Blobs that were damaged. They are moved aside; who leases them has to have them repaired.
    pub rotten: Vec<BlobRoot>,
    /// Blobs whose bytes are gone. Who leases them has to have them repaired.
    pub missing: Vec<BlobRoot>,
    /// Where to go on; nothing once all were looked at.
    pub next: Option<BlobRoot>,
}

/// Checks up to `limit` blobs after `after`, and of a bucket no more than its budget allows. Blocks on the disk and the
/// network.
pub(super) fn scrub(state: &State, after: Option<BlobRoot>, limit: usize) -> Result<ScrubReport, StoreError> {
    let blobs = state.index.after(after, limit)?;
    let mut report = ScrubReport::default();
    if blobs.len() == limit {
        report.next = blobs.last().map(|held| held.root);
    }
    let mut before = after;
    for held in blobs {
        if !may_read(state, held) {
            report.next = before;
            break;
        }
        before = Some(held.root);
        report.checked += 1;
        match check(state, held)? {
            Some(Lost::Rotten) => report.rotten.push(held.root),
            Some(Lost::Missing) => report.missing.push(held.root),
            None => {}
        }
    }
    Ok(report)
}

/// Checks one blob. What is damaged is moved aside, and told.
pub(super) fn check(state: &State, held: Held) -> Result<Option<Lost>, StoreError> {
    let root = held.root;
    let lost = match state.verify(held) {
        // Deleted meanwhile.
        Ok(()) | Err(StoreError::Absent { .. }) => None,
        Err(StoreError::Rotten { .. } | StoreError::Missing { .. }) => state.set_aside(held)?,
        Err(error) => return Err(error),
    };
    match lost {
        Some(Lost::Rotten) => {
            tracing::warn!(%root, "a blob has rotted where it is kept, and was moved aside");
            tracing::info!(target: "blackhole::events::storage", event = "rotten", %root);
        }
        Some(Lost::Missing) => {
            tracing::warn!(%root, "a blob's bytes are missing from where they were kept");
            tracing::info!(target: "blackhole::events::storage", event = "missing", %root);
        }
        None => {}
    }
    Ok(lost)
}

/// How a blob was lost.
pub(super) enum Lost {
    Rotten,
    Missing,
}

fn may_read(state: &State, held: Held) -> bool {
    let Some(bucket) = &state.bucket else { return true };
    let is_file = matches!(state.index.locate(held.root), Ok((_, Edition::FILE)));
    is_file || bucket.scrub_budget.spend(held.shape.size(), Instant::now())
}
