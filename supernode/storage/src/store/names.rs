//! Who gives a blob its place or takes it away: one at a time for each root, so that a blob that is coming in is not
//! deleted as one that went. Blocks the thread that waits.

use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use shared::base::BlobRoot;

/// The roots that somebody works on: as many as there are transfers, and a sweep of garbage.
#[derive(Default)]
pub(super) struct Names {
    taken: Mutex<BTreeSet<BlobRoot>>,
    freed: Condvar,
}

/// Roots that nobody else has. Dropped, they are free again.
pub(super) struct Taken<'a> {
    names: &'a Names,
    pub(super) roots: Vec<BlobRoot>,
}

impl Names {
    fn taken(&self) -> MutexGuard<'_, BTreeSet<BlobRoot>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody has it.
    pub(super) fn take(&self, root: BlobRoot) -> Taken<'_> {
        let mut taken = self.taken();
        while !taken.insert(root) {
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Taken { names: self, roots: vec![root] }
    }

    /// Those of `roots` that nobody has. Who has one of the others is about to lease it.
    pub(super) fn take_free(&self, roots: &[BlobRoot]) -> Taken<'_> {
        let mut taken = self.taken();
        let roots = roots.iter().copied().filter(|root| taken.insert(*root)).collect();
        Taken { names: self, roots }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut taken = self.names.taken();
        for root in &self.roots {
            taken.remove(root);
        }
        drop(taken);
        self.names.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_ones_until_it_is_let_go() {
        let names = Names::default();
        let (one, two) = (BlobRoot([1; 32]), BlobRoot([2; 32]));
        let held = names.take(one);
        assert_eq!(names.take_free(&[one, two]).roots, [two]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| names.take(one).roots.clone());
            drop(held);
            assert_eq!(waiting.join().unwrap(), [one]);
        });
        assert_eq!(names.take_free(&[one]).roots, [one]);
    }
}
