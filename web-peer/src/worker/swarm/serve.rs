//! What others want of us: pieces from the store, at the pace of their stream.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use futures::channel::mpsc;
use futures::io::WriteHalf;
use futures::{AsyncWriteExt as _, StreamExt as _};
use links::Stream;
use shared::base::{BlobRoot, EffectId, LinkId, RequestId};
use shared::cdn::blob::BlobShape;
use shared::cdn::bulk::piece_frame;
use shared::cdn::part::{Part, Piece};
use shared::peer::Done;

use super::super::Tab;
use super::streams::framed;

/// One request to answer.
pub(super) struct Job {
    pub(super) effect: EffectId,
    pub(super) request: RequestId,
    pub(super) root: BlobRoot,
    pub(super) shape: BlobShape,
    pub(super) part: Part,
}

/// What goes out on a Serve stream, in order.
pub(super) enum Item {
    Frame(Vec<u8>),
    Job(Job),
}

/// Requests that are to stop before their next piece.
pub(super) type Cancelled = Rc<RefCell<BTreeSet<EffectId>>>;

/// Writes what is queued until the link is gone.
pub(super) async fn run(
    tab: Rc<Tab>,
    link: LinkId,
    mut items: mpsc::Receiver<Item>,
    mut stream: WriteHalf<Stream>,
    cancelled: Cancelled,
) {
    let mut broken = false;
    while let Some(item) = items.next().await {
        match item {
            Item::Frame(frame) => broken |= stream.write_all(&framed(&frame)).await.is_err(),
            Item::Job(job) => {
                let effect = job.effect;
                let done =
                    if broken { Done::Failed } else { answer(&tab, job, &mut stream, &cancelled).await };
                cancelled.borrow_mut().remove(&effect);
                tab.done(effect, done);
            }
        }
        broken |= stream.flush().await.is_err();
        if broken {
            tab.close_link(link);
        }
    }
    let _ = stream.close().await;
}

async fn answer(tab: &Rc<Tab>, job: Job, stream: &mut WriteHalf<Stream>, cancelled: &Cancelled) -> Done {
    let mut sent = 0;
    for piece in pieces(job.part) {
        if cancelled.borrow().contains(&job.effect) {
            break;
        }
        let stored = tab.blobs.borrow_mut().get(job.root, piece);
        let Some(payload) = stored else { return Done::Failed };
        debug_assert_eq!(payload.len() as u64, piece.bytes(job.shape), "the store gives whole pieces");
        let mut message = piece_frame(job.request, piece, payload.len());
        message.extend_from_slice(&payload);
        if stream.write_all(&message).await.is_err() {
            return Done::Failed;
        }
        sent += payload.len() as u64;
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        let uploaded = payload.len() as f64;
        tab.status.borrow_mut().bytes.uploaded += uploaded;
    }
    Done::Served { bytes: sent }
}

fn pieces(part: Part) -> Box<dyn Iterator<Item = Piece>> {
    match part {
        Part::Top => Box::new(std::iter::once(Piece::Top)),
        Part::Page(page) => Box::new(std::iter::once(Piece::Page(page))),
        Part::Groups { first, count } => Box::new((first..first.saturating_add(count)).map(Piece::Group)),
    }
}
