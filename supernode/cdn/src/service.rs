//! The content service of a node: its sites, their manifests, and the blobs behind them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use prost::Message as _;
use runtime::unix_now;
use shared::{
    base::{BlobRoot, SiteId},
    cdn::{
        blob::BlobShape,
        manifest::{Manifest, ManifestError, Pin},
    },
    identity::{Keypair, PublicKey},
    wire::cdn as wire,
};

use tokio::sync::{Notify, watch};

use crate::{
    config::{Config, SiteConfig},
    meters::Meters,
    origin::Client,
    refresh::Upstream,
    signer::Signer,
    site::{InForce, Site, SiteStatus},
    store::{ImportError, Incoming, IndexError, OpenBlob, ReadError, Store, StoreError, Usage},
    withholding::{self, Withheld, Withholding},
};

const MIB: u64 = 1024 * 1024;

/// Content delivery. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cdn {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    sites: BTreeMap<SiteId, Arc<Site>>,
    meters: Meters,
    client: Client,
    /// Which site to count a blob's bytes for.
    by_root: Mutex<BTreeMap<BlobRoot, SiteId>>,
    /// Told whenever what is held has changed.
    changed: Arc<Notify>,
    withholding: Withholding,
    /// Blobs that no manifest named when the garbage was last looked at.
    condemned: Mutex<BTreeSet<BlobRoot>>,
}

/// What is held of what manifests name.
#[derive(Debug)]
pub(crate) struct Held {
    /// Those in force.
    pub(crate) manifests: Vec<Arc<Manifest>>,
    /// Whole blobs.
    pub(crate) blobs: BTreeMap<BlobRoot, BlobShape>,
}

/// Why content delivery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A section of the configuration.
    #[error("[[cdn.sites]] {name:?}: {reason}")]
    Site {
        /// Which site.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// What became of an uploaded manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in force.
    InForce,
    /// It will be once these blobs are here.
    Missing(Vec<BlobRoot>),
}

/// Why an upload was refused.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Not a site of this node.
    #[error("this node does not serve site {0}; its operator adds it under [[cdn.sites]]")]
    UnknownSite(SiteId),
    /// Signed wrongly, too old, malformed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No manifest waits for this blob.
    #[error("no manifest waits for blob {0}; upload the manifest first")]
    NotAwaited(BlobRoot),
    /// The store cannot take it.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Cdn {
    /// Opens the store and reads the sites.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(config: Config, data_dir: &Path, key: &Keypair, meters: Meters) -> Result<Self, StartError> {
        let quota_bytes = config.quota_mib.saturating_mul(MIB);
        let store = Arc::new(Store::open(data_dir, quota_bytes)?);
        let mut sites = BTreeMap::new();
        let client = Client::new(config.origin);
        for site in config.sites {
            let name = site.name.clone();
            let upstream =
                upstream(key, &site).map_err(|reason| StartError::Site { name: name.clone(), reason })?;
            let site = Arc::new(Site::new(site.pin(), Some(site), upstream));
            if sites.insert(site.id, site).is_some() {
                return Err(StartError::Site { name, reason: "it is there twice; remove one".to_owned() });
            }
        }
        let inner = Inner {
            store,
            sites,
            meters,
            client,
            by_root: Mutex::default(),
            changed: Arc::default(),
            withholding: Withholding::default(),
            condemned: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner.with_stored_manifests()?) })
    }

    /// The blobs.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.inner.sites.values()
    }

    /// What is counted.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// The signed manifest in force and its sequence.
    #[must_use]
    pub fn manifest(&self, site: SiteId) -> Option<(u64, Bytes)> {
        let in_force = self.inner.sites.get(&site)?.in_force()?;
        Some((in_force.manifest.sequence, in_force.signed))
    }

    /// What the manifests in force of all sites say.
    #[must_use]
    pub fn manifests(&self) -> Vec<Arc<Manifest>> {
        let in_force = self.inner.sites.values().filter_map(|site| site.in_force());
        in_force.map(|in_force| in_force.manifest).collect()
    }

    /// How much a site has in all.
    #[must_use]
    pub fn content_bytes(&self, site: SiteId) -> Option<u64> {
        Some(self.inner.sites.get(&site)?.in_force()?.content_bytes)
    }

    /// The name of a site whose manifest names the blob, for counting.
    #[must_use]
    pub fn site_of(&self, root: BlobRoot) -> Option<&str> {
        let by_root = self.inner.by_root.lock().unwrap_or_else(PoisonError::into_inner);
        by_root.get(&root).and_then(|site| self.inner.sites.get(site)).map(|site| site.pin.site.as_str())
    }

    /// The site that a blob is counted for.
    pub(crate) fn site_of_blob(&self, root: BlobRoot) -> Option<Arc<Site>> {
        let by_root = self.inner.by_root.lock().unwrap_or_else(PoisonError::into_inner);
        by_root.get(&root).and_then(|site| self.inner.sites.get(site)).cloned()
    }

    /// The ids of this node's sites.
    pub fn site_ids(&self) -> impl Iterator<Item = SiteId> {
        self.inner.sites.keys().copied()
    }

    /// Whose site it is.
    #[must_use]
    pub fn pin(&self, site: SiteId) -> Option<Pin> {
        self.inner.sites.get(&site).map(|site| site.pin.clone())
    }

    /// Serves nothing more of a site, by the edge and over links, or serves it again. Says whether that is new.
    pub fn withhold(&self, site: SiteId, withheld: Option<Withheld>) -> bool {
        self.inner.withholding.set(site, withheld)
    }

    /// Whether the site that a blob is counted for may be served; that of others always may.
    pub async fn is_served(&self, root: BlobRoot) -> bool {
        match self.site_of_blob(root) {
            Some(site) => self.inner.withholding.is_served(site.id).await,
            None => true,
        }
    }

    /// What is withheld, for who follows it.
    pub(crate) fn withheld(&self) -> watch::Receiver<withholding::Sites> {
        self.inner.withholding.subscribe()
    }

    /// Opens a blob. One that is found corrupt goes to quarantine; one that is lost or corrupt is fetched again
    /// from where it came, if that can be.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn blob(&self, root: BlobRoot) -> Result<Arc<OpenBlob>, ReadError> {
        let opened = self.open_blob(root).await;
        let lost = matches!(opened, Err(ReadError::Absent(_) | ReadError::Corrupt { .. }));
        if lost && self.heal(root).await { self.open_blob(root).await } else { opened }
    }

    async fn open_blob(&self, root: BlobRoot) -> Result<Arc<OpenBlob>, ReadError> {
        let store = Arc::clone(&self.inner.store);
        blocking(move || store.get(root)).await.unwrap_or_else(|source| Err(ReadError::Io { root, source }))
    }

    /// A reader found the blob corrupt: it goes to quarantine.
    pub fn corrupt(&self, root: BlobRoot) {
        if let Err(error) = self.inner.store.quarantine(root) {
            tracing::warn!(%root, %error, "a corrupt blob stays where it is");
        }
        self.inner.changed.notify_one();
        self.observe();
    }

    /// Takes a publisher's manifest: in force at once where all of its blobs are here. Where the missing ones
    /// would not fit, it is refused.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub async fn accept_manifest(&self, site: SiteId, signed: Bytes) -> Result<Accepted, AcceptError> {
        let this = self.clone();
        let accepted = blocking(move || this.inner.accept_manifest(site, signed)).await;
        accepted.unwrap_or_else(|error| Err(ImportError::Io(error).into()))
    }

    /// Begins to take a blob that an uploaded manifest waits for. `announced` is the length that its sender
    /// states, if it does.
    ///
    /// # Errors
    /// [`AcceptError::NotAwaited`] or [`AcceptError::Import`].
    pub fn accept_blob(&self, root: BlobRoot, announced: Option<u64>) -> Result<Incoming, AcceptError> {
        let awaited = self.inner.sites.values().find_map(|site| site.awaited(root));
        let expected = awaited.ok_or(AcceptError::NotAwaited(root))?;
        if announced.is_some_and(|announced| announced != expected) {
            return Err(ImportError::OtherLength { expected }.into());
        }
        Ok(self.inner.store.begin(Some(expected))?)
    }

    /// A peer says that there is a newer manifest. Nothing is believed: where the site has an upstream, that is
    /// asked sooner than it would have been.
    pub(crate) fn heard_of_newer(&self, site: SiteId, sequence: u64) {
        if let Some(site) = self.inner.sites.get(&site).filter(|site| site.sequence() < sequence) {
            site.newer.notify_one();
        }
    }

    /// Tells one listener whenever what is held has changed; changes between two looks are told once.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.changed)
    }

    /// What is held at the moment of what the manifests in force name; nothing where the index fails.
    pub(crate) async fn held(&self) -> Option<Held> {
        let this = self.clone();
        let held = blocking(move || this.inner.held()).await;
        match held {
            Ok(Ok(held)) => Some(held),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot say what is held");
                None
            }
            Err(error) => {
                tracing::error!(%error, "cannot say what is held");
                None
            }
        }
    }

    /// What the status page shows.
    #[must_use]
    pub fn status(&self) -> (Vec<SiteStatus>, Usage) {
        self.observe();
        (self.inner.sites.values().map(|site| site.status()).collect(), self.inner.store.usage())
    }

    /// Removes blobs that no manifest has named since the last call: what was just uploaded and whose
    /// manifest is about to be in force is spared.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn collect_garbage(&self) -> Result<u64, StoreError> {
        let freed = self.inner.collect_garbage()?;
        self.observe();
        Ok(freed)
    }

    /// Copies what the store counts to the meters.
    pub fn observe(&self) {
        let usage = self.inner.store.usage();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.inner.meters.stored_bytes.set(gauge(usage.stored_bytes));
        self.inner.meters.quarantined.set(gauge(usage.quarantined));
    }
}

impl Inner {
    /// Puts the stored manifests in force again. One of a site that is not configured was imported by the
    /// operator, and names its publisher itself.
    fn with_stored_manifests(mut self) -> Result<Self, IndexError> {
        for (id, signed) in self.store.index().manifests()? {
            let pin = match self.sites.get(&id) {
                Some(site) => Some(site.pin.clone()),
                None => pin_of(&signed).filter(|pin| pin.site_id() == id),
            };
            let Some(pin) = pin else { continue };
            match Manifest::open(&signed, &pin, 0, unix_now()) {
                Ok(manifest) => {
                    let site = self.sites.entry(id).or_insert_with(|| Arc::new(Site::new(pin, None, None)));
                    let site = Arc::clone(site);
                    self.put_in_force(&site, manifest, signed.into());
                }
                Err(error) => tracing::warn!(site = %pin.site, %error, "a stored manifest is not served"),
            }
        }
        Ok(self)
    }

    fn accept_manifest(&self, site: SiteId, signed: Bytes) -> Result<Accepted, AcceptError> {
        let site = self.sites.get(&site).ok_or(AcceptError::UnknownSite(site))?;
        let manifest = Manifest::open(&signed, &site.pin, site.sequence(), unix_now())?;
        let mut missing = BTreeMap::new();
        for asset in manifest.assets.values() {
            if !self.store.has(asset.root)? {
                missing.insert(asset.root, asset.shape.size());
            }
        }
        if !missing.is_empty() {
            // Refused here, before a byte of the blobs is sent.
            self.store.room_for(missing.values().sum())?;
            let roots = missing.keys().copied().collect();
            site.wait_for(missing);
            return Ok(Accepted::Missing(roots));
        }
        self.store.index().set_manifest(site.id, manifest.sequence, &signed)?;
        tracing::info!(site = %site.pin.site, sequence = manifest.sequence, assets = manifest.assets.len(), "a manifest is in force");
        self.put_in_force(site, manifest, signed);
        Ok(Accepted::InForce)
    }

    fn put_in_force(&self, site: &Site, manifest: Manifest, signed: Bytes) {
        {
            let mut by_root = self.by_root.lock().unwrap_or_else(PoisonError::into_inner);
            by_root.retain(|_, owner| *owner != site.id);
            for asset in manifest.assets.values() {
                by_root.entry(asset.root).or_insert(site.id);
            }
        }
        let content_bytes =
            manifest.assets.values().fold(0_u64, |sum, asset| sum.saturating_add(asset.shape.size()));
        site.put_in_force(InForce { signed, manifest: Arc::new(manifest), content_bytes });
        self.changed.notify_one();
    }

    fn held(&self) -> Result<Held, IndexError> {
        let in_force = self.sites.values().filter_map(|site| site.in_force());
        let manifests: Vec<_> = in_force.map(|in_force| in_force.manifest).collect();
        let mut blobs = BTreeMap::new();
        for asset in manifests.iter().flat_map(|manifest| manifest.assets.values()) {
            if self.store.has(asset.root)? {
                blobs.insert(asset.root, asset.shape);
            }
        }
        Ok(Held { manifests, blobs })
    }

    fn collect_garbage(&self) -> Result<u64, StoreError> {
        let mut named = BTreeSet::new();
        for site in self.sites.values() {
            named.extend(site.awaited_roots());
            let in_force = site.in_force();
            named.extend(in_force.iter().flat_map(|it| it.manifest.assets.values().map(|asset| asset.root)));
            let records = self.store.index().assets(site.id)?;
            named.extend(records.values().filter_map(|record| record.asset()).map(|asset| asset.root));
        }
        let all: BTreeSet<_> = self.store.index().blobs()?.into_iter().map(|(root, _)| root).collect();
        let unnamed: BTreeSet<_> = all.difference(&named).copied().collect();
        let mut condemned = self.condemned.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = all.iter().filter(|root| !(unnamed.contains(root) && condemned.contains(root)));
        let freed = self.store.collect_garbage(&keep.copied().collect())?;
        *condemned = unnamed;
        Ok(freed)
    }
}

/// Where a site comes from, by its configuration; a sentence where that cannot be.
fn upstream(key: &Keypair, site: &SiteConfig) -> Result<Option<Upstream>, String> {
    match (&site.origin, &site.mirror) {
        (Some(_), Some(_)) => Err("it has an origin and a mirror; keep one".to_owned()),
        (Some(origin), None) => {
            let signer = Signer::load(key, &site.pin(), site.delegation.as_deref())?;
            Ok(Some(Upstream::Origin(origin.clone(), Box::new(signer))))
        }
        (None, Some(edge)) => Ok(Some(Upstream::Mirror(edge.clone()))),
        (None, None) => Ok(None),
    }
}

/// Whose site a manifest says it is about. Not believed before its signature was verified by that pin.
fn pin_of(signed: &[u8]) -> Option<Pin> {
    let signed = wire::SignedManifest::decode(signed).ok()?;
    let manifest = wire::Manifest::decode(signed.manifest.as_slice()).ok()?;
    let publisher = PublicKey::from_bytes(&manifest.publisher).ok()?;
    Some(Pin { publisher, site: manifest.site, min_delegation: 0 })
}

/// Runs what blocks on the disk off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, std::io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
}
