//! What a node is known for: a score that follows from verified facts, fades, and can be explained fact by fact.
//!
//! Facts are what we saw ourselves: an audit that passed or failed, a voucher in time or late, groups that did not
//! verify. What others report counts only with the deal behind it, a quote that the accused itself signed for the
//! reporter, and only as far as the reporter paid it; all reports together never outweigh a quarter of the whole. So
//! slander costs more than it does, and it pays the slandered.
//!
//! Everything is computed in integers: two nodes that know the same facts agree to the last unit.

use std::collections::BTreeMap;

use super::{
    Amount,
    price::{Quote, QuoteError},
};
use crate::{base::UnixSeconds, identity::PublicKey, wire::economy as wire};

/// Facts count half after so long: a node that changed hands is judged by its new conduct within a season.
pub const HALF_LIFE_SECONDS: u64 = 30 * 86_400;
/// Who nothing is known of. Below what honest work earns soon, above what a liar keeps.
pub const UNKNOWN_PERMILLE: u16 = 500;
/// As if so much weight of both kinds had been seen already: a first fact does not decide.
const PRIOR_WEIGHT: u64 = 20 * ONE;
/// Weights are in thousandths.
const ONE: u64 = 1000;
/// Of all weight that counts, at most this share is hearsay.
const HEARSAY_DIVISOR: u64 = 4;
/// A reporter's word weighs whole where it paid this many times the worth of a start window; below in proportion.
const REPORT_WINDOWS: u64 = 16;
/// Subjects that are remembered; the one heard of longest ago goes first. Some 50 MB.
pub const SUBJECTS_MAX: usize = 100_000;
/// Reporters that are remembered for a subject.
pub const REPORTERS_MAX: usize = 64;

/// Something that was verified here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// It showed that it still has what it stores.
    AuditPassed,
    /// It did not.
    AuditFailed,
    /// It answered, or paid, in time.
    Timely,
    /// It did so late.
    Late,
    /// It sent what does not verify.
    BadGroup,
    /// It left owing.
    Unpaid,
    /// Its work was verified, and accepted.
    Delivered,
}

impl Fact {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AuditPassed,
        Self::AuditFailed,
        Self::Timely,
        Self::Late,
        Self::BadGroup,
        Self::Unpaid,
        Self::Delivered,
    ];

    /// Whether it speaks for the node, and how much it weighs, in thousandths. What can happen to an honest node
    /// weighs little; what cannot, much.
    const fn weight(self) -> (bool, u64) {
        match self {
            Self::AuditPassed => (true, 2 * ONE),
            Self::AuditFailed => (false, 40 * ONE),
            Self::Timely => (true, ONE / 4),
            Self::Late => (false, ONE),
            Self::BadGroup => (false, 60 * ONE),
            Self::Unpaid => (false, 20 * ONE),
            Self::Delivered => (true, ONE),
        }
    }
}

/// How often something was seen, as it counts now, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What.
    pub fact: Fact,
    /// Whether others said it.
    pub hearsay: bool,
    /// How often, faded, in thousandths.
    pub count: u64,
    /// By how many permille it moves the score; below zero, down.
    pub moves: i32,
}

/// Another node's accusation, or praise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who says it; its signature over the message was verified.
    pub reporter: PublicKey,
    /// What it says happened.
    pub fact: Fact,
    /// The deal: signed by the accused, for the reporter.
    pub deal: wire::SignedQuote,
    /// What the reporter paid the accused, as the chain says: what was claimed from it, no more.
    pub paid: Amount,
}

/// Why a report counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The deal is none.
    #[error(transparent)]
    Deal(#[from] QuoteError),
    /// The deal is not between these two.
    #[error("the deal is not between the accused and the reporter")]
    OfOthers,
    /// Nothing was paid.
    #[error("the reporter paid nothing for the deal")]
    Unpaid,
    /// Too many others reported already.
    #[error("{REPORTERS_MAX} reporters are remembered already")]
    TooMany,
}

#[derive(Clone, Debug, Default)]
struct Subject {
    /// When the counts were last faded.
    at: UnixSeconds,
    own: BTreeMap<Fact, u64>,
    /// Each reporter has one word for each deal it paid: more reports do not weigh more.
    told: BTreeMap<PublicKey, (Fact, u64)>,
}

/// What we know of others.
#[derive(Clone, Debug)]
pub struct Reputation {
    start_window: Amount,
    subjects: BTreeMap<PublicKey, Subject>,
}

impl Reputation {
    /// Nothing known yet. `start_window` is what a stranger may owe.
    pub fn new(start_window: Amount) -> Self {
        Self { start_window: start_window.max(Amount::of(1)), subjects: BTreeMap::new() }
    }

    /// The score at `now`, from 0 to 1000.
    pub fn score(&self, now: UnixSeconds, subject: &PublicKey) -> u16 {
        let Some(subject) = self.subjects.get(subject) else { return UNKNOWN_PERMILLE };
        let (good, bad) = weights(&lines(subject, now));
        permille(good, bad)
    }

    /// What the score follows from: each fact with its count, and by how much the score would be other without it.
    pub fn explain(&self, now: UnixSeconds, subject: &PublicKey) -> Vec<Explained> {
        let Some(subject) = self.subjects.get(subject) else { return Vec::new() };
        let lines = lines(subject, now);
        let (good, bad) = weights(&lines);
        let score = i32::from(permille(good, bad));
        let explained = lines.iter().map(|line| {
            let others: Vec<Line> = lines.iter().filter(|other| *other != line).copied().collect();
            let (good, bad) = weights(&others);
            let moves = score - i32::from(permille(good, bad));
            Explained { fact: line.fact, hearsay: line.hearsay, count: line.count, moves }
        });
        explained.collect()
    }

    /// We verified this ourselves, `times` times.
    pub fn handle_fact(&mut self, now: UnixSeconds, subject: &PublicKey, fact: Fact, times: u32) {
        let subject = self.subject(now, subject);
        let count = subject.own.entry(fact).or_default();
        *count = count.saturating_add(u64::from(times) * ONE);
    }

    /// Another node says so.
    ///
    /// # Errors
    /// [`ReportError`]; it counts for nothing then.
    pub fn handle_report(
        &mut self,
        now: UnixSeconds,
        accused: &PublicKey,
        report: &Report,
    ) -> Result<(), ReportError> {
        let deal = Quote::open(&report.deal)?;
        if deal.provider != *accused || deal.consumer != report.reporter {
            return Err(ReportError::OfOthers);
        }
        let whole = self.start_window.times(REPORT_WINDOWS);
        let paid = report.paid.min(whole).units();
        let word = u64::try_from(paid * u128::from(ONE) / whole.units()).unwrap_or(ONE);
        if word == 0 {
            return Err(ReportError::Unpaid);
        }
        let subject = self.subject(now, accused);
        if subject.told.len() >= REPORTERS_MAX && !subject.told.contains_key(&report.reporter) {
            return Err(ReportError::TooMany);
        }
        subject.told.insert(report.reporter.clone(), (report.fact, word));
        Ok(())
    }

    /// A subject, faded to `now`, with room made for it.
    fn subject(&mut self, now: UnixSeconds, key: &PublicKey) -> &mut Subject {
        if self.subjects.len() >= SUBJECTS_MAX && !self.subjects.contains_key(key) {
            let oldest = self.subjects.iter().min_by_key(|(_, subject)| subject.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.subjects.remove(&oldest);
            }
        }
        let subject =
            self.subjects.entry(key.clone()).or_insert_with(|| Subject { at: now, ..Subject::default() });
        if now > subject.at {
            let seconds = subject.at.until(now);
            let fade = |count: &mut u64| *count = faded(*count, seconds);
            subject.own.values_mut().for_each(fade);
            subject.told.values_mut().for_each(|(_, word)| fade(word));
            subject.told.retain(|_, (_, word)| *word > 0);
            subject.at = now;
        }
        subject
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    fact: Fact,
    hearsay: bool,
    count: u64,
}

fn lines(subject: &Subject, now: UnixSeconds) -> Vec<Line> {
    let seconds = subject.at.until(now);
    let own = subject.own.iter().map(|(fact, count)| (*fact, false, *count));
    let told = Fact::ALL.into_iter().map(|fact| {
        let words = subject.told.values().filter(|(told, _)| *told == fact).map(|(_, word)| *word);
        (fact, true, words.sum())
    });
    let all =
        own.chain(told).map(|(fact, hearsay, count)| Line { fact, hearsay, count: faded(count, seconds) });
    all.filter(|line| line.count > 0).collect()
}

/// What speaks for a node and what against it, hearsay bounded.
fn weights(lines: &[Line]) -> (u64, u64) {
    let sum = |hearsay: bool, good: bool| -> u64 {
        let lines = lines.iter().filter(|line| line.hearsay == hearsay);
        let weights = lines.filter_map(|line| {
            let (speaks_for, weight) = line.fact.weight();
            (speaks_for == good).then(|| line.count.saturating_mul(weight) / ONE)
        });
        weights.fold(0, u64::saturating_add)
    };
    let own = (sum(false, true), sum(false, false));
    let told = (sum(true, true), sum(true, false));
    // A quarter of the whole is a third of the rest.
    let rest = own.0.saturating_add(own.1).saturating_add(2 * PRIOR_WEIGHT);
    let most = rest / (HEARSAY_DIVISOR - 1);
    let all = told.0.saturating_add(told.1);
    let bounded = |weight: u64| {
        if all <= most {
            return weight;
        }
        let share = u128::from(weight) * u128::from(most) / u128::from(all);
        u64::try_from(share).unwrap_or(most)
    };
    (own.0.saturating_add(bounded(told.0)), own.1.saturating_add(bounded(told.1)))
}

fn permille(good: u64, bad: u64) -> u16 {
    let good = u128::from(good) + u128::from(PRIOR_WEIGHT);
    let all = good + u128::from(bad) + u128::from(PRIOR_WEIGHT);
    u16::try_from(good * 1000 / all).unwrap_or(1000)
}

/// What is left of a count: halved for each half-life, and evenly between.
fn faded(count: u64, seconds: u64) -> u64 {
    let halvings = seconds / HALF_LIFE_SECONDS;
    let halved = if halvings < 64 { count >> halvings } else { 0 };
    let into = seconds % HALF_LIFE_SECONDS;
    let lost = u128::from(halved) * u128::from(into) / u128::from(2 * HALF_LIFE_SECONDS);
    halved - u64::try_from(lost).unwrap_or(halved)
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;

    use super::*;
    use crate::{
        economy::price::{Price, Unit},
        identity::{Account, Keypair},
    };

    const NOW: UnixSeconds = UnixSeconds(1_000_000);
    const START: Amount = Amount::of(100);

    fn key(number: u8) -> Keypair {
        Keypair::from_secret([number; 32])
    }

    fn report(accused: &Keypair, reporter: &Keypair, paid: u64) -> Report {
        let deal = Quote {
            provider: accused.public(),
            consumer: reporter.public(),
            payee: Account([3; 20]),
            contract: Account([4; 20]),
            chain_id: 137,
            unit: Unit::Bytes,
            price: Price { amount: 1, per: NonZeroU64::MIN },
            tariff: 3,
            issued: NOW,
            expires: NOW.plus(600),
        };
        let deal = deal.sign(accused);
        Report { reporter: reporter.public(), fact: Fact::BadGroup, deal, paid: Amount::of(paid) }
    }

    #[test]
    fn honest_work_raises_and_a_lie_costs_more_than_much_of_it_brings() {
        let (mut reputation, node) = (Reputation::new(START), key(1).public());
        assert_eq!(reputation.score(NOW, &node), UNKNOWN_PERMILLE);
        reputation.handle_fact(NOW, &node, Fact::AuditPassed, 100);
        let good = reputation.score(NOW, &node);
        assert!(good > 900, "{good}");
        reputation.handle_fact(NOW, &node, Fact::BadGroup, 3);
        let caught = reputation.score(NOW, &node);
        assert!(caught < 600, "{caught}");
        // Each line says by how much it moves the score, and they name both.
        let explained = reputation.explain(NOW, &node);
        assert_eq!(explained.len(), 2);
        assert!(explained.iter().all(|line| (line.moves > 0) == (line.fact == Fact::AuditPassed)));
    }

    #[test]
    fn what_was_long_ago_fades() {
        let (mut reputation, node) = (Reputation::new(START), key(1).public());
        reputation.handle_fact(NOW, &node, Fact::BadGroup, 10);
        let scores: Vec<u16> =
            (0..12).map(|n| reputation.score(NOW.plus(n * HALF_LIFE_SECONDS), &node)).collect();
        assert!(scores.windows(2).all(|pair| pair[0] < pair[1]), "{scores:?}");
        assert_eq!(faded(1000, HALF_LIFE_SECONDS), 500);
        assert_eq!(faded(1000, HALF_LIFE_SECONDS / 2), 750);
        assert_eq!(faded(u64::MAX, u64::MAX), 0);
        // Fading in steps is fading at once.
        reputation.handle_fact(NOW.plus(HALF_LIFE_SECONDS), &node, Fact::Timely, 0);
        assert_eq!(reputation.score(NOW.plus(2 * HALF_LIFE_SECONDS), &node), scores[2]);
    }

    #[test]
    fn slander_without_a_paid_deal_counts_for_nothing() {
        let (node, liar) = (key(1), key(2));
        let mut reputation = Reputation::new(START);
        let mut check = |report: Report, error| {
            assert_eq!(reputation.handle_report(NOW, &node.public(), &report), Err(error));
        };
        check(report(&node, &liar, 0), ReportError::Unpaid);
        check(report(&liar, &liar, 1000), ReportError::OfOthers);
        check(Report { reporter: key(3).public(), ..report(&node, &liar, 1000) }, ReportError::OfOthers);
        let mut forged = report(&node, &liar, 1000);
        forged.deal.signature[3] ^= 1;
        check(forged, ReportError::Deal(QuoteError::Signature));
        assert_eq!(reputation.score(NOW, &node.public()), UNKNOWN_PERMILLE);
    }

    #[test]
    fn a_thousand_paying_slanderers_move_a_known_node_by_a_quarter_at_most() {
        let node = key(1);
        let mut reputation = Reputation::new(START);
        reputation.handle_fact(NOW, &node.public(), Fact::AuditPassed, 1000);
        let before = reputation.score(NOW, &node.public());
        let mut heard = 0;
        for number in 0..1000_u64 {
            let mut secret = [9; 32];
            secret[..8].copy_from_slice(&number.to_le_bytes());
            let report = report(&node, &Keypair::from_secret(secret), 1600);
            heard += u64::from(reputation.handle_report(NOW, &node.public(), &report).is_ok());
        }
        assert_eq!(heard, REPORTERS_MAX as u64);
        let after = reputation.score(NOW, &node.public());
        assert!(after >= before - before / 4 - 1, "{before} {after}");
        // The same one again and again is one.
        let mut single = Reputation::new(START);
        let word = report(&node, &key(2), 1600);
        single.handle_report(NOW, &node.public(), &word).unwrap();
        let once = single.score(NOW, &node.public());
        (0..50).for_each(|_| single.handle_report(NOW, &node.public(), &word).unwrap());
        assert_eq!(single.score(NOW, &node.public()), once);
    }
}
