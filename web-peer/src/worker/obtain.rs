//! Getting what is missing of a blob.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use shared::base::BlobRoot;
use shared::cdn::blob::BlobShape;

use super::Tab;
use super::host::HttpReason;
use super::http::Source;
use crate::store::Piece;

/// A request's share in the work: how it stands, and a way to stop it.
#[derive(Clone, Default)]
pub(super) struct Job(Rc<JobState>);

#[derive(Default)]
struct JobState {
    failure: RefCell<Option<HttpReason>>,
    cancelled: Cell<bool>,
}

impl Job {
    /// Why nothing more comes.
    pub(super) fn failure(&self) -> Option<HttpReason> {
        self.0.failure.borrow().clone()
    }

    /// Nobody wants it any more.
    pub(super) fn cancel(&self) {
        self.0.cancelled.set(true);
    }
}

impl Tab {
    /// Begins to get what `range` lacks.
    pub(super) fn obtain(self: &Rc<Self>, root: BlobRoot, shape: BlobShape, range: &Range<u64>) -> Job {
        let job = Job::default();
        let groups = if shape.size() == 0 { 0..1 } else { shape.groups_touched(range) };
        let (tab, state) = (self.clone(), job.clone());
        wasm_bindgen_futures::spawn_local(async move {
            let outcome = tab.obtain_by_http(root, shape, groups, &state).await;
            if let Err(reason) = outcome {
                *state.0.failure.borrow_mut() = Some(reason);
            }
            tab.wake(root);
        });
        job
    }

    async fn obtain_by_http(
        &self,
        root: BlobRoot,
        shape: BlobShape,
        groups: Range<u32>,
        job: &Job,
    ) -> Result<(), HttpReason> {
        let mut outcome = Ok(());
        for source in [Source::Edge, Source::Origin] {
            outcome = self.obtain_from(source, root, shape, groups.clone(), job).await;
            match &outcome {
                Ok(()) => return Ok(()),
                Err(reason) => self.note(&format!("{}: {reason}", source.name())),
            }
        }
        outcome
    }

    async fn obtain_from(
        &self,
        source: Source,
        root: BlobRoot,
        shape: BlobShape,
        groups: Range<u32>,
        job: &Job,
    ) -> Result<(), HttpReason> {
        let mut next = groups.start;
        while next < groups.end && !job.0.cancelled.get() {
            if self.blobs.borrow().has_group(root, next) {
                next += 1;
                continue;
            }
            self.obtain_hashes(root, shape, next).await?;
            let page_end = shape.page_groups(shape.page_of(next)).map_or(groups.end, |page| page.end);
            let end = {
                let blobs = self.blobs.borrow();
                let mut missing = next..groups.end.min(page_end);
                missing.find(|group| blobs.has_group(root, *group)).unwrap_or(groups.end.min(page_end))
            };
            self.fetch_groups(source, root, shape, next..end, |_| ()).await?;
            next = end;
        }
        Ok(())
    }

    async fn obtain_hashes(&self, root: BlobRoot, shape: BlobShape, group: u32) -> Result<(), HttpReason> {
        let (needs_top, knows) = {
            let blobs = self.blobs.borrow();
            let hashes = blobs.hashes(root).ok_or_else(|| "not-wanted".to_owned())?;
            (hashes.needs_top(), hashes.knows_group(group))
        };
        if knows {
            return Ok(());
        }
        if needs_top {
            self.fetch_hashes(root, Piece::Top).await?;
        }
        self.fetch_hashes(root, Piece::Page(shape.page_of(group))).await
    }
}

impl Source {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Origin => "origin",
        }
    }
}
