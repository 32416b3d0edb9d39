//! Answering on a link's Serve stream: one answer after the other, at the pace at which the link takes them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures::io::WriteHalf;
use shared::{
    base::{BlobRoot, EffectId, RequestId},
    cdn::{
        bulk::piece_frame,
        part::{Part, Piece},
    },
    peer::Done,
    wire::write_frame,
};
use tokio::sync::mpsc;

use super::streams::{Report, write};
use crate::{Cdn, OpenBlob, ReadError, Source};

/// Pieces written at once: they fill one frame of a data channel between two of ours.
const PIECES_TOGETHER: usize = 4;

/// What to write on a Serve stream.
pub(super) enum Job {
    /// Pieces from the store.
    Serve {
        /// For the report.
        effect: EffectId,
        /// Repeated in each piece.
        request: RequestId,
        /// The blob.
        root: BlobRoot,
        /// What of it.
        part: Part,
    },
    /// A message, without its prefix.
    Frame(Vec<u8>),
}

/// The answers that are to stop before their next piece.
#[derive(Clone, Debug, Default)]
pub(super) struct Cancelled(Arc<Mutex<BTreeSet<EffectId>>>);

impl Cancelled {
    pub(super) fn insert(&self, effect: EffectId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(effect);
    }

    fn contains(&self, effect: EffectId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&effect)
    }

    fn remove(&self, effect: EffectId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&effect);
    }
}

/// Works jobs off until the stream is dead or the link gone; then reports what is left as failed.
pub(super) async fn run(
    cdn: Cdn,
    mut jobs: mpsc::Receiver<Job>,
    mut writer: WriteHalf<links::Stream>,
    cancelled: Cancelled,
    reports: mpsc::Sender<Report>,
) {
    let mut alive = true;
    while let Some(job) = jobs.recv().await {
        if !alive {
            // What is queued is answered; nothing more is taken.
            jobs.close();
        }
        match job {
            Job::Frame(frame) => {
                let mut out = Vec::new();
                write_frame(&frame, &mut out);
                alive = alive && write(&mut writer, &out).await;
            }
            Job::Serve { effect, request, root, part } => {
                let mut answer = Answer { cdn: &cdn, request, effect, cancelled: &cancelled, sent: 0 };
                let done = if alive { answer.write(root, part, &mut writer).await } else { Outcome::Dead };
                let done = match done {
                    Outcome::Sent => Done::Served { bytes: answer.sent },
                    Outcome::Unreadable => Done::Failed,
                    Outcome::Dead => {
                        alive = false;
                        Done::Failed
                    }
                };
                cancelled.remove(effect);
                if reports.send(Report::Done(effect, done)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// One answer under way.
struct Answer<'a> {
    cdn: &'a Cdn,
    request: RequestId,
    effect: EffectId,
    cancelled: &'a Cancelled,
    sent: u64,
}

enum Outcome {
    /// All of it, or as much as was wanted before it was cancelled.
    Sent,
    /// The store could not deliver.
    Unreadable,
    /// The stream takes nothing any more.
    Dead,
}

impl Answer<'_> {
    async fn write(&mut self, root: BlobRoot, part: Part, writer: &mut WriteHalf<links::Stream>) -> Outcome {
        let blob = match self.cdn.blob(root).await {
            Ok(blob) => blob,
            Err(error) => return unreadable(self.cdn, &error),
        };
        let site = self.cdn.site_of(root).map(str::to_owned);
        let outcome = match part {
            Part::Top => self.piece(Piece::Top, blob.top().as_deref(), writer).await,
            Part::Page(page) => self.piece(Piece::Page(page), blob.page(page).as_deref(), writer).await,
            Part::Groups { first, count } => self.groups(&blob, first, count, writer).await,
        };
        if let Some(site) = site {
            self.cdn.meters().count(&site, Source::Link, self.sent);
        }
        outcome
    }

    async fn groups(
        &mut self,
        blob: &Arc<OpenBlob>,
        first: u32,
        count: u32,
        writer: &mut WriteHalf<links::Stream>,
    ) -> Outcome {
        let shape = blob.shape();
        let mut rest = shape.groups_bytes(&(first..first.saturating_add(count)));
        let mut group = first;
        while group < first.saturating_add(count) {
            let bytes = match Arc::clone(blob).read_async(rest.clone()).await {
                Ok(bytes) => bytes,
                Err(error) => return unreadable(self.cdn, &error),
            };
            if bytes.is_empty() && !rest.is_empty() {
                return Outcome::Unreadable;
            }
            let (start, before) = (rest.start, group);
            rest.start += bytes.len() as u64;
            let mut pieces = Vec::new();
            // The empty blob has one group, empty.
            while let Some(place) = shape.group_bytes(group).filter(|place| place.end <= rest.start) {
                if group == first.saturating_add(count) {
                    break;
                }
                let at = |byte: u64| usize::try_from(byte - start).unwrap_or(usize::MAX);
                let Some(payload) = bytes.get(at(place.start)..at(place.end)) else {
                    return Outcome::Unreadable;
                };
                pieces.push((Piece::Group(group), payload));
                group += 1;
            }
            if group == before {
                return Outcome::Unreadable;
            }
            for together in pieces.chunks(PIECES_TOGETHER) {
                match self.pieces(together, writer).await {
                    Outcome::Sent if !self.cancelled.contains(self.effect) => {}
                    ended => return ended,
                }
            }
        }
        Outcome::Sent
    }

    async fn piece(
        &mut self,
        piece: Piece,
        payload: Option<&[u8]>,
        writer: &mut WriteHalf<links::Stream>,
    ) -> Outcome {
        let Some(payload) = payload else { return Outcome::Unreadable };
        self.pieces(&[(piece, payload)], writer).await
    }

    /// Writes them at once.
    async fn pieces(&mut self, pieces: &[(Piece, &[u8])], writer: &mut WriteHalf<links::Stream>) -> Outcome {
        if self.cancelled.contains(self.effect) {
            return Outcome::Sent;
        }
        let mut out = Vec::new();
        for (piece, payload) in pieces {
            out.extend(piece_frame(self.request, *piece, payload.len()));
            out.extend_from_slice(payload);
        }
        if !write(writer, &out).await {
            return Outcome::Dead;
        }
        self.sent += pieces.iter().map(|(_, payload)| payload.len() as u64).sum::<u64>();
        Outcome::Sent
    }
}

fn unreadable(cdn: &Cdn, error: &ReadError) -> Outcome {
    if let ReadError::Corrupt { root, .. } = error {
        cdn.corrupt(*root);
    }
    Outcome::Unreadable
}
