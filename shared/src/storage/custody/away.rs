//! Shards of holders that fell silent: nobody says that they are lost, so they count again once their holder is back
//! and proved them.

use std::collections::{BTreeMap, BTreeSet};

use super::auditor::Place;
use crate::{base::SegmentId, identity::PublicKey};

/// Some 25 MB of table. What goes silent beyond that is rebuilt, and asked about no more.
const MAX_AWAY: usize = 262_144;

/// What is expected back, and what is being asked about.
#[derive(Default)]
pub(super) struct Away {
    expected: BTreeMap<PublicKey, BTreeSet<Place>>,
    /// Whose proof of a vacant place is waited for: of one holder at a time.
    returning: BTreeMap<Place, PublicKey>,
    count: usize,
}

impl Away {
    /// Whether this holder's proof of this shard is waited for.
    pub(super) fn is_returning(&self, place: Place, holder: &PublicKey) -> bool {
        self.returning.get(&place) == Some(holder)
    }

    /// These shards went silent with their holder.
    pub(super) fn expect(&mut self, holder: &PublicKey, places: impl IntoIterator<Item = Place>) {
        for place in places {
            if self.count >= MAX_AWAY {
                return;
            }
            if self.expected.entry(holder.clone()).or_default().insert(place) {
                self.count += 1;
            }
        }
    }

    /// The holder is back, or never will be: what it had, which is expected no more.
    pub(super) fn take(&mut self, holder: &PublicKey) -> BTreeSet<Place> {
        let places = self.expected.remove(holder).unwrap_or_default();
        self.count -= places.len();
        places
    }

    /// Waits for the holder's proof, unless another's is waited for.
    pub(super) fn begin(&mut self, place: Place, holder: &PublicKey) -> bool {
        let free = !self.returning.contains_key(&place);
        if free {
            self.returning.insert(place, holder.clone());
        }
        free
    }

    /// Waits no longer; says for whose proof it did.
    pub(super) fn end(&mut self, place: Place) -> Option<PublicKey> {
        self.returning.remove(&place)
    }

    /// Waits for none of this holder's proofs any more; says for which it did.
    pub(super) fn end_all(&mut self, holder: &PublicKey) -> Vec<Place> {
        let of_holder = self.returning.iter().filter(|(_, other)| *other == holder);
        let places: Vec<Place> = of_holder.map(|(place, _)| *place).collect();
        for place in &places {
            self.returning.remove(place);
        }
        places
    }

    /// The segment is watched no longer.
    pub(super) fn forget(&mut self, segment: SegmentId) {
        self.returning.retain(|(other, _), _| *other != segment);
        for places in self.expected.values_mut() {
            let before = places.len();
            places.retain(|(other, _)| *other != segment);
            self.count -= before - places.len();
        }
        self.expected.retain(|_, places| !places.is_empty());
    }
}
