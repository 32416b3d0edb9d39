//! A request of the page, as the core works on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use shared::peer::FetchId;

/// How a request stands. All clones are one.
#[derive(Clone, Default)]
pub(super) struct Job(Rc<State>);

#[derive(Default)]
struct State {
    fetch: Cell<Option<FetchId>>,
    failure: RefCell<Option<String>>,
}

impl Job {
    /// The core's name for it; none where nothing was missing.
    pub(super) fn fetch(&self) -> Option<FetchId> {
        self.0.fetch.get()
    }

    pub(super) fn set_fetch(&self, fetch: FetchId) {
        self.0.fetch.set(Some(fetch));
    }

    /// Why nothing more comes.
    pub(super) fn failure(&self) -> Option<String> {
        self.0.failure.borrow().clone()
    }

    pub(super) fn fail(&self, reason: String) {
        *self.0.failure.borrow_mut() = Some(reason);
    }
}
