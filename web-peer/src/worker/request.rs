//! One request of the page or the service worker, answered over a port by credit.
//!
//! ```text
//!   asker ── {want: n} ──► worker     n more chunks may be sent
//!   asker ◄─ {head} · chunk* · {end} ── worker, or {failed: reason} at any point; {busy} where no chunk came
//!                                       lately: pieces come "here" or "elsewhere", or they are "awaited"
//!   asker ── {cancel} ──► worker
//! ```
//!
//! Every chunk was verified; it is a transferred buffer of at most [`CHUNK_GROUPS`] groups.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use futures_timer::Delay;
use js_sys::{Object, Reflect, Uint8Array};
use shared::base::BlobRoot;
use shared::cdn::blob::{BlobShape, GROUP_BYTES};
use shared::cdn::manifest::Asset;
use shared::cdn::part::Piece;
use wasm_bindgen::prelude::*;
use web_sys::{MessageEvent, MessagePort};
use web_time::Instant;

use super::Tab;
use super::config::whole;

/// 256 KiB: larger chunks gain little, and this much is copied between contexts at a time.
const CHUNK_GROUPS: u32 = 16;
/// How often an asker that waits hears of the worker.
const BEAT: Duration = Duration::from_millis(500);
/// A chunk that is not full goes so long after the one before it: what flows fast fills chunks in less, and each costs
/// two contexts a turn.
const GATHERING: Duration = Duration::from_millis(15);
/// Chunks of credit an asker may hold; more would be a buffer, not a window.
const CREDIT_MAX: u32 = 64;

/// The asker's end of a port: its credit, and whether it still listens.
struct Asker {
    port: MessagePort,
    credit: Rc<Cell<u32>>,
    cancelled: Rc<Cell<bool>>,
    /// When it was told something last.
    spoke_at: Cell<Instant>,
    /// Pieces that the tab had taken in by then.
    seen: Cell<u64>,
    _listener: Closure<dyn FnMut(MessageEvent)>,
}

/// One timer for all the waits of a request, since most of them end before their time: it is set anew only to fire
/// earlier, or when it has fired.
struct Alarm {
    timer: Delay,
    /// Nothing once it has fired.
    due: Option<Instant>,
}

impl Alarm {
    fn new() -> Self {
        Self { timer: Delay::new(BEAT), due: Some(Instant::now() + BEAT) }
    }

    /// Fires at `due`, or before.
    fn set(&mut self, due: Instant) {
        if self.due.is_none_or(|set| due < set) {
            self.due = Some(due);
            self.timer.reset(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Until it fires.
    async fn fired(&mut self) {
        (&mut self.timer).await;
        self.due = None;
    }
}

/// Keeps a blob in the cache while it is read.
struct Pinned {
    tab: Rc<Tab>,
    root: BlobRoot,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.tab.blobs.borrow_mut().unpin(self.root);
    }
}

/// What is asked for: the bytes of `path` from `first` to `end`, or all that follow.
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) first: u64,
    pub(super) end: Option<u64>,
    /// Whether it is played as it comes.
    pub(super) plays: bool,
}

/// Answers one request.
pub(super) async fn answer(tab: Rc<Tab>, wanted: Wanted, port: MessagePort) {
    let Wanted { path, first, end, plays } = wanted;
    let asset = tab.site.borrow().as_ref().and_then(|site| site.asset(&path).cloned());
    let Some(asset) = asset else {
        fail(&port, "not-in-manifest");
        port.close();
        return;
    };
    let size = asset.shape.size();
    let range = first.min(size)..end.unwrap_or(size).min(size);
    let asker = Asker::listen(port, &tab, asset.root);
    if range.is_empty() && size > 0 {
        asker.fail("range-empty");
        return;
    }
    let sent = asker.send(&tab, &asset, range, plays).await;
    if let Err(reason) = sent {
        tab.note(&reason);
        asker.fail(&reason);
    }
}

impl Asker {
    fn listen(port: MessagePort, tab: &Rc<Tab>, root: BlobRoot) -> Self {
        let credit = Rc::new(Cell::new(0_u32));
        let cancelled = Rc::new(Cell::new(false));
        let listener = Closure::new({
            let (credit, cancelled, tab) = (credit.clone(), cancelled.clone(), tab.clone());
            move |event: MessageEvent| {
                let data = event.data();
                if let Some(want) = number(&data, "want") {
                    let more = u32::try_from(whole(want)).unwrap_or(CREDIT_MAX);
                    credit.set((credit.get().saturating_add(more)).min(CREDIT_MAX));
                }
                if Reflect::has(&data, &"cancel".into()).unwrap_or(false) {
                    cancelled.set(true);
                }
                tab.wake(root);
            }
        });
        port.set_onmessage(Some(listener.as_ref().unchecked_ref()));
        let (spoke_at, seen) = (Cell::new(Instant::now()), Cell::new(tab.taken.get()));
        Self { port, credit, cancelled, spoke_at, seen, _listener: listener }
    }

    async fn send(&self, tab: &Rc<Tab>, asset: &Asset, range: Range<u64>, plays: bool) -> Result<(), String> {
        let (root, shape) = (asset.root, asset.shape);
        tab.begin(root, shape);
        let _pinned = Pinned { tab: tab.clone(), root };
        tab.count_cached(root, shape, &range);
        self.head(asset, &range);
        let job = tab.obtain(root, shape, &range, plays);
        let mut alarm = Alarm::new();
        let mut next = range.start;
        while next < range.end {
            if self.cancelled.get() {
                tab.give_up(&job);
                return Ok(());
            }
            let gathers =
                self.spoke_at.get().elapsed() < GATHERING && !tab.fills_chunk(root, shape, next..range.end);
            if self.credit.get() > 0
                && !gathers
                && let Some(chunk) = tab.chunk(root, shape, next..range.end)
            {
                next += chunk.len() as u64;
                self.credit.set(self.credit.get() - 1);
                self.chunk(&chunk);
                self.spoke_at.set(Instant::now());
                continue;
            }
            if let Some(reason) = job.failure()
                && tab.chunk(root, shape, next..next + 1).is_none()
            {
                return Err(reason);
            }
            self.wait(tab, root, gathers, &mut alarm).await;
        }
        self.post("end", &JsValue::TRUE, None);
        Ok(())
    }

    /// Until something of the blob changes, or what is gathered has to go. An asker that gets nothing meanwhile hears
    /// that we live, and whether pieces come: of this blob, only not the next one, or for other askers.
    async fn wait(&self, tab: &Rc<Tab>, root: BlobRoot, gathers: bool, alarm: &mut Alarm) {
        let changed = tab.changed(root);
        futures::pin_mut!(changed);
        loop {
            alarm.set(self.spoke_at.get() + if gathers { GATHERING } else { BEAT });
            let fired = std::pin::pin!(alarm.fired());
            let here = match select(&mut changed, fired).await {
                Either::Left(_) if self.spoke_at.get().elapsed() < BEAT => return,
                Either::Left(_) => true,
                Either::Right(_) if gathers => return,
                Either::Right(_) if self.spoke_at.get().elapsed() < BEAT => continue,
                Either::Right(_) => false,
            };
            let taken = tab.taken.get();
            let came = taken != self.seen.replace(taken);
            if self.credit.get() > 0 {
                let busy = if !came {
                    "awaited"
                } else if here {
                    "here"
                } else {
                    "elsewhere"
                };
                self.post("busy", &busy.into(), None);
            }
            self.spoke_at.set(Instant::now());
            if here {
                return;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "blobs are below 2^53 bytes")]
    fn head(&self, asset: &Asset, range: &Range<u64>) {
        let head = Object::new();
        set(&head, "size", &(asset.shape.size() as f64).into());
        set(&head, "first", &(range.start as f64).into());
        set(&head, "end", &(range.end as f64).into());
        set(&head, "type", &asset.content_type.as_str().into());
        set(&head, "etag", &asset.root.to_string().into());
        self.post("head", &head, None);
    }

    fn chunk(&self, bytes: &[u8]) {
        let array = Uint8Array::from(bytes);
        self.post("chunk", &array, Some(&array.buffer()));
    }

    fn post(&self, name: &str, value: &JsValue, transfer: Option<&JsValue>) {
        post(&self.port, name, value, transfer);
    }

    fn fail(&self, reason: &str) {
        fail(&self.port, reason);
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.port.set_onmessage(None);
        self.port.close();
    }
}

impl Tab {
    /// Verified bytes from the start of `range` on, as many as are here and fit a chunk.
    fn chunk(&self, root: BlobRoot, shape: BlobShape, range: Range<u64>) -> Option<Vec<u8>> {
        let groups = shape.groups_touched(&range);
        let mut blobs = self.blobs.borrow_mut();
        let room = range.end.saturating_sub(range.start).min(u64::from(CHUNK_GROUPS) * GROUP_BYTES);
        let mut chunk = Vec::new();
        for group in groups.take(CHUNK_GROUPS as usize) {
            if !blobs.has_group(root, group) {
                break;
            }
            let Some(bytes) = blobs.get(root, Piece::Group(group)) else { break };
            let at = shape.group_bytes(group).map_or(0, |bytes| bytes.start);
            let from = usize::try_from(range.start.saturating_sub(at)).unwrap_or(usize::MAX);
            let to = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(bytes.len());
            // At once, and only where there is something to put in.
            chunk.reserve_exact(usize::try_from(room).unwrap_or(0).saturating_sub(chunk.len()));
            chunk.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        }
        (!chunk.is_empty()).then_some(chunk)
    }

    /// Whether what is here from the start of `range` on is all of it, or all that fits a chunk.
    fn fills_chunk(&self, root: BlobRoot, shape: BlobShape, range: Range<u64>) -> bool {
        let blobs = self.blobs.borrow();
        shape.groups_touched(&range).take(CHUNK_GROUPS as usize).all(|group| blobs.has_group(root, group))
    }

    #[expect(clippy::cast_precision_loss, reason = "a count for people")]
    fn count_cached(&self, root: BlobRoot, shape: BlobShape, range: &Range<u64>) {
        let blobs = self.blobs.borrow();
        let cached = shape.groups_touched(range).filter(|group| blobs.has_group(root, *group));
        let bytes = cached.filter_map(|group| shape.group_bytes(group));
        let bytes = bytes.map(|group| group.end.min(range.end) - group.start.max(range.start)).sum::<u64>();
        self.status.borrow_mut().bytes.cache += bytes as f64;
    }
}

fn fail(port: &MessagePort, reason: &str) {
    post(port, "failed", &reason.into(), None);
}

fn post(port: &MessagePort, name: &str, value: &JsValue, transfer: Option<&JsValue>) {
    let message = Object::new();
    set(&message, name, value);
    // An asker that has gone away is no error of ours.
    let _ = match transfer {
        Some(buffer) => port.post_message_with_transferable(&message, &js_sys::Array::of1(buffer)),
        None => port.post_message(&message),
    };
}

pub(super) fn set(object: &Object, name: &str, value: &JsValue) {
    let _ = Reflect::set(object, &name.into(), value);
}

fn number(object: &JsValue, name: &str) -> Option<f64> {
    Reflect::get(object, &name.into()).ok()?.as_f64()
}
