//! The site's manifest: fetched from the edge, believed only by the page's pin.

use std::rc::Rc;

use shared::base::{BlobRoot, UnixSeconds};
use shared::cdn::manifest::{Asset, MAX_MANIFEST_BYTES, Manifest, Pin, SitePath};

use super::Tab;
use super::host::{Host, HttpReason};

/// A believed manifest.
pub(super) struct Site {
    pub(super) manifest: Manifest,
}

impl Site {
    /// One of the paths where these bytes belong.
    pub(super) fn path_of(&self, root: BlobRoot) -> Option<&SitePath> {
        self.manifest.assets.iter().find(|(_, asset)| asset.root == root).map(|(path, _)| path)
    }

    /// The asset that belongs at a path.
    pub(super) fn asset(&self, path: &str) -> Option<&Asset> {
        self.manifest.assets.get(&path.parse::<SitePath>().ok()?)
    }
}

impl Tab {
    /// Looks whether there is a newer manifest.
    pub(super) async fn refresh_manifest(self: &Rc<Self>) -> Result<(), HttpReason> {
        self.believe(&fetch_manifest(&self.host, &self.config.edge, &self.pin).await?)
    }

    /// Believes a signed manifest, if it is this site's and not older than what was seen.
    pub(super) fn believe(self: &Rc<Self>, bytes: &[u8]) -> Result<(), HttpReason> {
        let seen = self.seen.get();
        let manifest = Manifest::open(bytes, &self.pin, seen, UnixSeconds(self.unix_seconds()))
            .map_err(|error| format!("manifest: {error}"))?;
        if self.site.borrow().as_ref().is_some_and(|site| site.manifest == manifest) {
            return Ok(());
        }
        self.seen.set(manifest.sequence);
        self.announce_manifest(&manifest);
        self.introduce(&manifest);
        *self.site.borrow_mut() = Some(Site { manifest });
        Ok(())
    }
}

/// The manifest as the edge has it; nothing is believed of it yet.
pub(super) async fn fetch_manifest(host: &Host, edge: &str, pin: &Pin) -> Result<Vec<u8>, HttpReason> {
    let url = format!("{edge}/blackhole/v1/sites/{}/manifest", pin.site_id());
    host.said(&url, MAX_MANIFEST_BYTES).await.map_err(|error| format!("manifest: {error}"))
}
