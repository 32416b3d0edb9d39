//! Whom to serve when more want it than there are slots.
//!
//! The slots go to those who gave most lately (reciprocity); one more goes to a random other, so that newcomers
//! with nothing to give yet get their first groups, and better partners are found.

use crate::base::{LinkId, SeededRng};

/// One link that wants something of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub link: LinkId,
    /// Bytes it gave since the last choice.
    pub given: u64,
}

/// Who is served until the next choice: the `slots` that gave most, and one optimistic other.
pub fn choose(mut candidates: Vec<Candidate>, slots: usize, rng: &mut SeededRng) -> Vec<LinkId> {
    rng.shuffle(&mut candidates);
    candidates.sort_by_key(|candidate| core::cmp::Reverse(candidate.given));
    let mut served: Vec<LinkId> = candidates.iter().take(slots).map(|candidate| candidate.link).collect();
    if let Some(rest) = candidates.get(slots..)
        && let Some(optimistic) = rng.pick(rest)
    {
        served.push(optimistic.link);
    }
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn givers_are_served_and_everyone_gets_a_chance() {
        let candidates: Vec<_> = (0..10)
            .map(|link| Candidate { link: LinkId(link), given: if link < 3 { 100 } else { 0 } })
            .collect();
        let mut rng = SeededRng::from_number(3);
        let mut lucky = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let served = choose(candidates.clone(), 3, &mut rng);
            assert_eq!(served.len(), 4);
            assert!((0..3).all(|link| served.contains(&LinkId(link))));
            lucky.insert(served[3]);
        }
        assert_eq!(lucky.len(), 7);
    }
}
