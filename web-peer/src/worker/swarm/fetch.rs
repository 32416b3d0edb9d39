//! What the core wants by plain HTTP.

use std::rc::Rc;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, Either, select};
use futures_timer::Delay;
use shared::base::{BlobRoot, EffectId};
use shared::cdn::blob::BlobShape;
use shared::cdn::part::{Piece, Run};
use shared::peer::{Done, HttpSource, Received, Source, Verdict};

use super::super::Tab;
use crate::store::PutError;

/// A hash page that was asked for before comes within this, or not at all.
const HASHES_WAIT: Duration = Duration::from_secs(10);

impl Tab {
    pub(super) fn fetch_http(
        self: &Rc<Self>,
        effect: EffectId,
        source: HttpSource,
        root: BlobRoot,
        shape: BlobShape,
        run: Run,
    ) {
        let (handle, registration) = AbortHandle::new_pair();
        self.swarm.http.borrow_mut().push((effect, handle));
        self.announce_blob(root, shape);
        let tab = self.clone();
        wasm_bindgen_futures::spawn_local(async move {
            let fetch = tab.fetch_run(effect, source, root, shape, run);
            let done = match Abortable::new(fetch, registration).await {
                Ok(Ok(())) => Done::HttpFinished,
                Ok(Err(reason)) => {
                    tab.note(&format!("{}: {reason}", name(source)));
                    Done::Failed
                }
                Err(futures::future::Aborted) => Done::Cancelled,
            };
            tab.swarm.http.borrow_mut().retain(|(of, _)| *of != effect);
            tab.done(effect, done);
        });
    }

    /// Judges, stores and reports a piece that came by HTTP.
    pub(in super::super) fn take_http(
        self: &Rc<Self>,
        effect: EffectId,
        root: BlobRoot,
        piece: Piece,
        bytes: &[u8],
    ) -> Result<(), String> {
        let put = self.put(root, piece, bytes);
        let verdict = verdict(&put);
        let received =
            Received { source: Source::Http(effect), root, piece, bytes: bytes.len() as u64, verdict };
        self.drive(|peer, now| peer.handle_received(now, received));
        self.forget_evicted();
        put.map_err(|error| super::super::http::reason_of(&error).to_owned())
    }

    /// Waits until a group can be judged.
    pub(in super::super) async fn hashes_for(&self, root: BlobRoot, group: u32) -> Result<(), String> {
        let mut patience = Delay::new(HASHES_WAIT);
        while !self.blobs.borrow().hashes(root).is_some_and(|hashes| hashes.knows_group(group)) {
            let changed = self.changed(root);
            futures::pin_mut!(changed);
            match select(changed, patience).await {
                Either::Left(((), rest)) => patience = rest,
                Either::Right(_) => return Err("no-hashes".to_owned()),
            }
        }
        Ok(())
    }
}

pub(super) fn verdict(put: &Result<(), PutError>) -> Verdict {
    match put {
        Ok(()) => Verdict::Good,
        Err(PutError::Verify(error)) => Verdict::Bad(*error),
        Err(PutError::Unwanted | PutError::Full | PutError::Disk(_)) => Verdict::NotStored,
    }
}

const fn name(source: HttpSource) -> &'static str {
    match source {
        HttpSource::Edge => "edge",
        HttpSource::Origin => "origin",
    }
}
