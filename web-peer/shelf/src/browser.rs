//! The shelf as the worker's script drives it.

use std::rc::Rc;

use js_sys::{Array, Object, Reflect, Uint8Array};
use shared::{
    base::UnixSeconds,
    identity::{Keypair, PublicKey},
};
use wasm_bindgen::prelude::*;

use crate::{Broken, File, FileError, Files, Shelf, Status, Stream};

#[wasm_bindgen]
extern "C" {
    /// OPFS behind synchronous access handles: `shelf-disk.js` implements this.
    pub type ShelfDisk;

    /// What lies there: pairs of a name and a file.
    #[wasm_bindgen(method, getter)]
    fn found(this: &ShelfDisk) -> Array;
    #[wasm_bindgen(method, catch)]
    async fn create(this: &ShelfDisk, name: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn remove(this: &ShelfDisk, name: &str, file: &ShelfFile) -> Result<JsValue, JsValue>;

    /// One file.
    pub type ShelfFile;

    #[wasm_bindgen(method, getter)]
    fn size(this: &ShelfFile) -> f64;
    #[wasm_bindgen(method, catch)]
    fn read(this: &ShelfFile, at: f64, into: &mut [u8]) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn write(this: &ShelfFile, at: f64, bytes: &[u8]) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn flush(this: &ShelfFile) -> Result<(), JsValue>;

    /// A stream of the tab's network: the peer's `ShardStream`.
    pub type LentStream;

    /// Sends bytes, ends the sending where they are none, and reads without them; `undefined` where it broke off.
    #[wasm_bindgen(method, catch)]
    async fn step(this: &LentStream, bytes: Option<Uint8Array>) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    fn free(this: &LentStream);
}

/// A stream that ends when this is dropped.
struct Lent(LentStream);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.free();
    }
}

impl Lent {
    async fn step(&self, bytes: Option<&[u8]>) -> Result<Uint8Array, Broken> {
        let stepped = self.0.step(bytes.map(Uint8Array::from)).await.map_err(|_| Broken)?;
        stepped.dyn_into().map_err(|_| Broken)
    }
}

impl Stream for Lent {
    async fn read(&mut self) -> Result<Vec<u8>, Broken> {
        Ok(self.step(None).await?.to_vec())
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Broken> {
        self.step(Some(&bytes)).await.map(drop)
    }

    async fn close(&mut self) {
        let _ = self.step(Some(&[])).await;
    }
}

impl File for ShelfFile {
    fn size(&self) -> u64 {
        whole(Self::size(self))
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), FileError> {
        Self::read(self, number(at), into).map_err(|error| file_error(&error))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), FileError> {
        Self::write(self, number(at), bytes).map_err(|error| file_error(&error))
    }

    fn flush(&self) -> Result<(), FileError> {
        Self::flush(self).map_err(|error| file_error(&error))
    }
}

impl Files for ShelfDisk {
    type File = ShelfFile;

    async fn create(&self, name: &str) -> Result<ShelfFile, FileError> {
        Self::create(self, name).await.map(JsCast::unchecked_into).map_err(|error| file_error(&error))
    }

    async fn remove(&self, name: &str, file: ShelfFile) {
        // What cannot be taken away now is found and taken away at the next start.
        let _ = Self::remove(self, name, &file).await;
    }
}

fn file_error(error: &JsValue) -> FileError {
    let name = Reflect::get(error, &"name".into()).ok().and_then(|name| name.as_string());
    if name.as_deref() == Some("QuotaExceededError") { FileError::Quota } else { FileError::Failed }
}

/// The shelf of this origin's leading tab.
#[wasm_bindgen]
pub struct TabShelf(Rc<Shelf<ShelfDisk>>);

#[wasm_bindgen]
impl TabShelf {
    /// Opens it. `secret` is the tab's own, by whose key it is known to the supernode.
    ///
    /// # Errors
    /// Where the secret is none.
    pub async fn open(disk: ShelfDisk, secret: Vec<u8>, quota: f64) -> Result<TabShelf, JsValue> {
        let secret: [u8; 32] = secret.try_into().map_err(|_| JsValue::from("no-secret"))?;
        let mut found = Vec::new();
        for pair in disk.found().iter().filter_map(|pair| pair.dyn_into::<Array>().ok()) {
            let name = pair.get(0).as_string().unwrap_or_default();
            found.push((name, pair.get(1).unchecked_into()));
        }
        let clock = || UnixSeconds(whole(js_sys::Date::now() / 1000.0));
        let shelf = Shelf::open(disk, found, Keypair::from_secret(secret), whole(quota), clock).await;
        Ok(Self(Rc::new(shelf)))
    }

    /// Answers what the supernode with this key asks.
    pub fn serve(&self, owner: &[u8], stream: LentStream) {
        let lent = Lent(stream);
        let Ok(owner) = PublicKey::from_bytes(owner) else { return };
        let shelf = Rc::clone(&self.0);
        wasm_bindgen_futures::spawn_local(async move {
            // A stream that breaks off is nobody's loss but the asker's.
            let _ = shelf.serve(&owner, lent).await;
        });
    }

    /// Tells the supernode what there is room for and what is kept. Whether it wants to hear of it.
    pub async fn offer(&self, stream: LentStream) -> bool {
        self.0.offer(Lent(stream), whole(js_sys::Date::now())).await == Ok(true)
    }

    /// The visitor has changed their mind: all of it goes now.
    pub async fn clear(&self) {
        self.0.clear().await;
    }

    /// What the visitor sees of it.
    pub fn status(&self) -> Object {
        let Status { bytes, quota, shards, proofs, proved_at, lost, forgeries } = self.0.status();
        let status = Object::new();
        for (name, figure) in [
            ("bytes", bytes),
            ("quota", quota),
            ("shards", shards as u64),
            ("proofs", proofs.into()),
            ("provedAt", proved_at),
            ("lost", lost.into()),
            ("forgeries", forgeries.into()),
        ] {
            let _ = Reflect::set(&status, &name.into(), &number(figure).into());
        }
        status
    }
}

#[expect(clippy::cast_precision_loss, reason = "places in files and counts are below 2^53")]
fn number(of: u64) -> f64 {
    of as f64
}

/// A JavaScript number as a count; what is none counts as nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what is wanted"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
