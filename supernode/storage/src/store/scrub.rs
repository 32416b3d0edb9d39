//! Looking for rot before a reader meets it.

use shared::base::BlobRoot;

use super::{Held, StoreError, blob_store::State, reader::Reader};

/// What a round of scrubbing found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Blobs that were read and hashed.
    pub checked: u64,
    /// Blobs that were damaged or missing. They are moved aside; who leases them has to have them repaired.
    pub rotten: Vec<BlobRoot>,
    /// Where to go on; nothing once all were looked at.
    pub next: Option<BlobRoot>,
}

/// Checks up to `limit` blobs after `after`. Blocks on the disk.
pub(super) fn scrub(state: &State, after: Option<BlobRoot>, limit: usize) -> Result<ScrubReport, StoreError> {
    let blobs = state.index.after(after, limit)?;
    let mut report = ScrubReport::default();
    if blobs.len() == limit {
        report.next = blobs.last().map(|held| held.root);
    }
    for held in blobs {
        report.checked += 1;
        match verify(state, held) {
            Ok(()) => {}
            Err(StoreError::Rotten { root }) => {
                if state.set_aside(held)? {
                    tracing::warn!(%root, "a blob has rotted on the disk and was moved aside");
                    report.rotten.push(root);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

fn verify(state: &State, held: Held) -> Result<(), StoreError> {
    let mut reader = Reader::open(&state.layout.path(held.root), held.root, held.shape)?;
    if held.shape.size() == 0 {
        return reader.groups(0..1).map(drop);
    }
    let mut range = 0..held.shape.size();
    while reader.next(&mut range)?.is_some() {}
    Ok(())
}
