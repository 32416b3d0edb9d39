//! Signing for a site, as its publisher or by the publisher's permission.

use std::path::Path;

use prost::Message as _;
use shared::{
    base::UnixSeconds,
    cdn::manifest::{Manifest, ManifestError, Pin},
    identity::{Delegation, Keypair},
    wire::cdn as wire,
};

/// A delegation is some 250 bytes.
const DELEGATION_BYTES_MAX: u64 = 4096;
/// How long a statement is believed. A supernode that is down for a weekend comes back to a site that is
/// still believed; one that turned malicious is forgotten within days of its delegation's end.
const MANIFEST_SECONDS: u64 = 4 * 86_400;

/// The right to sign for one site.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    key: Keypair,
    delegation: Option<(wire::SignedDelegation, UnixSeconds)>,
}

impl Signer {
    /// The right of `key` to sign for `pin`, by the file at `delegation` where the site is another's.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub(crate) fn load(key: &Keypair, pin: &Pin, delegation: Option<&Path>) -> Result<Self, String> {
        let ours = key.public();
        let Some(path) = delegation else {
            if ours == pin.publisher {
                return Ok(Self { key: key.clone(), delegation: None });
            }
            return Err(format!(
                "an origin is given but no delegation; its publisher makes one by `blackhole publish --origin URL \
                 --key FILE --site {} --delegate {ours}`",
                pin.site
            ));
        };
        let shown = path.display();
        let length =
            std::fs::metadata(path).map_err(|error| format!("the delegation {shown}: {error}"))?.len();
        if length > DELEGATION_BYTES_MAX {
            return Err(format!("{shown} has {length} bytes, which is no delegation"));
        }
        let bytes = std::fs::read(path).map_err(|error| format!("the delegation {shown}: {error}"))?;
        let signed = wire::SignedDelegation::decode(bytes.as_slice())
            .map_err(|error| format!("{shown} is no delegation: {error}"))?;
        let opened = Delegation::open(&signed).map_err(|error| format!("{shown}: {error}"))?;
        if opened.publisher != pin.publisher || opened.site != pin.site {
            return Err(format!("{shown} is for site {:?} of {}", opened.site, opened.publisher));
        }
        if opened.delegate != ours {
            return Err(format!("{shown} lets {} sign, and this node is {ours}", opened.delegate));
        }
        opened
            .check(runtime::unix_now(), 0)
            .map_err(|error| format!("{shown}: {error}; ask for a new one"))?;
        Ok(Self { key: key.clone(), delegation: Some((signed, opened.expires)) })
    }

    /// Until when a statement signed now would be believed.
    pub(crate) fn believed_until(&self, now: UnixSeconds) -> UnixSeconds {
        let until = now.plus(MANIFEST_SECONDS);
        self.delegation.as_ref().map_or(until, |(_, end)| until.min(*end))
    }

    /// Whether it is time to say again what has not changed: half of its time is over, and saying it again
    /// gains something.
    pub(crate) fn is_due(&self, manifest: &Manifest, now: UnixSeconds) -> bool {
        now.until(manifest.expires) < MANIFEST_SECONDS / 2 && self.believed_until(now) > manifest.expires
    }

    /// Signs.
    pub(crate) fn sign(&self, manifest: &Manifest) -> Result<Vec<u8>, ManifestError> {
        manifest.sign(&self.key, self.delegation.as_ref().map(|(signed, _)| signed.clone()))
    }
}
