//! One site: its manifest in force, and what an operator wants to know about it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use shared::{
    base::{BlobRoot, SiteId, UnixSeconds},
    cdn::manifest::{Manifest, Pin},
};
use tokio::sync::Notify;

use crate::{config::SiteConfig, refresh::Upstream};

/// What the status page shows of a site's troubles; the oldest make way.
const NOTES: usize = 32;

/// A statement in force.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    /// As it travels.
    pub(crate) signed: Bytes,
    /// What it says.
    pub(crate) manifest: Arc<Manifest>,
    /// Length of all that it names.
    pub(crate) content_bytes: u64,
}

/// A site that this node serves.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) id: SiteId,
    pub(crate) pin: Pin,
    /// How it is configured; none where the operator imported it into the data directory.
    pub(crate) config: Option<SiteConfig>,
    /// Where its content comes from; none where its publisher uploads it.
    pub(crate) upstream: Option<Upstream>,
    /// Held while the upstream is asked: a crowd that wants the same asks once.
    pub(crate) looking: tokio::sync::Mutex<()>,
    /// Told when a peer says that there is a newer statement.
    pub(crate) newer: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_force: Option<InForce>,
    /// A newer statement that waits for these blobs, with their lengths.
    awaited: BTreeMap<BlobRoot, u64>,
    refreshed: Option<UnixSeconds>,
    notes: VecDeque<StatusNote>,
}

/// Something that went wrong, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusNote {
    /// When it did last.
    pub at: UnixSeconds,
    /// The path concerned, or what else.
    pub subject: String,
    /// What, and what to do.
    pub problem: String,
    /// How often in a row.
    pub times: u64,
}

/// What the status page shows of a site.
#[derive(Clone, Debug)]
pub struct SiteStatus {
    /// Its id.
    pub id: SiteId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub publisher: String,
    /// Where it is pulled from.
    pub origin: Option<String>,
    /// The manifest in force.
    pub manifest: Option<Arc<Manifest>>,
    /// When its origin was last looked at with success.
    pub refreshed: Option<UnixSeconds>,
    /// What went wrong.
    pub notes: Vec<StatusNote>,
}

impl Site {
    pub(crate) fn new(pin: Pin, config: Option<SiteConfig>, upstream: Option<Upstream>) -> Self {
        let looking = tokio::sync::Mutex::default();
        let (newer, state) = (Notify::new(), Mutex::default());
        Self { id: pin.site_id(), pin, config, upstream, looking, newer, state }
    }

    pub(crate) fn in_force(&self) -> Option<InForce> {
        self.state().in_force.clone()
    }

    /// The sequence of the statement in force; 0 before any.
    pub(crate) fn sequence(&self) -> u64 {
        self.state().in_force.as_ref().map_or(0, |in_force| in_force.manifest.sequence)
    }

    /// Puts a statement in force, unless a newer one has been meanwhile.
    pub(crate) fn put_in_force(&self, in_force: InForce) {
        let mut state = self.state();
        if state.in_force.as_ref().is_none_or(|old| old.manifest.sequence <= in_force.manifest.sequence) {
            state.in_force = Some(in_force);
            state.awaited.clear();
        }
    }

    pub(crate) fn wait_for(&self, blobs: BTreeMap<BlobRoot, u64>) {
        self.state().awaited = blobs;
    }

    /// The length of a blob that a newer statement waits for.
    pub(crate) fn awaited(&self, root: BlobRoot) -> Option<u64> {
        self.state().awaited.get(&root).copied()
    }

    pub(crate) fn awaited_roots(&self) -> Vec<BlobRoot> {
        self.state().awaited.keys().copied().collect()
    }

    /// Notes that something went wrong; the same thing again only counts.
    pub(crate) fn note(&self, at: UnixSeconds, subject: &str, problem: String) {
        let mut state = self.state();
        let known = state.notes.iter().position(|note| note.subject == subject && note.problem == problem);
        let times = known.and_then(|place| state.notes.remove(place)).map_or(1, |note| note.times + 1);
        if state.notes.len() == NOTES {
            state.notes.pop_front();
        }
        state.notes.push_back(StatusNote { at, subject: subject.to_owned(), problem, times });
    }

    /// The upstream was looked at with success.
    pub(crate) fn refreshed(&self, at: UnixSeconds) {
        self.state().refreshed = Some(at);
    }

    pub(crate) fn status(&self) -> SiteStatus {
        let state = self.state();
        SiteStatus {
            id: self.id,
            name: self.pin.site.clone(),
            publisher: self.pin.publisher.to_string(),
            origin: self.config.as_ref().and_then(|config| config.origin.as_ref()).map(ToString::to_string),
            manifest: state.in_force.as_ref().map(|in_force| Arc::clone(&in_force.manifest)),
            refreshed: state.refreshed,
            notes: state.notes.iter().rev().cloned().collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
