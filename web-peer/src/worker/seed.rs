//! Taking up what the browser has loaded before there was a peer, so that others get it from this tab.

use std::rc::Rc;

use shared::cdn::blob::{BlobHasher, HashTree};
use shared::cdn::part::Piece;

use super::Tab;
use super::host::{Cache, HttpReason};
use super::http::reason_of;
use crate::store::PutError;

/// Larger ones are not re-read: hashing needs them whole in memory.
const SEED_BYTES_MAX: u64 = 48 * 1024 * 1024;

impl Tab {
    /// Re-reads `path` from the browser's cache, never from the network, and keeps it if it is what the
    /// manifest says. Tells whether that was new.
    pub(super) async fn seed(self: &Rc<Self>, path: &str) -> Result<bool, HttpReason> {
        let asset = self.site.borrow().as_ref().and_then(|site| site.asset(path).cloned());
        let Some(asset) = asset else { return Ok(false) };
        if asset.shape.size() > SEED_BYTES_MAX || self.blobs.borrow().is_complete(asset.root) {
            return Ok(false);
        }
        let url = format!("{}{path}", self.config.origin);
        let mut transfer = self.host.get(&url, 0, None, Cache::Only).await?;
        if transfer.status() != 200 {
            return Err(format!("http-{}", transfer.status()));
        }
        let mut bytes = Vec::new();
        let mut hasher = BlobHasher::default();
        while let Some(chunk) = transfer.next().await? {
            if (bytes.len() + chunk.len()) as u64 > asset.shape.size() {
                return Err("differs-from-manifest".to_owned());
            }
            hasher.update(&chunk).map_err(|error| error.to_string())?;
            bytes.extend(chunk);
        }
        let tree = hasher.finish();
        if tree.root() != asset.root {
            return Err("differs-from-manifest".to_owned());
        }
        self.keep_whole(&tree, &bytes).map_err(|error| reason_of(&error).to_owned())?;
        self.introduce_blob(tree.root(), tree.shape());
        self.forget_evicted();
        Ok(true)
    }

    fn keep_whole(self: &Rc<Self>, tree: &HashTree, bytes: &[u8]) -> Result<(), PutError> {
        let (root, shape) = (tree.root(), tree.shape());
        self.blobs.borrow_mut().begin(root, shape, self.unix_seconds());
        if let Some(top) = tree.top() {
            self.put(root, Piece::Top, &top)?;
        }
        for page in 0..shape.pages() {
            self.put(root, Piece::Page(page), &tree.page(page).unwrap_or_default())?;
        }
        for group in 0..shape.groups() {
            let range = shape.group_bytes(group).unwrap_or_default();
            let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
            let bytes = bytes.get(at(range.start)..at(range.end)).unwrap_or_default();
            self.put(root, Piece::Group(group), bytes)?;
        }
        Ok(())
    }
}
