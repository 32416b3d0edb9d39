//! Pieces by plain HTTP: from the supernode's edge, or from the publisher's own origin.
//!
//! Bytes are cut into groups as they come and judged one by one, so a source that lies, ignores ranges,
//! ends early or never ends costs at most one group more than what was good.

use std::rc::Rc;

use shared::base::{BlobRoot, EffectId};
use shared::cdn::blob::BlobShape;
use shared::cdn::part::{Hashes, Piece, Run};
use shared::cdn::replica::pieces;
use shared::peer::HttpSource;

use super::Tab;
use super::host::{Cache, HttpReason, Transfer};
use crate::store::PutError;

/// Bytes before the wanted ones that are read and dropped where a server ignores ranges; more than this
/// costs more than asking elsewhere.
const SKIP_BYTES_MAX: u64 = 1024 * 1024;

impl Tab {
    /// The address of a blob at a source.
    fn url(&self, source: HttpSource, root: BlobRoot) -> Option<String> {
        match source {
            HttpSource::Edge => Some(format!("{}/blackhole/v1/blobs/{root}", self.config.edge)),
            HttpSource::Origin => {
                let site = self.site.borrow();
                let path = site.as_ref()?.path_of(root)?;
                Some(format!("{}{path}", self.config.origin))
            }
        }
    }

    /// Fetches neighbouring groups, after those of their hashes that the run names; only an edge has such. Reading
    /// goes on only when the hashes that judge a group are here.
    pub(super) async fn fetch_run(
        self: &Rc<Self>,
        effect: EffectId,
        source: HttpSource,
        root: BlobRoot,
        shape: BlobShape,
        run: Run,
    ) -> Result<(), HttpReason> {
        let url = self.url(source, root).ok_or_else(|| "not-in-manifest".to_owned())?;
        let (first, end) = (run.first, run.first.saturating_add(run.count));
        let range = shape.groups_bytes(&(first..end));
        if run.bytes(shape) == 0 {
            // Nothing to transfer: the empty blob's one group.
            return self.take_http(effect, root, Piece::Group(first), &[]);
        }
        let hashes = match run.hashes {
            Hashes::Here => None,
            Hashes::Page => Some("page"),
            Hashes::TopAndPage => Some("top"),
        };
        // The origin's files may be in the browser's cache already.
        let cache = if source == HttpSource::Edge { Cache::Beside } else { Cache::Usual };
        let (mut transfer, mut skip);
        if let Some(hashes) = hashes {
            let url = format!("{url}/runs/{hashes}/{first}-{}", end - 1);
            transfer = self.host.get(&url, 0, None, Cache::Beside).await?;
            ok(&transfer)?;
            skip = 0;
        } else {
            let whole = range.start == 0 && range.end == shape.size();
            transfer = self.host.get(&url, range.start, (!whole).then_some(range.end), cache).await?;
            ok(&transfer)?;
            skip = bytes_to_skip(&transfer, range.start)?;
        }
        let mut gathered = Vec::with_capacity(crate::store::SLOT_BYTES);
        let mut wanted = run.parts().flat_map(pieces).peekable();
        while wanted.peek().is_some() {
            let Some(chunk) = transfer.next().await? else { return Err("truncated".to_owned()) };
            self.count(source, chunk.len());
            let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= dropped as u64;
            gathered.extend_from_slice(chunk.get(dropped..).unwrap_or_default());
            let mut taken = 0;
            while let Some(piece) = wanted.peek().copied() {
                let length = usize::try_from(piece.bytes(shape)).unwrap_or(usize::MAX);
                let Some(bytes) = gathered.get(taken..taken + length) else { break };
                if let Piece::Group(group) = piece {
                    self.hashes_for(root, group).await?;
                }
                self.take_http(effect, root, piece, bytes)?;
                taken += length;
                wanted.next();
            }
            gathered.drain(..taken);
        }
        Ok(())
    }

    /// Judges and stores; whoever waits for the blob looks again.
    pub(super) fn put(self: &Rc<Self>, root: BlobRoot, piece: Piece, bytes: &[u8]) -> Result<(), PutError> {
        let held = matches!(piece, Piece::Group(group) if self.blobs.borrow().has_group(root, group));
        let put = self.blobs.borrow_mut().put(root, piece, bytes, self.unix_seconds());
        if held || matches!(put, Err(PutError::Verify(_))) {
            #[expect(clippy::cast_precision_loss, reason = "a count for people")]
            let wasted = bytes.len() as f64;
            self.status.borrow_mut().bytes.wasted += wasted;
        }
        match &put {
            Ok(()) => {
                self.taken.set(self.taken.get() + 1);
                self.keep_soon();
                self.wake(root);
            }
            Err(PutError::Disk(error)) => self.handle_disk_error(error),
            Err(_) => {}
        }
        put
    }

    #[expect(clippy::cast_precision_loss, reason = "a count for people")]
    fn count(&self, source: HttpSource, bytes: usize) {
        let mut status = self.status.borrow_mut();
        status.bytes.http += bytes as f64;
        match source {
            HttpSource::Edge => status.bytes.edge += bytes as f64,
            HttpSource::Origin => status.bytes.origin += bytes as f64,
        }
    }
}

/// Why a piece was not kept, as a stable name.
pub(super) fn reason_of(error: &PutError) -> &'static str {
    match error {
        PutError::Verify(_) => "verification-failed",
        PutError::Unwanted => "not-wanted",
        PutError::Full => "cache-full",
        PutError::Disk(_) => "storage-failed",
    }
}

fn ok(transfer: &Transfer) -> Result<(), HttpReason> {
    match transfer.status() {
        200 | 206 => Ok(()),
        status => Err(format!("http-{status}")),
    }
}

/// A 200 begins at the start of the whole, wherever we asked it to.
fn bytes_to_skip(transfer: &Transfer, wanted: u64) -> Result<u64, HttpReason> {
    let first = if transfer.status() == 206 { transfer.first() } else { 0 };
    let skip = wanted.checked_sub(first).ok_or_else(|| "range-ignored".to_owned())?;
    if skip > SKIP_BYTES_MAX { Err("range-ignored".to_owned()) } else { Ok(skip) }
}
