//! The peer in its dedicated worker: what the page, the service worker and the network meet in.
//!
//! ```text
//!   page ──── answer(path, port) ───► request ──► swarm (the core) ──► http, links
//!   service worker ─┘                    ▲                                  │ judged
//!                                        └──────────── store ◄──────────────┘
//! ```
//!
//! Promises: no byte leaves that was not verified against the publisher's manifest; every failure has a
//! name in `status().reasons`, and the asker falls back to the plain network.

mod config;
mod host;
mod http;
mod meters;
mod obtain;
mod request;
mod seed;
mod shards;
mod site;
mod swarm;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::join;
use futures_timer::Delay;
use litemap::LiteMap;
use shared::base::BlobRoot;
use shared::cdn::blob::BlobShape;
use shared::cdn::manifest::{Manifest, Pin};
use shared::identity::Keypair;
use wasm_bindgen::prelude::*;
use web_sys::MessagePort;

use crate::store::{Blobs, CachedDisk, Disk, DiskError, MemoryDisk, SLOT_BYTES};
use config::{Config, whole};
use host::Host;
use meters::Status;
use site::Site;
use swarm::{Swarm, find_supernode};

/// Without a disk: what a visitor will not miss.
const MEMORY_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// What came is on the disk within this, or a tab that dies fetches it again.
const KEPT_WITHIN: Duration = Duration::from_millis(20);
/// Or, where the disk is slow, within so many times what writing took last: most of a worker's time is for other things.
const KEPT_WITHIN_WRITES: u32 = 10;

/// All that the worker's tasks share. One thread; no borrow is held across an await.
struct Tab {
    host: Host,
    config: Config,
    pin: Pin,
    blobs: RefCell<Blobs<Box<dyn Disk>>>,
    site: RefCell<Option<Site>>,
    seen: Cell<u64>,
    status: RefCell<Status>,
    swarm: Swarm,
    /// Pieces taken into the store since the start.
    taken: Cell<u64>,
    /// From when on what comes is written at once, and whether a timer runs until then.
    keep_at: Cell<web_time::Instant>,
    kept_soon: Cell<bool>,
    /// Tasks that wait for something of a blob to change.
    waiting: RefCell<LiteMap<BlobRoot, Vec<oneshot::Sender<()>>>>,
}

/// The peer, as `worker.js` drives it.
#[wasm_bindgen]
pub struct TabPeer(Rc<Tab>);

#[wasm_bindgen]
impl TabPeer {
    /// Opens the store and believes the site's manifest.
    ///
    /// # Errors
    /// A named reason; the page does without a peer then.
    pub async fn start(host: Host, config: JsValue, rtc_port: MessagePort) -> Result<TabPeer, JsValue> {
        let config: Config =
            serde_wasm_bindgen::from_value(config).map_err(|error| format!("config: {error}"))?;
        let pin = config.pin()?;
        let keypair = Keypair::from_secret(host.kept_secret(random()?));
        let (supernode, manifest) =
            join(find_supernode(&host, &config.edge), site::fetch_manifest(&host, &config.edge, &pin)).await;
        let swarm = Swarm::new(&keypair, random()?, supernode.as_ref().ok(), whole(config.upload_bytes));
        let tab = Rc::new(Tab::new(host, config, pin, &keypair, swarm));
        tab.believe(&manifest?)?;
        let joined = supernode.and_then(|supernode| tab.join_network(&keypair, rtc_port, supernode));
        if let Err(reason) = joined {
            tab.note(&reason);
        }
        Ok(Self(tab))
    }

    /// Answers a request for `path`, bytes `first` to `end` (negative: to its end), over `port`; in order and in
    /// time where it `plays`.
    pub fn answer(&self, path: String, first: f64, end: f64, plays: bool, port: MessagePort) {
        let wanted =
            request::Wanted { path, first: whole(first), end: (end >= 0.0).then(|| whole(end)), plays };
        wasm_bindgen_futures::spawn_local(request::answer(self.0.clone(), wanted, port));
    }

    /// Whether the manifest has this path; asked before a request is taken from the browser.
    pub fn paths(&self) -> Vec<String> {
        let site = self.0.site.borrow();
        site.iter().flat_map(|site| site.manifest.assets.keys()).map(ToString::to_string).collect()
    }

    /// Takes up what the browser has loaded of `path` already, from the browser's own cache alone.
    pub async fn seed(&self, path: String) -> bool {
        match self.0.seed(&path).await {
            Ok(new) => new,
            Err(reason) => {
                // A browser that keeps nothing has done nothing wrong.
                if reason != "not-cached" {
                    self.0.note(&format!("seed: {reason}"));
                }
                false
            }
        }
    }

    /// Asks for a newer manifest; tells whether there was one.
    pub async fn refresh(&self) -> bool {
        let before = self.0.seen.get();
        if let Err(reason) = self.0.refresh_manifest().await {
            self.0.note(&reason);
        }
        self.0.seen.get() > before
    }

    /// What the page's `status()` shows.
    ///
    /// # Errors
    /// None in practice: the status is plain data.
    pub fn status(&self) -> Result<JsValue, JsValue> {
        Ok(serde_wasm_bindgen::to_value(&self.0.full_status())?)
    }

    /// Who is paid for what is given from now on: the 20 bytes of an account, or none.
    pub fn earn_to(&self, account: &[u8]) {
        self.0.swarm.earn_to(account.try_into().ok());
    }

    /// Ends: what is running is dropped with the worker.
    pub fn stop(&self) {
        self.flush();
    }

    /// Writes the journal: the tab is being hidden, or about to end.
    pub fn flush(&self) {
        self.0.keep();
    }
}

impl Tab {
    fn new(host: Host, config: Config, pin: Pin, keypair: &Keypair, swarm: Swarm) -> Self {
        let cache_bytes = whole(config.cache_bytes);
        let opened = host.opened_disk();
        let leader = opened.is_some();
        let (disk, journal, bytes): (Box<dyn Disk>, _, _) = match opened {
            Some((disk, journal)) => (Box::new(CachedDisk::new(disk)), journal, cache_bytes),
            None => (Box::new(MemoryDisk::default()), Vec::new(), cache_bytes.min(MEMORY_BYTES_MAX)),
        };
        let slots = u32::try_from(bytes / SLOT_BYTES as u64).unwrap_or(u32::MAX);
        let peer_id = keypair.public().to_peer_id().to_string();
        Self {
            seen: Cell::new(config.seen()),
            host,
            config,
            pin,
            blobs: RefCell::new(Blobs::open(disk, &journal, slots)),
            site: RefCell::default(),
            swarm,
            status: RefCell::new(Status { leader, peer_id, ..Status::default() }),
            taken: Cell::new(0),
            keep_at: Cell::new(web_time::Instant::now()),
            kept_soon: Cell::new(false),
            waiting: RefCell::default(),
        }
    }

    /// Announces a blob of which pieces may come.
    fn announce_blob(&self, root: BlobRoot, shape: BlobShape) {
        self.blobs.borrow_mut().begin(root, shape, self.unix_seconds());
    }

    /// Announces a blob that somebody asked for, and keeps it from eviction.
    fn begin(&self, root: BlobRoot, shape: BlobShape) {
        let now = self.unix_seconds();
        let mut blobs = self.blobs.borrow_mut();
        blobs.begin(root, shape, now);
        blobs.count_use(root, now);
        blobs.pin(root);
    }

    /// Resolves at the next change of a blob, which may be none that the waiter wanted.
    async fn changed(&self, root: BlobRoot) {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().entry(root).or_default().push(sender);
        let _ = receiver.await;
    }

    fn wake(&self, root: BlobRoot) {
        for waiter in self.waiting.borrow_mut().remove(&root).unwrap_or_default() {
            let _ = waiter.send(());
        }
    }

    /// Writes what came.
    fn keep(&self) {
        let begun = web_time::Instant::now();
        let flushed = self.blobs.borrow_mut().flush();
        if let Err(error) = flushed {
            self.handle_disk_error(&error);
        }
        let took = begun.elapsed() * KEPT_WITHIN_WRITES;
        self.keep_at.set(web_time::Instant::now() + took.max(KEPT_WITHIN));
    }

    /// Writes what came, now or as soon as it may.
    fn keep_soon(self: &Rc<Self>) {
        let wait = self.keep_at.get().saturating_duration_since(web_time::Instant::now());
        if wait.is_zero() {
            return self.keep();
        }
        if self.kept_soon.replace(true) {
            return;
        }
        let tab = self.clone();
        wasm_bindgen_futures::spawn_local(async move {
            Delay::new(wait).await;
            tab.kept_soon.set(false);
            tab.keep();
        });
    }

    /// Remembers why something was not done.
    fn note(&self, reason: &str) {
        self.status.borrow_mut().add_reason(reason);
    }

    fn handle_disk_error(&self, error: &DiskError) {
        match error {
            DiskError::Quota => {
                self.blobs.borrow_mut().shrink_to_used();
                self.note("storage-quota");
            }
            DiskError::Failed(_) => self.note("storage-failed"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "sequences are counted by ones")]
    fn announce_manifest(&self, manifest: &Manifest) {
        let event = js_sys::Object::new();
        request::set(&event, "event", &"manifest".into());
        request::set(&event, "sequence", &(manifest.sequence as f64).into());
        self.host.tell(event.into());
    }

    #[expect(clippy::cast_precision_loss, reason = "counts for people")]
    fn full_status(&self) -> Status {
        let mut status = self.status.borrow().clone();
        let blobs = self.blobs.borrow();
        if let Some(site) = self.site.borrow().as_ref() {
            status.site.clone_from(&site.manifest.site);
            status.sequence = site.manifest.sequence as f64;
        }
        status.bytes.asked = meters::Asked::of(self.swarm.meters().asked);
        status.peers = u32::try_from(self.swarm.tabs()).unwrap_or(u32::MAX);
        status.known = u32::try_from(self.swarm.known()).unwrap_or(u32::MAX);
        status.reachable = self.swarm.is_reachable();
        status.supernodes = u32::try_from(self.swarm.supernodes()).unwrap_or(u32::MAX);
        status.stored_bytes = blobs.used_bytes() as f64;
        status.complete =
            u32::try_from(blobs.roots().filter(|(root, _)| blobs.is_complete(*root)).count()).unwrap_or(0);
        status
    }

    fn unix_seconds(&self) -> u64 {
        whole(js_sys::Date::now() / 1000.0)
    }
}

fn random() -> Result<[u8; 32], JsValue> {
    let mut bytes = [0; 32];
    getrandom03::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    Ok(bytes)
}
