//! What owners say of this node: the newest word of each that has a lease here, and nobody else's.
//!
//! Each is one stranger's word, so nothing is decided by it. It is for the operator, who sees it in the status, in the
//! metrics and, the first time that it is a bad one, in the log. It is in memory alone: an owner says it again with each
//! question.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use shared::{
    base::UnixSeconds,
    identity::PublicKey,
    storage::{
        placement::REPUTATION_MAX,
        proof::{Concern, Opinion},
    },
};

/// Owners, of whom there are no more than leases.
#[derive(Default)]
pub(super) struct Owners {
    owners: BTreeMap<[u8; 32], Owner>,
}

#[derive(Default)]
struct Owner {
    leases: usize,
    said: Option<(Opinion, UnixSeconds)>,
    /// The worst that the log has: a stranger that changes its mind all the time fills no log.
    warned: Concern,
}

/// What is made of what an owner said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It has no lease here: whatever it says is not kept.
    Stranger,
    /// It is kept, unless what came before is newer.
    Kept,
    /// It is kept, and is worse than all that this owner said before.
    Worse(Concern),
}

/// What one owner thinks of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerOpinion {
    /// Who says so, as `did:key:…`.
    pub owner: String,
    /// Its leases here.
    pub leases: usize,
    /// Its audits that this node passed in time,
    pub passed: u64,
    /// passed late,
    pub late: u64,
    /// answered with having lost the shard,
    pub lost: u64,
    /// did not answer,
    pub silent: u64,
    /// and answered with what is not so.
    pub wrong: u64,
    /// From 0 to 1000.
    pub reputation: u16,
    /// Whether what is held here counts with it.
    pub vetted: bool,
    /// Whether it has what is held here rebuilt elsewhere.
    pub dismissed: bool,
    /// When it said so, in seconds since 1970.
    pub heard_unix: u64,
    /// All that in words.
    pub words: String,
    /// What may be done about it.
    pub advice: Vec<String>,
}

/// All opinions in a few figures. Each is as true as strangers' words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repute {
    /// Owners with a lease,
    pub owners: usize,
    /// and of them those that said what they think.
    pub said: usize,
    /// Of these, those whose opinion is below the line where owners place nothing new, without
    pub doubted: usize,
    /// those that dismissed this node.
    pub dismissed: usize,
    /// The worst reputation; 1000 where nobody said any.
    pub worst: u16,
    /// Audits by how they ended, of all owners together: passed, late, lost, silent, wrong.
    pub audits: [u64; 5],
}

impl Owners {
    pub(super) fn count(&self) -> usize {
        self.owners.len()
    }

    /// An owner has one more lease.
    pub(super) fn add(&mut self, owner: &PublicKey) {
        self.owners.entry(owner.to_bytes()).or_default().leases += 1;
    }

    /// An owner has one less; with the last one goes what it said.
    pub(super) fn remove(&mut self, owner: &PublicKey) {
        let key = owner.to_bytes();
        let Some(known) = self.owners.get_mut(&key) else { return };
        known.leases -= 1;
        if known.leases == 0 {
            self.owners.remove(&key);
        }
    }

    /// Somebody says what it thinks of this node.
    pub(super) fn hear(&mut self, who: &PublicKey, opinion: Opinion, now: UnixSeconds) -> Hearing {
        let Some(owner) = self.owners.get_mut(&who.to_bytes()) else { return Hearing::Stranger };
        // Words overtake each other on their way. Audits are only ever added: the word of more of them is the newer.
        if owner.said.is_some_and(|(known, _)| known.audits() > opinion.audits()) {
            return Hearing::Kept;
        }
        owner.said = Some((opinion, now));
        let concern = opinion.concern();
        if concern <= owner.warned {
            return Hearing::Kept;
        }
        owner.warned = concern;
        Hearing::Worse(concern)
    }

    /// The figures.
    pub(super) fn repute(&self) -> Repute {
        let mut repute = Repute {
            owners: self.count(),
            said: 0,
            doubted: 0,
            dismissed: 0,
            worst: REPUTATION_MAX,
            audits: [0; 5],
        };
        for (opinion, _) in self.owners.values().filter_map(|owner| owner.said.as_ref()) {
            repute.said += 1;
            match opinion.concern() {
                Concern::Nothing => {}
                Concern::Doubted => repute.doubted += 1,
                Concern::Dismissed => repute.dismissed += 1,
            }
            repute.worst = repute.worst.min(opinion.reputation());
            let Opinion { passed, late, lost, silent, wrong, .. } = *opinion;
            for (sum, count) in repute.audits.iter_mut().zip([passed, late, lost, silent, wrong]) {
                *sum = sum.saturating_add(count);
            }
        }
        repute
    }

    /// What they say, the worst first; at most so many.
    pub(super) fn opinions(&self, max: usize) -> Vec<OwnerOpinion> {
        if max == 0 {
            return Vec::new();
        }
        let mut worst: Vec<_> = self
            .owners
            .iter()
            .filter_map(|(key, owner)| {
                let (opinion, heard) = owner.said?;
                Some((opinion.reputation(), Reverse(opinion.failed()), key, owner.leases, opinion, heard))
            })
            .collect();
        worst.sort_by_key(|(reputation, failed, key, ..)| (*reputation, *failed, **key));
        let worst = worst.into_iter().take(max);
        let opinions = worst.filter_map(|(_, _, key, leases, opinion, heard)| {
            Some(shown(&PublicKey::from_bytes(key).ok()?, leases, &opinion, heard))
        });
        opinions.collect()
    }
}

fn shown(owner: &PublicKey, leases: usize, opinion: &Opinion, heard: UnixSeconds) -> OwnerOpinion {
    let Opinion { passed, late, lost, silent, wrong, .. } = *opinion;
    OwnerOpinion {
        owner: owner.to_string(),
        leases,
        passed,
        late,
        lost,
        silent,
        wrong,
        reputation: opinion.reputation(),
        vetted: opinion.is_vetted(),
        dismissed: opinion.is_dismissed(),
        heard_unix: heard.0,
        words: opinion.to_string(),
        advice: opinion.advice().map(str::to_owned).collect(),
    }
}

/// An opinion and what to do about it, on one line for a log.
pub(super) fn explain(opinion: &Opinion) -> String {
    opinion.advice().fold(opinion.to_string(), |mut line, advice| {
        let _ = write!(line, " {advice}");
        line
    })
}

#[cfg(test)]
mod tests {
    use shared::{
        identity::Keypair,
        storage::proof::{Standing, Verdict},
        wire::storage::AuditorOpinion,
    };

    use super::*;

    fn owner(number: u8) -> PublicKey {
        Keypair::from_secret([number; 32]).public()
    }

    fn after(verdicts: &[Verdict]) -> Opinion {
        let mut standing = Standing::default();
        verdicts.iter().for_each(|verdict| standing.handle_verdict(*verdict));
        Opinion::new(&standing, 0)
    }

    #[test]
    fn the_newest_word_of_owners_with_leases_is_kept_and_no_other() {
        let mut owners = Owners::default();
        let good = after(&[Verdict::Passed]);
        assert_eq!(owners.hear(&owner(1), good, UnixSeconds(5)), Hearing::Stranger);
        owners.add(&owner(1));
        owners.add(&owner(1));
        assert_eq!((owners.opinions(9), owners.repute().said), (Vec::new(), 0));
        assert_eq!(owners.hear(&owner(1), good, UnixSeconds(5)), Hearing::Kept);
        let worse = after(&[Verdict::Passed, Verdict::Silent]);
        assert_eq!(owners.hear(&owner(1), worse, UnixSeconds(6)), Hearing::Kept);
        assert_eq!(owners.hear(&owner(2), worse, UnixSeconds(6)), Hearing::Stranger);
        let said = owners.opinions(9);
        assert_eq!(said.len(), 1);
        let OwnerOpinion { owner: who, leases, passed, silent, heard_unix, .. } = &said[0];
        assert_eq!((who, *leases), (&owner(1).to_string(), 2));
        assert_eq!((*passed, *silent, *heard_unix, said[0].advice.len()), (1, 1, 6, 1));
        owners.remove(&owner(1));
        assert_eq!(owners.opinions(9).len(), 1, "it has another lease");
        owners.remove(&owner(1));
        assert_eq!((owners.opinions(9).len(), owners.count()), (0, 0));
    }

    #[test]
    fn a_fall_and_a_dismissal_are_told_once_each() {
        let mut owners = Owners::default();
        owners.add(&owner(1));
        let lost = |times| after(&vec![Verdict::Lost; times]);
        let heard = [3, 4, 5, 0, 4, 8, 4, 8].map(|times| owners.hear(&owner(1), lost(times), UnixSeconds(5)));
        let (doubted, dismissed) = (Hearing::Worse(Concern::Doubted), Hearing::Worse(Concern::Dismissed));
        let kept = Hearing::Kept;
        assert_eq!(heard, [kept, doubted, kept, kept, kept, dismissed, kept, kept]);
        let said = owners.opinions(9);
        assert_eq!((said[0].lost, said[0].dismissed), (8, true), "what was overtaken is not news");
        let line = explain(&lost(8));
        assert!(line.contains("8 were answered as lost") && line.contains("Look at the disk"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn figures_stay_figures_whatever_strangers_say() {
        let mut owners = Owners::default();
        (1..=4).for_each(|number| owners.add(&owner(number)));
        assert_eq!((owners.repute().worst, owners.repute().owners), (1000, 4));
        let liar = AuditorOpinion { passed: u64::MAX, lost: u64::MAX, reputation: 300, ..Default::default() };
        let words = [after(&[Verdict::Lost; 8]), Opinion::from_wire(&liar), after(&[Verdict::Passed; 3])];
        for (number, word) in (1..).zip(words) {
            owners.hear(&owner(number), word, UnixSeconds(5));
        }
        let Repute { owners: all, said, doubted, dismissed, worst, audits } = owners.repute();
        assert_eq!((all, said, doubted, dismissed, worst), (4, 3, 1, 1, 0));
        assert_eq!(audits, [u64::MAX, 0, u64::MAX, 0, 0]);
        let listed: Vec<_> = owners.opinions(2).into_iter().map(|opinion| opinion.owner).collect();
        assert_eq!(listed, [owner(1).to_string(), owner(2).to_string()], "the worst first");
    }
}
