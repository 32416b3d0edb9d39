//! What this node served and receivers signed for: sessions with their receipts, and what they come to at the price that
//! the operator declared. It needs no chain.
//!
//! ```text
//! links ─ receipts, ends ─► running ─ once a minute, as a batch ─► booked ─ when they are many ─► days
//!                              redb, within a second                 │
//!                                                     ledger: served ─► accrued, evidence: the batch's receipts
//! ```
//! A receipt is evidence, and no money: nobody has promised to pay for it yet. So the books have its worth as accrued, and
//! say so. Each entry's evidence is a hash over the receipts of its batch, which the export has in full: whoever has the
//! export can check every signature, every sum and every entry. A session's receipt is final once it is booked.

mod recorder;
mod store;

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    ops::Bound,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Deserializer, de::Error as _};
use shared::{
    base::UnixSeconds,
    cdn::receipts::Receipt,
    economy::{
        Amount,
        ledger::{Book, Ledger, Posting},
        price::Price,
    },
    identity::{
        PublicKey,
        eip712::{Word, keccak256},
    },
    wire::cdn::SignedReceipt,
};

pub use recorder::{News, Teller, recorder};
use store::{Change, Store};
pub use store::{Day, EarningsError};

/// Sessions that run at a time, or wait to be booked: more than a node has links in a minute. At some 400 bytes, 40 MB.
const RUNNING_MAX: usize = 100_000;
/// A day has so many seconds.
const DAY: u64 = 86_400;

/// The `[earnings]` section of the configuration.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarningsConfig {
    /// What is asked for bytes. Without it what was served is counted, and comes to nothing.
    #[serde(deserialize_with = "price")]
    pub price: Option<Price>,
    /// How often sessions that ended are booked, at least 1.
    #[serde(deserialize_with = "at_least_one")]
    pub book_seconds: u64,
    /// Sessions that are kept with their receipts, at least 1; older ones are kept as sums of their days.
    #[serde(deserialize_with = "at_least_one")]
    pub keep_sessions: u64,
}

impl Default for EarningsConfig {
    fn default() -> Self {
        // An entry a minute at most: 100 MB of books a year. 100,000 sessions have some 40 MB.
        Self { price: None, book_seconds: 60, keep_sessions: 100_000 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceSection {
    /// Base units of the token,
    base_units: u64,
    /// for each so many bytes.
    per_bytes: NonZeroU64,
}

pub(crate) fn price<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Price>, D::Error> {
    let section = PriceSection::deserialize(from)?;
    Ok(Some(Price { amount: section.base_units, per: section.per_bytes }))
}

pub(crate) fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(D::Error::custom("expected at least 1")),
        number => Ok(number),
    }
}

/// One link's time, with the receipt that says the most of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who received, and signed.
    pub receiver: PublicKey,
    /// Its number, which we drew.
    pub number: u64,
    /// When the first receipt of it came,
    pub first: UnixSeconds,
    /// and when the newest.
    pub last: UnixSeconds,
    /// Payload bytes that we sent.
    pub sent: u64,
    /// Of those, signed for: over the link, and of what the edge gave.
    pub signed: u64,
    /// What was asked when it began.
    pub price: Option<Price>,
    /// Whether its link is gone.
    pub ended: bool,
    /// With which batch it was booked; before that it is not final.
    pub batch: Option<u64>,
    /// The receipt.
    pub receipt: SignedReceipt,
}

impl Session {
    /// What it comes to, rounded down.
    pub fn worth(&self) -> Amount {
        self.price.map_or(Amount::ZERO, |price| price.cost(self.signed))
    }
}

/// Sums over sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many.
    pub sessions: u64,
    /// Payload bytes that were sent to them.
    pub sent: u64,
    /// Of those, signed for.
    pub signed: u64,
    /// What that comes to.
    pub worth: Amount,
}

impl Sums {
    fn add(&mut self, session: &Session) {
        self.sessions += 1;
        self.sent = self.sent.saturating_add(session.sent);
        self.signed = self.signed.saturating_add(session.signed);
        self.worth = self.worth.plus(session.worth());
    }
}

/// How it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What is asked now.
    pub price: Option<Price>,
    /// Not booked yet.
    pub running: Sums,
    /// Booked, since ever.
    pub booked: Sums,
    /// Of those, kept with their receipts.
    pub kept: u64,
    /// Entries of the books.
    pub entries: u64,
    /// Receipts that there was no room for, since the start.
    pub lost: u64,
}

/// Where a page of sessions ends: the next begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place([u8; store::KEY_BYTES]);

impl Place {
    /// As bytes, to hand out.
    pub const fn to_bytes(self) -> [u8; store::KEY_BYTES] {
        self.0
    }

    /// From the bytes that were handed out.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

type Key = ([u8; 32], u64);

/// What was earned by serving. Cheap to clone. Calls write to the disk; async callers wrap them in `spawn_blocking`.
#[derive(Clone, Debug)]
pub struct Earnings {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EarningsConfig,
    store: Store,
    state: Mutex<State>,
    lost: AtomicU64,
}

#[derive(Debug)]
struct State {
    running: BTreeMap<Key, Session>,
    ledger: Ledger,
    booked: Sums,
    kept: u64,
    batch: u64,
    /// The disk failed: what is in memory may be ahead of it.
    failed: bool,
}

impl Earnings {
    /// Opens the books of a node. Sessions that were running when it ended last have ended with it, and are booked.
    ///
    /// # Errors
    /// [`EarningsError`].
    pub fn open(path: &Path, config: EarningsConfig, now: UnixSeconds) -> Result<Self, EarningsError> {
        let store = Store::open(path)?;
        let kept = store.read()?;
        let ledger = Ledger::replay(kept.entries.iter().map(Vec::as_slice)).map_err(EarningsError::Ledger)?;
        let accrued = Amount::new(ledger.balance(Book::Accrued).unsigned_abs()).unwrap_or(Amount::MAX);
        if accrued != kept.booked.worth {
            return Err(EarningsError::Damaged("the sums: they are not what the books say"));
        }
        let running = kept.running.into_iter().map(|session| (key(&session), session)).collect();
        let state =
            State { running, ledger, booked: kept.booked, kept: kept.kept, batch: kept.batch, failed: false };
        let inner = Inner { config, store, state: Mutex::new(state), lost: AtomicU64::new(0) };
        let earnings = Self { inner: Arc::new(inner) };
        earnings.end_all(now)?;
        Ok(earnings)
    }

    // ── What is known ──

    /// How it stands.
    pub fn totals(&self) -> Totals {
        let state = self.lock();
        let mut running = Sums::default();
        state.running.values().for_each(|session| running.add(session));
        Totals {
            price: self.inner.config.price,
            running,
            booked: state.booked,
            kept: state.kept,
            entries: state.ledger.entries(),
            lost: self.inner.lost.load(Ordering::Relaxed),
        }
    }

    /// How often to book.
    pub fn book_seconds(&self) -> u64 {
        self.inner.config.book_seconds
    }

    /// Sessions that are not booked yet, by receiver and number from after that one on; at most so many.
    pub fn running(&self, after: Option<(&PublicKey, u64)>, max: usize) -> Vec<Session> {
        let from = after.map_or(Bound::Unbounded, |(key, number)| Bound::Excluded((key.to_bytes(), number)));
        let state = self.lock();
        let sessions = state.running.range((from, Bound::Unbounded)).map(|(_, session)| session);
        sessions.take(max).cloned().collect()
    }

    /// Booked sessions, the newest first, at most so many; with the place to go on after, where there are more.
    ///
    /// # Errors
    /// [`EarningsError`].
    pub fn booked(
        &self,
        after: Option<Place>,
        max: usize,
    ) -> Result<(Vec<Session>, Option<Place>), EarningsError> {
        self.inner.store.booked(after, max)
    }

    /// Sums by receiver over what is kept and what runs, those with the most bytes first; at most so many.
    ///
    /// # Errors
    /// [`EarningsError`].
    pub fn receivers(&self, max: usize) -> Result<Vec<(PublicKey, Sums)>, EarningsError> {
        let mut sums: BTreeMap<[u8; 32], (PublicKey, Sums)> = BTreeMap::new();
        let mut add = |session: &Session| {
            let new = || (session.receiver.clone(), Sums::default());
            sums.entry(session.receiver.to_bytes()).or_insert_with(new).1.add(session);
        };
        self.lock().running.values().for_each(&mut add);
        self.inner.store.each_booked(add)?;
        let mut sums: Vec<_> = sums.into_values().collect();
        sums.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.signed));
        sums.truncate(max);
        Ok(sums)
    }

    /// Days of which only sums are kept, the newest first; at most so many.
    ///
    /// # Errors
    /// [`EarningsError`].
    pub fn days(&self, max: usize) -> Result<Vec<Day>, EarningsError> {
        self.inner.store.days(max)
    }

    // ── The world speaks ──

    /// Takes what links reported. When this returns it is on the disk.
    ///
    /// # Errors
    /// [`EarningsError`]; receipts that do not hold, or that there is no room for, are passed over.
    pub fn handle_news(&self, now: UnixSeconds, news: Vec<News>) -> Result<(), EarningsError> {
        let mut guard = self.working()?;
        let state = &mut *guard;
        let mut changed = BTreeMap::new();
        for news in news {
            let key = match news {
                News::Receipt { session, sent, edge, receipt } => {
                    self.take(state, now, session, (sent, edge), receipt)
                }
                News::Ended { receiver, session, sent } => {
                    let key = (receiver.to_bytes(), session);
                    state.running.get_mut(&key).map(|known| {
                        known.sent = sent.max(known.signed);
                        known.ended = true;
                        key
                    })
                }
            };
            if let Some(key) = key {
                changed.insert(key, ());
            }
        }
        let running: Vec<_> = changed.keys().filter_map(|key| state.running.get(key)).cloned().collect();
        if running.is_empty() {
            return Ok(());
        }
        self.keep(state, &Change { running, ..Change::default() })
    }

    /// Books the sessions that ended. Tells how many there were.
    ///
    /// # Errors
    /// [`EarningsError`].
    pub fn book(&self, now: UnixSeconds) -> Result<usize, EarningsError> {
        let mut guard = self.working()?;
        let state = &mut *guard;
        let batch = state.batch;
        let booked: Vec<Session> = state
            .running
            .extract_if(.., |_, session| session.ended)
            .map(|(_, session)| Session { batch: Some(batch), ..session })
            .collect();
        if booked.is_empty() {
            return Ok(0);
        }
        let mut sums = Sums::default();
        booked.iter().for_each(|session| sums.add(session));
        let first = state.ledger.entries();
        let mut entries = Vec::new();
        if !sums.worth.is_zero() {
            let entry = state.ledger.append(now, Posting::Served(batch), sums.worth, &evidence(&booked));
            // The books took nothing: what is in memory has gone on without them.
            state.failed = entry.is_err();
            entries.push(entry.map_err(EarningsError::Ledger)?);
        }
        let all = &mut state.booked;
        all.sessions += sums.sessions;
        all.sent = all.sent.saturating_add(sums.sent);
        all.signed = all.signed.saturating_add(sums.signed);
        all.worth = all.worth.plus(sums.worth);
        assert_eq!(
            state.ledger.balance(Book::Accrued).unsigned_abs(),
            state.booked.worth.units(),
            "the sums are what the books say"
        );
        let count = booked.len();
        state.batch += 1;
        state.kept += count as u64;
        let fold = state.kept.saturating_sub(self.inner.config.keep_sessions);
        state.kept -= fold;
        let change = Change {
            booked,
            entries: (first, entries),
            sums: Some((state.booked, state.kept, state.batch)),
            fold,
            ..Change::default()
        };
        self.keep(state, &change)?;
        Ok(count)
    }

    /// Every link is gone: books all there is.
    ///
    /// # Errors
    /// [`EarningsError`].
    pub fn end_all(&self, now: UnixSeconds) -> Result<usize, EarningsError> {
        self.working()?.running.values_mut().for_each(|session| session.ended = true);
        self.book(now)
    }

    /// Takes a receipt; tells whose session has changed by it.
    fn take(
        &self,
        state: &mut State,
        now: UnixSeconds,
        number: u64,
        (sent, edge): (u64, u64),
        signed: SignedReceipt,
    ) -> Option<Key> {
        // Verified before, when it came; once more, since it is about to be money.
        let receipt = Receipt::open(&signed).ok()?;
        let bytes = receipt.bytes.saturating_add(edge.min(receipt.edge_bytes));
        if receipt.session != number || receipt.bytes > sent || bytes == 0 {
            return None;
        }
        let sent = sent.saturating_add(edge);
        let key = (receipt.receiver.to_bytes(), number);
        if state.running.len() >= RUNNING_MAX && !state.running.contains_key(&key) {
            self.lose(1);
            return None;
        }
        let session = state.running.entry(key).or_insert_with(|| Session {
            receiver: receipt.receiver,
            number,
            first: now,
            last: now,
            sent,
            signed: 0,
            price: self.inner.config.price,
            ended: false,
            batch: None,
            receipt: signed.clone(),
        });
        // Receipts only grow.
        if bytes <= session.signed {
            return None;
        }
        (session.signed, session.sent, session.last) = (bytes, sent, now);
        session.receipt = signed;
        Some(key)
    }

    fn lose(&self, receipts: u64) {
        self.inner.lost.fetch_add(receipts, Ordering::Relaxed);
    }

    fn keep(&self, state: &mut State, change: &Change) -> Result<(), EarningsError> {
        let kept = self.inner.store.keep(change);
        state.failed = kept.is_err();
        kept
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut state = poisoned.into_inner();
            state.failed = true;
            state
        })
    }

    fn working(&self) -> Result<MutexGuard<'_, State>, EarningsError> {
        let state = self.lock();
        if state.failed { Err(EarningsError::Failed) } else { Ok(state) }
    }
}

fn key(session: &Session) -> Key {
    (session.receiver.to_bytes(), session.number)
}

/// What an entry of the books stands on: Keccak-256 over the batch's receipts, by receiver and session; of each the
/// receipt and its signature, each after its length (4 bytes, big-endian).
pub fn evidence(batch: &[Session]) -> Word {
    let mut parts = Vec::new();
    for session in batch {
        for part in [&session.receipt.receipt, &session.receipt.signature] {
            parts.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            parts.extend(part);
        }
    }
    keccak256(&[&parts])
}

/// The day of a moment.
const fn day(at: UnixSeconds) -> u64 {
    at.0 / DAY
}

#[cfg(test)]
mod tests {
    use shared::{cdn::receipts::Verified, identity::Keypair};

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
    const PRICED: EarningsConfig = EarningsConfig {
        price: Some(Price { amount: 3, per: NonZeroU64::MIN }),
        book_seconds: 60,
        keep_sessions: 3,
    };

    fn keys(number: u8) -> Keypair {
        Keypair::from_secret([number; 32])
    }

    fn receipt(receiver: u8, session: u64, bytes: u64) -> News {
        let receipt = Receipt::sign(&keys(receiver), &keys(99).public(), session, Verified::of(bytes));
        News::Receipt { session, sent: bytes + 5, edge: 0, receipt }
    }

    fn ended(receiver: u8, session: u64, sent: u64) -> News {
        News::Ended { receiver: keys(receiver).public(), session, sent }
    }

    fn open(path: &Path, config: EarningsConfig) -> Earnings {
        Earnings::open(path, config, NOW).expect("books")
    }

    #[test]
    fn every_figure_is_a_receipts_and_survives_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("earnings.redb");
        let earnings = open(&path, PRICED);
        let news = vec![receipt(1, 7, 100), receipt(1, 7, 250), receipt(1, 7, 200), receipt(2, 8, 40)];
        earnings.handle_news(NOW, news).expect("kept");
        assert_eq!(earnings.totals().running.signed, 290);
        assert_eq!(earnings.book(NOW).expect("booked"), 0, "nothing has ended");
        earnings.handle_news(NOW, vec![ended(1, 7, 300), ended(5, 7, 300)]).expect("kept");
        assert_eq!(earnings.book(NOW).expect("booked"), 1);
        let totals = earnings.totals();
        assert_eq!((totals.booked.signed, totals.booked.sent), (250, 300));
        assert_eq!((totals.booked.worth, totals.entries), (Amount::of(750), 1));
        drop(earnings);
        // Killed: what ran has ended.
        let earnings = open(&path, PRICED);
        let (sessions, more) = earnings.booked(None, 10).expect("read");
        assert_eq!(more, None);
        assert_eq!(sessions.iter().map(|s| (s.number, s.signed)).collect::<Vec<_>>(), [(8, 40), (7, 250)]);
        for session in &sessions {
            let receipt = Receipt::open(&session.receipt).expect("signed");
            assert_eq!((receipt.bytes, &receipt.receiver), (session.signed, &session.receiver));
        }
        assert_eq!(earnings.totals().booked.worth, Amount::of(870));
        // What an entry stands on can be found again from what is exported.
        let kept = earnings.inner.store.read().expect("read");
        let last = kept.entries.last().expect("an entry");
        let hash = evidence(&sessions[..1]);
        assert!(last.windows(32).any(|bytes| bytes == hash));
    }

    #[test]
    fn forged_replayed_foreign_and_inflated_receipts_come_to_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let earnings = open(&directory.path().join("earnings.redb"), PRICED);
        let News::Receipt { receipt: good, .. } = receipt(1, 7, 100) else { unreachable!() };
        let mut forged = good.clone();
        forged.signature[3] ^= 1;
        let news = vec![
            News::Receipt { session: 7, sent: 1000, edge: 0, receipt: forged },
            News::Receipt { session: 8, sent: 1000, edge: 0, receipt: good.clone() },
            News::Receipt { session: 7, sent: 99, edge: 0, receipt: good.clone() },
        ];
        earnings.handle_news(NOW, news).expect("passed over");
        assert_eq!(earnings.totals().running, Sums::default());
        let twice = || News::Receipt { session: 7, sent: 1000, edge: 0, receipt: good.clone() };
        earnings.handle_news(NOW, vec![twice(), twice()]).expect("kept");
        assert_eq!(earnings.totals().running.signed, 100);
    }

    #[test]
    fn without_a_price_it_is_counted_and_comes_to_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("earnings.redb");
        let earnings = open(&path, EarningsConfig { price: None, ..PRICED });
        earnings.handle_news(NOW, vec![receipt(1, 7, 100), ended(1, 7, 100)]).expect("kept");
        assert_eq!(earnings.book(NOW).expect("booked"), 1);
        drop(earnings);
        // A price that comes later is not for what was served before.
        let totals = open(&path, PRICED).totals();
        assert_eq!((totals.booked.signed, totals.booked.worth, totals.entries), (100, Amount::ZERO, 0));
    }

    #[test]
    fn what_is_old_is_kept_as_the_sums_of_its_days() {
        let directory = tempfile::tempdir().expect("a directory");
        let earnings = open(&directory.path().join("earnings.redb"), PRICED);
        for number in 0..8 {
            let at = UnixSeconds(NOW.0 + number / 2 * DAY);
            earnings.handle_news(at, vec![receipt(1, number, 100), ended(1, number, 100)]).expect("kept");
            earnings.book(at).expect("booked");
        }
        let totals = earnings.totals();
        assert_eq!((totals.kept, totals.booked.sessions, totals.booked.signed), (3, 8, 800));
        let (first, more) = earnings.booked(None, 2).expect("read");
        let (rest, end) = earnings.booked(more, 2).expect("read");
        assert_eq!(first.iter().chain(&rest).map(|s| s.number).collect::<Vec<_>>(), [7, 6, 5]);
        assert_eq!(end, None);
        let days = earnings.days(10).expect("read");
        assert_eq!(days.iter().map(|day| day.sums.sessions).collect::<Vec<_>>(), [1, 2, 2]);
        let folded: u64 = days.iter().map(|day| day.sums.signed).sum();
        assert_eq!(folded + 300, totals.booked.signed);
        assert_eq!(earnings.receivers(5).expect("read")[0].1.signed, 300);
    }
}
