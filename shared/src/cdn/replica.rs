//! One blob as this peer has it: what is held, what is wanted, what is under way, how rare the rest is.

use std::ops::Range;

use litemap::LiteMap;

use super::{
    availability::Has,
    bits::Bits,
    blob::{BlobShape, PAGE_GROUPS},
    part::{Part, Piece},
};
use crate::{
    base::{EffectId, Instant, LinkId, RequestId, SeededRng},
    economy::meter::SourceBytes,
};

/// Who was asked for a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// A peer.
    Link(LinkId, RequestId),
    /// HTTP.
    Http(EffectId),
}

/// Groups compared for rarity in one choice. More buys little and costs every choice.
const RARITY_SAMPLE: usize = 192;
/// Words of a peer's bit field looked at in one choice of the rarest; the start moves at random.
const WORDS_SCANNED: usize = 512;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The blob's geometry.
    pub shape: BlobShape,
    /// Groups in the store.
    pub held: Bits,
    /// Hash pages known.
    pub pages: Bits,
    /// Whether the top is known, or none is needed.
    pub top: bool,
    /// Wanted, not held and asked of nobody.
    pub open: Bits,
    /// Where each piece under way was asked for, and when first.
    pub asked: LiteMap<Piece, (Instant, Vec<Asker>)>,
    /// How many linked tabs hold each group; empty for none at all.
    rarity: Vec<u16>,
    /// The fetches that want something of it.
    pub fetches: Vec<u64>,
    /// Verified bytes by source.
    pub sources: SourceBytes,
}

impl Replica {
    /// Of which nothing is held.
    pub fn new(shape: BlobShape) -> Self {
        Self {
            shape,
            held: Bits::new(shape.groups()),
            pages: Bits::new(shape.pages()),
            top: !shape.has_top(),
            open: Bits::new(shape.groups()),
            asked: LiteMap::new(),
            rarity: Vec::new(),
            fetches: Vec::new(),
            sources: SourceBytes::default(),
        }
    }

    /// Wants `groups`.
    pub fn want(&mut self, groups: Range<u32>) {
        for group in groups {
            if !self.held.get(group) && !self.asked.contains_key(&Piece::Group(group)) {
                self.open.set(group);
            }
        }
    }

    /// No longer wants what is asked of nobody, outside `still`.
    pub fn want_only(&mut self, still: &[Range<u32>]) {
        let surplus: Vec<u32> =
            self.open.iter().filter(|group| !still.iter().any(|range| range.contains(group))).collect();
        for group in surplus {
            self.open.clear(group);
        }
    }

    /// A tab near us now holds `group`, or no longer does.
    pub fn count(&mut self, group: u32, holds: bool) {
        if self.rarity.is_empty() {
            self.rarity = vec![0; self.shape.groups() as usize];
        }
        if let Some(count) = self.rarity.get_mut(group as usize) {
            *count = if holds { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }

    /// How many linked tabs hold `group`.
    pub fn holders(&self, group: u32) -> u16 {
        self.rarity.get(group as usize).copied().unwrap_or(0)
    }

    /// Notes that `part` was asked for.
    pub fn ask(&mut self, now: Instant, part: Part, asker: Asker) {
        for piece in pieces(part) {
            if let Piece::Group(group) = piece {
                self.open.clear(group);
            }
            self.asked.entry(piece).or_insert_with(|| (now, Vec::new())).1.push(asker);
        }
    }

    /// Notes that `asker` will not bring the rest of `part`; what nobody else brings is open again.
    pub fn release(&mut self, part: Part, asker: Asker) {
        for piece in pieces(part) {
            let Some((_, askers)) = self.asked.get_mut(&piece) else { continue };
            askers.retain(|other| *other != asker);
            if askers.is_empty() {
                self.asked.remove(&piece);
                if let Piece::Group(group) = piece
                    && !self.held.get(group)
                {
                    self.open.set(group);
                }
            }
        }
    }

    /// Notes a verified piece; whether it is new. Returns who else was asked for it.
    pub fn receive(&mut self, piece: Piece) -> (bool, Vec<Asker>) {
        let askers = self.asked.remove(&piece).map(|(_, askers)| askers).unwrap_or_default();
        let new = match piece {
            Piece::Top => !core::mem::replace(&mut self.top, true),
            Piece::Page(page) => self.pages.set(page),
            Piece::Group(group) => {
                self.open.clear(group);
                self.held.set(group)
            }
        };
        (new, askers)
    }

    /// Whether the hashes that judge `group` are here.
    pub fn can_judge(&self, group: u32) -> bool {
        self.shape.pages() == 0 || self.pages.get(self.shape.page_of(group))
    }

    /// Whether `piece` is held, for serving.
    pub fn serves(&self, part: Part) -> bool {
        match part {
            Part::Top => self.top && self.shape.has_top(),
            Part::Page(page) => self.pages.get(page),
            Part::Groups { first, count } => (first..first + count).all(|group| self.held.get(group)),
        }
    }

    /// The hash piece that stands before the groups from `first` on: the top, or their page.
    pub fn hash_piece_for(&self, group: u32) -> Option<Piece> {
        if self.can_judge(group) {
            None
        } else if !self.top {
            Some(Piece::Top)
        } else {
            Some(Piece::Page(self.shape.page_of(group)))
        }
    }

    /// The first run of open groups within `range`, in order, that `has` holds, at most `count_max`.
    pub fn next_in_order(&self, has: &Has, range: &Range<u32>, count_max: u32) -> Option<Range<u32>> {
        let first_word = range.start as usize / 64;
        let words = (range.end as usize).div_ceil(64).min(self.open.words());
        for word in first_word..words {
            let common = self.open.word(word) & has.word(word);
            for bit in super::bits::ones(common) {
                let group = u32::try_from(word * 64).unwrap_or(u32::MAX) + bit;
                if range.contains(&group) {
                    return Some(self.run(has, group, range.end, count_max, u16::MAX));
                }
            }
        }
        None
    }

    /// A run of open groups within `range` that `has` holds and that few others hold, at most `count_max`;
    /// among equally rare ones a random one. Where all `tabs` that are linked hold what is left, nobody waits for us to
    /// have it, and the first in order is chosen, which whoever reads can have at once.
    pub fn next_rarest(
        &self,
        has: &Has,
        range: &Range<u32>,
        count_max: u32,
        tabs: usize,
        rng: &mut SeededRng,
    ) -> Option<Range<u32>> {
        if self.open.is_empty() {
            return None;
        }
        let words = self.open.words();
        let start = usize::try_from(rng.below(words as u64)).unwrap_or(0);
        let (mut best, mut ties, mut seen) = (None, 0u64, 0);
        for step in 0..words {
            if seen >= RARITY_SAMPLE || (step > WORDS_SCANNED && best.is_some()) {
                break;
            }
            let word = (start + step) % words;
            for bit in super::bits::ones(self.open.word(word) & has.word(word)) {
                let group = u32::try_from(word * 64).unwrap_or(u32::MAX) + bit;
                if !range.contains(&group) {
                    continue;
                }
                seen += 1;
                let rarity = self.holders(group);
                match best {
                    Some((least, _)) if rarity > least => {}
                    Some((least, _)) if rarity == least => {
                        ties += 1;
                        if rng.below(ties) == 0 {
                            best = Some((rarity, group));
                        }
                    }
                    _ => {
                        ties = 1;
                        best = Some((rarity, group));
                    }
                }
            }
        }
        let (rarity, group) = best?;
        if usize::from(rarity) >= tabs {
            return self.next_in_order(has, range, count_max);
        }
        let first = self.aligned(has, group, range.start, count_max, rarity);
        Some(self.run(has, first, range.end, count_max, rarity))
    }

    /// Where a run over this group begins, so that runs lie side by side: begun anywhere, they leave gaps of a group or
    /// two between them, and each of those takes a request of its own.
    fn aligned(&self, has: &Has, group: u32, start: u32, count: u32, rarity_max: u16) -> u32 {
        let block = 1 << count.max(1).ilog2();
        let start = start.max(group / block * block);
        let mut first = group;
        while first > start && self.fits(has, first - 1, rarity_max) {
            first -= 1;
        }
        first
    }

    /// Whether a group may be in a run of this rarity.
    fn fits(&self, has: &Has, group: u32, rarity_max: u16) -> bool {
        self.open.get(group) && has.group(group) && self.holders(group) <= rarity_max
    }

    fn run(&self, has: &Has, first: u32, end: u32, count_max: u32, rarity_max: u16) -> Range<u32> {
        // A run stays under one page, so that one hash piece judges all of it.
        let page_end = (first / PAGE_GROUPS + 1).saturating_mul(PAGE_GROUPS);
        let limit = end.min(page_end).min(first.saturating_add(count_max.max(1)));
        let mut last = first + 1;
        while last < limit && self.fits(has, last, rarity_max) {
            last += 1;
        }
        first..last
    }
}

/// The pieces of a part.
pub fn pieces(part: Part) -> impl Iterator<Item = Piece> {
    let (single, groups) = match part {
        Part::Top => (Some(Piece::Top), 0..0),
        Part::Page(page) => (Some(Piece::Page(page)), 0..0),
        Part::Groups { first, count } => (None, first..first.saturating_add(count)),
    };
    single.into_iter().chain(groups.map(Piece::Group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(groups: u32) -> Replica {
        let mut replica = Replica::new(BlobShape::new(u64::from(groups) * 16_384).unwrap());
        replica.want(0..groups);
        replica
    }

    #[test]
    fn runs_lie_side_by_side() {
        for count in [2_u32, 8] {
            let (mut replica, mut rng) = (replica(96), SeededRng::from_number(u64::from(count)));
            let block = 1 << count.ilog2();
            let mut runs = 0;
            while let Some(run) = replica.next_rarest(&Has::All, &(8..96), count, 1, &mut rng) {
                assert_eq!(run.start % block, 0, "{run:?} of {count}");
                for group in run {
                    replica.receive(Piece::Group(group));
                }
                runs += 1;
            }
            assert!(runs <= 88 / block, "{runs} runs of {count}");
        }
        // Neither what is there nor what others have less of is asked for with it.
        let mut replica = replica(8);
        (0..8).for_each(|group| replica.count(group, true));
        replica.receive(Piece::Group(1));
        replica.count(2, true);
        let mut rng = SeededRng::from_number(1);
        for _ in 0..20 {
            let run = replica.next_rarest(&Has::All, &(0..8), 8, 3, &mut rng).unwrap();
            assert!(run == (0..1) || run == (3..8), "{run:?}");
        }
    }

    #[test]
    fn the_rarest_open_group_is_chosen() {
        let mut replica = replica(100);
        for group in (0..100).filter(|group| *group != 42) {
            replica.count(group, true);
        }
        let mut rng = SeededRng::from_number(1);
        assert_eq!(replica.next_rarest(&Has::All, &(0..100), 8, 2, &mut rng), Some(42..43));
        replica.receive(Piece::Group(42));
        let next = replica.next_rarest(&Has::All, &(0..100), 8, 2, &mut rng).unwrap();
        assert!(!next.contains(&42) && next.len() <= 8);
    }

    #[test]
    fn what_everybody_holds_comes_in_order() {
        let mut replica = replica(100);
        (0..100).for_each(|group| replica.count(group, true));
        let mut rng = SeededRng::from_number(1);
        let mut next = |replica: &Replica, tabs| replica.next_rarest(&Has::All, &(4..100), 8, tabs, &mut rng);
        assert_eq!(next(&replica, 1), Some(4..12));
        replica.receive(Piece::Group(4));
        assert_eq!(next(&replica, 1), Some(5..13));
        // One of two has nothing yet.
        let chosen: Vec<_> = (0..20).map(|_| next(&replica, 2)).collect();
        assert!(chosen.iter().any(|run| *run != Some(5..13)), "{chosen:?}");
    }

    #[test]
    fn released_pieces_are_open_again_unless_another_was_asked() {
        let mut replica = replica(8);
        let (one, two) = (Asker::Http(EffectId(1)), Asker::Http(EffectId(2)));
        let part = Part::Groups { first: 2, count: 3 };
        replica.ask(Instant::default(), part, one);
        replica.ask(Instant::default(), Part::Groups { first: 3, count: 1 }, two);
        assert_eq!(replica.open.ones(), 5);
        replica.release(part, one);
        assert_eq!(replica.open.iter().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 7]);
        let (new, askers) = replica.receive(Piece::Group(3));
        assert!(new && askers == [two]);
    }
}
