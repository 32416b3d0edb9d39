//! A publisher's side: turning a directory into blobs and a signed manifest, and handing both to a node.

mod directory;
mod into_store;
mod upload;

pub(crate) use directory::content_type;
pub use directory::{Found, ScanError, scan};
pub use into_store::{PublishError, into_store};
pub use upload::{UploadError, loader, upload};

use std::collections::BTreeMap;

use shared::{
    base::UnixSeconds,
    cdn::manifest::{Asset, Manifest, ManifestError, SitePath},
    identity::Keypair,
};

/// How long a statement is believed where the publisher does not say.
pub const DEFAULT_DAYS: u64 = 90;
/// A day.
pub const DAY_SECONDS: u64 = 86_400;

/// What a publisher says about a directory's contents.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The publisher's key.
    pub key: Keypair,
    /// The site's name.
    pub site: String,
    /// For how long to believe it.
    pub days: u64,
}

impl Statement {
    /// Signs a manifest of `assets` that follows `last_sequence`. Sequences follow the clock, so that several
    /// machines of one publisher agree on what is newer without asking each other.
    ///
    /// # Errors
    /// [`ManifestError`] where the assets break a bound of manifests.
    pub fn sign(
        &self,
        assets: BTreeMap<SitePath, Asset>,
        sequence: u64,
        now: UnixSeconds,
    ) -> Result<Vec<u8>, ManifestError> {
        let manifest = Manifest {
            publisher: self.key.public(),
            site: self.site.clone(),
            sequence,
            issued: now,
            expires: now.plus(self.days.saturating_mul(DAY_SECONDS)),
            assets,
        };
        manifest.sign(&self.key, None)
    }
}
