//! Manifests: a publisher's signed, ever newer statement of which bytes belong at which path.
//!
//! A page pins its publisher's key; whatever a supernode, a peer or the network in between does, a page
//! shows the bytes that this key, or a key it delegated, vouched for, or falls back to its own origin.

mod path;

use std::collections::BTreeMap;

pub use path::{MAX_PATH_BYTES, PathError, SitePath};
use prost::Message as _;

use super::blob::BlobShape;
use crate::{
    base::{BlobRoot, SiteId, UnixSeconds},
    identity::{
        CLOCK_SKEW_SECONDS, Context, Delegation, DelegationError, Keypair, MAX_SITE_NAME_BYTES, PublicKey,
    },
    wire::cdn as wire,
};

/// The one layout there is so far.
const VERSION: u32 = 1;
/// What a reader will parse. At some 100 bytes an asset this holds every asset a manifest may list.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Bounds the table that every tab of the site holds. A larger site is several sites.
pub const MAX_ASSETS: usize = 20_000;
/// RFC 9110 sets no limit; what is longer is no media type in use.
pub const MAX_CONTENT_TYPE_BYTES: usize = 255;

/// The bytes that belong at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Their name.
    pub root: BlobRoot,
    /// Their length.
    pub shape: BlobShape,
    /// What to serve them as; printable ASCII.
    pub content_type: String,
}

/// A site's contents at one moment, every bound checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Whose site it is.
    pub publisher: PublicKey,
    /// The site's name among its publisher's.
    pub site: String,
    /// Newer statements have higher numbers.
    pub sequence: u64,
    /// When it was signed,
    pub issued: UnixSeconds,
    /// and until when it is to be believed.
    pub expires: UnixSeconds,
    /// At most [`MAX_ASSETS`].
    pub assets: BTreeMap<SitePath, Asset>,
}

/// What a page knows of its site before any manifest: its script tag says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Whose signature counts.
    pub publisher: PublicKey,
    /// Which of the publisher's sites this is.
    pub site: String,
    /// Delegations of a lower serial are revoked.
    pub min_delegation: u64,
}

impl Pin {
    /// The site's id.
    pub fn site_id(&self) -> SiteId {
        site_id(&self.publisher, &self.site)
    }
}

/// The id of a publisher's site: BLAKE3 in key-derivation mode over key and name.
pub fn site_id(publisher: &PublicKey, site: &str) -> SiteId {
    let mut hasher = blake3::Hasher::new_derive_key("blackhole 2026-11-24 cdn site id");
    hasher.update(&publisher.to_bytes());
    hasher.update(site.as_bytes());
    SiteId(*hasher.finalize().as_bytes())
}

/// Why a manifest is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MAX_MANIFEST_BYTES`].
    #[error("the manifest has {bytes} bytes, where at most {MAX_MANIFEST_BYTES} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a manifest, or one that breaks a bound.
    #[error("the manifest cannot be read: {0}")]
    Malformed(String),
    /// A layout this version does not know.
    #[error("the manifest has layout {found}, and this peer knows {VERSION}")]
    Version {
        /// The layout found.
        found: u32,
    },
    /// It speaks of another site than the one pinned.
    #[error("the manifest is about `{found}`, not about the site this page pins")]
    OtherSite {
        /// The site it names.
        found: String,
    },
    /// The signature does not hold.
    #[error("the manifest is not signed by the publisher or a key it delegated")]
    Signature,
    /// The signer's permission does not hold.
    #[error(transparent)]
    Delegation(#[from] DelegationError),
    /// Its time is over.
    #[error("the manifest was to be believed until {}, and it is {} now", .expires.0, .now.0)]
    Expired {
        /// End of its time.
        expires: UnixSeconds,
        /// The reader's clock.
        now: UnixSeconds,
    },
    /// A newer one was seen before.
    #[error("the manifest has sequence {found}, and {seen} was seen before")]
    Older {
        /// Its sequence.
        found: u64,
        /// The highest seen.
        seen: u64,
    },
}

impl Manifest {
    /// The site's id.
    pub fn site_id(&self) -> SiteId {
        site_id(&self.publisher, &self.site)
    }

    /// Signs as the publisher, or as the key that `delegation` permits. Returns the encoded
    /// [`wire::SignedManifest`].
    ///
    /// # Errors
    /// [`ManifestError::Malformed`] or [`ManifestError::TooLong`] where the contents break a bound, so that
    /// nothing is ever published which readers would refuse.
    pub fn sign(
        &self,
        signer: &Keypair,
        delegation: Option<wire::SignedDelegation>,
    ) -> Result<Vec<u8>, ManifestError> {
        let manifest = self.to_wire().encode_to_vec();
        Self::read(&manifest)?;
        let signature = signer.sign(Context::Manifest, &manifest).to_vec();
        let signed = wire::SignedManifest { manifest, signature, delegation }.encode_to_vec();
        bounded(&signed)?;
        Ok(signed)
    }

    /// Reads what [`Manifest::sign`] made and believes it only if it is for the pinned site, signed by who
    /// may, in its time, and not older than `seen`, the highest sequence this reader has believed so far.
    ///
    /// # Errors
    /// [`ManifestError`] naming the first thing that does not hold.
    pub fn open(bytes: &[u8], pin: &Pin, seen: u64, now: UnixSeconds) -> Result<Self, ManifestError> {
        bounded(bytes)?;
        let signed = wire::SignedManifest::decode(bytes).map_err(malformed)?;
        let signer = match &signed.delegation {
            None => pin.publisher.clone(),
            Some(delegation) => {
                let delegation = Delegation::open(delegation)?;
                if delegation.publisher != pin.publisher || delegation.site != pin.site {
                    return Err(ManifestError::OtherSite { found: delegation.site });
                }
                delegation.check(now, pin.min_delegation)?;
                delegation.delegate
            }
        };
        if !signer.verify(Context::Manifest, &signed.manifest, &signed.signature) {
            return Err(ManifestError::Signature);
        }
        let manifest = Self::read(&signed.manifest)?;
        if manifest.publisher != pin.publisher || manifest.site != pin.site {
            return Err(ManifestError::OtherSite { found: manifest.site });
        }
        if now > manifest.expires.plus(CLOCK_SKEW_SECONDS) {
            return Err(ManifestError::Expired { expires: manifest.expires, now });
        }
        if manifest.sequence < seen {
            return Err(ManifestError::Older { found: manifest.sequence, seen });
        }
        Ok(manifest)
    }

    fn to_wire(&self) -> wire::Manifest {
        let asset = |(path, asset): (&SitePath, &Asset)| wire::Asset {
            path: path.to_string(),
            root: asset.root.0.to_vec(),
            size: asset.shape.size(),
            content_type: asset.content_type.clone(),
        };
        wire::Manifest {
            version: VERSION,
            publisher: self.publisher.to_bytes().to_vec(),
            site: self.site.clone(),
            sequence: self.sequence,
            issued_unix: self.issued.0,
            expires_unix: self.expires.0,
            assets: self.assets.iter().map(asset).collect(),
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        let inner = wire::Manifest::decode(bytes).map_err(malformed)?;
        if inner.version != VERSION {
            return Err(ManifestError::Version { found: inner.version });
        }
        if inner.site.is_empty() || inner.site.len() > MAX_SITE_NAME_BYTES {
            return Err(malformed("its site name is empty or too long"));
        }
        if inner.assets.len() > MAX_ASSETS {
            return Err(malformed(format!("{} assets, where at most {MAX_ASSETS} fit", inner.assets.len())));
        }
        let mut assets = BTreeMap::new();
        for asset in inner.assets {
            let path: SitePath = asset.path.parse().map_err(malformed)?;
            if assets.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(malformed(format!("{path} is out of order")));
            }
            assets.insert(path, Asset::read(&asset.root, asset.size, asset.content_type)?);
        }
        Ok(Self {
            publisher: PublicKey::from_bytes(&inner.publisher).map_err(malformed)?,
            site: inner.site,
            sequence: inner.sequence,
            issued: UnixSeconds(inner.issued_unix),
            expires: UnixSeconds(inner.expires_unix),
            assets,
        })
    }
}

impl Asset {
    fn read(root: &[u8], size: u64, content_type: String) -> Result<Self, ManifestError> {
        let root = BlobRoot::try_from(root).map_err(malformed)?;
        let shape = BlobShape::new(size).ok_or_else(|| malformed(format!("an asset of {size} bytes")))?;
        let printable = content_type.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if content_type.len() > MAX_CONTENT_TYPE_BYTES || !printable {
            return Err(malformed("a content type that is too long or not printable ASCII"));
        }
        Ok(Self { root, shape, content_type })
    }
}

fn bounded(bytes: &[u8]) -> Result<(), ManifestError> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLong { bytes: bytes.len() });
    }
    Ok(())
}

fn malformed(what: impl ToString) -> ManifestError {
    ManifestError::Malformed(what.to_string())
}

#[cfg(test)]
mod tests;
