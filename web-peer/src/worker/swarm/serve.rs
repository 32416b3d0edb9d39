//! What others want of us: pieces from the store, at the pace of their stream.

use std::rc::Rc;

use futures::channel::mpsc;
use futures::io::WriteHalf;
use futures::{AsyncWriteExt as _, StreamExt as _};
use links::Stream;
use shared::base::{BlobRoot, EffectId, LinkId, RequestId};
use shared::cdn::blob::BlobShape;
use shared::cdn::bulk::piece_frame;
use shared::cdn::part::Part;
use shared::cdn::replica::pieces;
use shared::peer::Done;

use super::super::Tab;
use super::streams::framed;

/// Pieces written at once: they fill one message of a data channel between two of ours.
const PIECES_TOGETHER: usize = 4;

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

/// Writes what is queued until the link is gone.
pub(super) async fn run(
    tab: Rc<Tab>,
    link: LinkId,
    mut items: mpsc::Receiver<Item>,
    mut stream: WriteHalf<Stream>,
) {
    let mut broken = false;
    while let Some(item) = items.next().await {
        match item {
            Item::Frame(frame) => broken |= stream.write_all(&framed(&frame)).await.is_err(),
            Item::Job(job) => {
                let effect = job.effect;
                let done = if broken { Done::Failed } else { answer(&tab, job, &mut stream).await };
                tab.swarm.cancelled.borrow_mut().retain(|cancelled| *cancelled != effect);
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

async fn answer(tab: &Rc<Tab>, job: Job, stream: &mut WriteHalf<Stream>) -> Done {
    let mut sent = 0;
    let mut messages = Vec::new();
    let mut wanted = pieces(job.part).peekable();
    while wanted.peek().is_some() && !tab.swarm.cancelled.borrow().contains(&job.effect) {
        messages.clear();
        let before = sent;
        for piece in wanted.by_ref().take(PIECES_TOGETHER) {
            let stored = tab.blobs.borrow_mut().get(job.root, piece);
            let Some(payload) = stored else { return Done::Failed };
            debug_assert_eq!(payload.len() as u64, piece.bytes(job.shape), "the store gives whole pieces");
            messages.extend(piece_frame(job.request, piece, payload.len()));
            messages.extend_from_slice(&payload);
            sent += payload.len() as u64;
        }
        if stream.write_all(&messages).await.is_err() {
            return Done::Failed;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        let uploaded = (sent - before) as f64;
        tab.status.borrow_mut().bytes.uploaded += uploaded;
    }
    Done::Served { bytes: sent }
}
