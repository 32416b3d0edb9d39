//! What the core tells its user.

use core::fmt;

use crate::{
    base::{BlobRoot, SiteId},
    cdn::offences::Offence,
    identity::PublicKey,
};

use crate::economy::meter::SourceBytes;

/// Names one `Fetch` command until it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchId(pub u64);

/// Something our user wants to know. Each fetch is answered exactly once: by `Completed`, `FellBack` or
/// `Cancelled`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A group was verified and stored; said once a group.
    Ready {
        /// The blob.
        root: BlobRoot,
        /// The group.
        group: u32,
    },
    /// All that the fetch asked for is here.
    Completed {
        /// Which fetch.
        fetch: FetchId,
        /// The blob.
        root: BlobRoot,
        /// Where the blob's bytes came from so far.
        sources: SourceBytes,
    },
    /// The fetch cannot be completed here: the user takes the plain network for what is missing.
    FellBack {
        /// Which fetch.
        fetch: FetchId,
        /// The blob.
        root: BlobRoot,
        /// Why.
        reason: FallBack,
    },
    /// The fetch was cancelled by its user.
    Cancelled {
        /// Which fetch.
        fetch: FetchId,
        /// The blob.
        root: BlobRoot,
    },
    /// A peer broke the protocol and was cut.
    PeerCut {
        /// Who.
        peer: PublicKey,
        /// What it did.
        offence: Offence,
    },
    /// A peer says there is a newer manifest. The shell fetches and opens it; nothing is believed before.
    ManifestNewer {
        /// Of which site.
        site: SiteId,
        /// The sequence it claims.
        sequence: u64,
    },
    /// The upload budget is used up; serving has stopped.
    UploadBudgetSpent,
    /// A receiver signed for more of what we sent it.
    #[cfg(feature = "rendezvous")]
    Receipted {
        /// Which of our sessions.
        session: u64,
        /// Payload bytes that were sent in it so far.
        sent: u64,
        /// What it signed for of what our HTTP edge sent. Whether that sent as much is not known here.
        edge: u64,
        /// Whose content all of it is, where the receiver took part in that site and got nothing else.
        site: Option<SiteId>,
        /// What it signed, verified.
        receipt: crate::wire::cdn::SignedReceipt,
    },
    /// A tab that is to be paid handed in what others signed for it.
    #[cfg(feature = "rendezvous")]
    HandedIn {
        /// Who is paid, by that tab's word to us; verified.
        earner: Box<crate::cdn::earner::Earner>,
        /// The word itself.
        signed: crate::wire::cdn::SignedEarner,
        /// What it showed. Not verified.
        receipts: Vec<crate::wire::cdn::SignedReceipt>,
    },
    /// A session of which there were receipts is over.
    #[cfg(feature = "rendezvous")]
    SessionEnded {
        /// With whom.
        receiver: PublicKey,
        /// Which.
        session: u64,
        /// Payload bytes that were sent in it.
        sent: u64,
    },
}

/// Why a fetch fell back to the plain network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FallBack {
    /// No source delivers: HTTP failed repeatedly or is absent, and no peer holds what is missing.
    NoSource,
    /// The store refuses to take more.
    StoreFull,
    /// More fetches at once than are kept.
    TooMany,
    /// The same root was asked for with another length.
    OtherShape,
}

impl fmt::Display for FallBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSource => "no source delivers it",
            Self::StoreFull => "the store refuses to take more",
            Self::TooMany => "too many fetches at once",
            Self::OtherShape => "the same root was asked for with another length",
        })
    }
}
