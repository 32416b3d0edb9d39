//! What one peer wants of us.

use core::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Message, Want};
use crate::storage::ipfs::Cid;

/// Wants of one peer that are remembered; later ones are dropped, and asked for again by who still wants them.
pub const MAX_WANTS: usize = 4096;

/// A peer's wants, the most urgent first, and equals in the order they came.
#[derive(Debug, Default)]
pub struct Wants {
    order: BTreeMap<(Reverse<i32>, u64), Want>,
    places: BTreeMap<Cid, (Reverse<i32>, u64)>,
    next: u64,
}

impl Wants {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Takes the wants and cancels of a message. Says how many were dropped.
    pub fn handle_message(&mut self, message: &Message) -> usize {
        if message.full {
            self.order.clear();
            self.places.clear();
        }
        for cid in &message.cancels {
            self.remove(cid);
        }
        let mut dropped = 0;
        for want in &message.wants {
            self.remove(&want.cid);
            if self.order.len() >= MAX_WANTS {
                dropped += 1;
                continue;
            }
            let place = (Reverse(want.priority), self.next);
            self.next += 1;
            self.places.insert(want.cid, place);
            self.order.insert(place, want.clone());
        }
        dropped
    }

    fn remove(&mut self, cid: &Cid) {
        if let Some(place) = self.places.remove(cid) {
            self.order.remove(&place);
        }
    }

    /// Takes the most urgent one out.
    pub fn poll_want(&mut self) -> Option<Want> {
        let (_, want) = self.order.pop_first()?;
        self.places.remove(&want.cid);
        Some(want)
    }
}
