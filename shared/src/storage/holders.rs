//! Holders: who takes shards, on which terms, what they promise, and what is kept against them.
//!
//! ```text
//! SignedHolderAdvert ─► Directory ─► placement::Holder ─► placement      who could hold a shard
//! SignedLease        ─► what makes "stored" true                         who promised to
//! SignedFailedAudit  ─► evidence, which anybody can check                who broke it
//! ```
//!
//! Non-goals: whether an advert tells the truth about region and system, and how adverts travel.

mod advert;
mod directory;
mod evidence;
mod lease;

pub use advert::{
    HolderAdvert, HolderAdvertError, MAX_HOLDER_ADVERT_BYTES, MAX_HOLDER_ADVERT_LIFETIME_SECONDS,
    MAX_SOFTWARE_BYTES, vouch,
};
pub use directory::{Directory, HolderRefusal, HolderVerdict, MAX_HOLDERS};
pub use evidence::{EvidenceError, FailedAudit, MAX_EVIDENCE_BYTES};
pub use lease::{Lease, LeaseError, MAX_LEASE_BYTES, MAX_LEASE_SECONDS};

#[cfg(test)]
mod tests;
