//! What the worker's script gives the peer: the network by HTTP, and the disk.

use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::store::{Disk, DiskError};

#[wasm_bindgen]
extern "C" {
    /// `worker.js` implements this.
    pub type Host;

    /// A GET that begins with [`Body::opened`].
    #[wasm_bindgen(method)]
    fn open(this: &Host, url: &str, first: f64, end: f64, cache: &str) -> Body;

    /// Tells the page something.
    #[wasm_bindgen(method)]
    pub fn tell(this: &Host, event: JsValue);

    /// Somebody opened a stream about extra shards: the supernode with this key.
    #[wasm_bindgen(method)]
    pub(super) fn shards(this: &Host, stream: super::shards::ShardStream, supernode: Vec<u8>);

    /// The disk, where this tab leads its origin; `undefined` elsewhere.
    #[wasm_bindgen(method, getter)]
    fn disk(this: &Host) -> Option<HostDisk>;

    /// An HTTP answer.
    pub type Body;

    /// Status code.
    #[wasm_bindgen(method, getter)]
    pub fn status(this: &Body) -> u16;

    /// The first byte's place in the whole, by `Content-Range`; 0 without.
    #[wasm_bindgen(method, getter)]
    pub fn first(this: &Body) -> f64;

    /// Resolves when the head is there; rejects with a named reason.
    #[wasm_bindgen(method)]
    fn opened(this: &Body) -> Promise;

    #[wasm_bindgen(method)]
    fn next(this: &Body) -> Promise;

    /// Ends the transfer.
    #[wasm_bindgen(method)]
    fn cancel(this: &Body);

    /// OPFS behind synchronous access handles.
    #[derive(Debug)]
    pub type HostDisk;

    #[wasm_bindgen(method, getter)]
    fn journal(this: &HostDisk) -> Vec<u8>;
    #[wasm_bindgen(method, getter)]
    fn secret(this: &HostDisk) -> Vec<u8>;
    #[wasm_bindgen(method, catch)]
    fn keep_secret(this: &HostDisk, secret: &[u8]) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn read(this: &HostDisk, slot: u32, into: &mut [u8]) -> Result<u32, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn write(this: &HostDisk, slot: u32, bytes: &[u8]) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn append(this: &HostDisk, records: &[u8]) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn rewrite(this: &HostDisk, journal: &[u8]) -> Result<(), JsValue>;
}

/// A transfer that did not come about or broke off. Stable names, shown in `status().reasons`.
pub(super) type HttpReason = String;

/// What the browser's own cache has to do with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cache {
    /// What it does for everybody.
    Usual,
    /// Nothing is asked of the network.
    Only,
    /// It is left out: what comes is kept in our store, and Chromium's cache asks twice for ranges of one address
    /// that are under way at once.
    Beside,
    /// What it has counts, however old, where the network fails.
    Kept,
}

impl Cache {
    const fn name(self) -> &'static str {
        match self {
            Self::Usual => "default",
            Self::Only => "only-if-cached",
            Self::Beside => "no-store",
            Self::Kept => "kept",
        }
    }
}

/// An answer whose transfer ends when this is dropped.
pub(super) struct Transfer(Body);

impl Host {
    /// GETs the bytes from `first` to `end`, or to the resource's end.
    pub(super) async fn get(
        &self,
        url: &str,
        first: u64,
        end: Option<u64>,
        cache: Cache,
    ) -> Result<Transfer, HttpReason> {
        #[expect(clippy::cast_precision_loss, reason = "blobs are below 2^53 bytes")]
        let (first, end) = (first as f64, end.map_or(-1.0, |end| end as f64));
        // Whoever gives up while the head is still on its way ends the request as well.
        let transfer = Transfer(self.open(url, first, end, cache.name()));
        let opened = wasm_bindgen_futures::JsFuture::from(transfer.0.opened()).await;
        opened.map(|_| transfer).map_err(|error| name_of(&error))
    }

    /// What a supernode says at `url`, at most `bytes_max`; where it cannot be asked, what it said the last time.
    pub(super) async fn said(&self, url: &str, bytes_max: usize) -> Result<Vec<u8>, HttpReason> {
        let mut transfer = self.get(url, 0, None, Cache::Kept).await?;
        if transfer.status() != 200 {
            return Err(format!("http-{}", transfer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = transfer.next().await? {
            bytes.extend(chunk);
            if bytes.len() > bytes_max {
                return Err("too long".to_owned());
            }
        }
        Ok(bytes)
    }

    /// The disk and its journal, or nothing where another tab leads or the browser has none.
    pub(super) fn opened_disk(&self) -> Option<(HostDisk, Vec<u8>)> {
        let disk = self.disk()?;
        let journal = disk.journal();
        Some((disk, journal))
    }

    /// The secret that this origin's leading tab keeps, made at its first start.
    pub(super) fn kept_secret(&self, fresh: [u8; 32]) -> [u8; 32] {
        let Some(disk) = self.disk() else { return fresh };
        if let Ok(kept) = <[u8; 32]>::try_from(disk.secret()) {
            return kept;
        }
        // A key that cannot be kept serves for this visit.
        let _ = disk.keep_secret(&fresh);
        fresh
    }
}

impl Transfer {
    pub(super) fn status(&self) -> u16 {
        self.0.status()
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is compared")]
    pub(super) fn first(&self) -> u64 {
        self.0.first() as u64
    }

    /// The next bytes; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpReason> {
        let next = wasm_bindgen_futures::JsFuture::from(self.0.next()).await;
        let next = next.map_err(|error| name_of(&error))?;
        Ok(next.dyn_into::<Uint8Array>().ok().map(|bytes| bytes.to_vec()))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Disk for HostDisk {
    fn read(&mut self, slot: u32, into: &mut [u8]) -> Result<(), DiskError> {
        let read = HostDisk::read(self, slot, into).map_err(|error| disk_error(&error))?;
        if read as usize == into.len() { Ok(()) } else { Err(DiskError::Failed("short read".to_owned())) }
    }

    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<(), DiskError> {
        HostDisk::write(self, slot, bytes).map_err(|error| disk_error(&error))
    }

    fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        HostDisk::append(self, records).map_err(|error| disk_error(&error))
    }

    fn rewrite(&mut self, journal: &[u8]) -> Result<(), DiskError> {
        HostDisk::rewrite(self, journal).map_err(|error| disk_error(&error))
    }
}

fn disk_error(error: &JsValue) -> DiskError {
    match name_of(error).as_str() {
        "QuotaExceededError" => DiskError::Quota,
        other => DiskError::Failed(other.to_owned()),
    }
}

/// The name of a DOM exception, or what was thrown as text.
pub(super) fn name_of(error: &JsValue) -> String {
    let name = js_sys::Reflect::get(error, &"name".into()).ok().and_then(|name| name.as_string());
    name.or_else(|| error.as_string()).unwrap_or_else(|| "unknown".to_owned())
}
