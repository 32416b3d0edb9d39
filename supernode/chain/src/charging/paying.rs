//! The side that pays: checks each receipt of a bill, counts what was not counted before, and signs for the sum.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shared::{
    base::{Instant, SiteId, UnixSeconds},
    cdn::receipts::Receipt,
    economy::{
        Amount,
        price::{Price, Unit},
        tally::{Day, Tally},
    },
    identity::{Account, PublicKey},
    wire::{Refusal, cdn::SignedReceipt, economy as wire},
};

use super::{
    billing::LINES_MAX,
    store::{Change, PayeeKey, Session, Store},
    tab_evidence::Counting,
    tab_store::TabChange,
    tabs::TAB_LINES_MAX,
};
use crate::{Purse, PurseError, Settlement, Stands, StoreError};

/// Why nothing can be paid.
#[derive(Debug, thiserror::Error)]
pub enum PayingError {
    /// The file of evidence.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Vouchers and books.
    #[error(transparent)]
    Purse(#[from] PurseError),
    /// It failed before.
    #[error("evidence cannot be kept since the disk failed; the node must start anew")]
    Failed,
}

/// What is paid for: one node's service to one site, by what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Who served.
    pub node: PublicKey,
    /// What.
    pub site: SiteId,
    /// Who is paid.
    pub payee: Account,
    /// How much.
    pub price: Price,
    /// What a day may cost.
    pub per_day: Amount,
    /// What is paid for what tabs give to each other, and what a day of that may cost; nothing without.
    pub tabs: Option<(Price, Amount)>,
    /// Without a chain: what may be promised in all.
    pub credit: Amount,
}

/// How one payment stands.
#[derive(Clone, Debug)]
pub struct PaidStands {
    /// Who served.
    pub node: PublicKey,
    /// What.
    pub site: SiteId,
    /// Who is paid.
    pub payee: Account,
    /// Worth of what receivers signed for, by the bills.
    pub tally: Tally,
    /// What this day cost.
    pub day: Day,
    /// The same of what tabs gave, which is paid beside it.
    pub tabs: Option<(Tally, Day)>,
    /// Its payee, over all that it gives us.
    pub channel: Stands,
}

#[derive(Debug, Default)]
struct State {
    payees: BTreeMap<PayeeKey, (Tally, Day)>,
    tabs: BTreeMap<PayeeKey, (Tally, Day)>,
    failed: bool,
}

impl State {
    fn tabs_total(&self, node: &PublicKey, site: SiteId) -> Amount {
        let node = node.to_bytes();
        let its = self.tabs.iter().filter(|((_, of, at), _)| (*of, *at) == (node, site));
        its.map(|(_, (tally, _))| tally.total()).sum()
    }
}

/// What is paid. Calls write to the disk; async callers wrap them in `spawn_blocking`.
#[derive(Debug)]
pub struct Paying {
    store: Store,
    purse: Arc<Purse>,
    state: Mutex<State>,
}

impl Paying {
    /// Opens what was paid.
    ///
    /// # Errors
    /// [`PayingError`].
    pub fn open(path: &Path, purse: Arc<Purse>) -> Result<Self, PayingError> {
        let store = Store::open(path)?;
        let by_key = |(key, tally, day)| (key, (tally, day));
        let payees = store.read()?.payees.into_iter().map(by_key).collect();
        let tabs = store.read_tabs()?.payees.into_iter().map(by_key).collect();
        Ok(Self { store, purse, state: Mutex::new(State { payees, tabs, failed: false }) })
    }

    /// How all payments stand.
    pub fn stands(&self) -> Vec<PaidStands> {
        let state = self.lock();
        let stands = state.payees.iter().filter_map(|(key @ (payee, node, site), (tally, day))| {
            Some(PaidStands {
                node: PublicKey::from_bytes(node).ok()?,
                site: *site,
                payee: *payee,
                tally: *tally,
                day: *day,
                tabs: state.tabs.get(key).copied(),
                channel: self.purse.owes(*payee).unwrap_or_default(),
            })
        });
        stands.collect()
    }

    /// What was counted of what tabs gave by a node's bills for a site, in all.
    pub fn tabs_total(&self, node: &PublicKey, site: SiteId) -> Amount {
        self.lock().tabs_total(node, site)
    }

    /// A payee said its terms.
    ///
    /// # Errors
    /// [`PayingError`].
    pub fn handle_terms(&self, now: Instant, payment: &Payment) -> Result<(), PayingError> {
        let mut state = self.working()?;
        self.purse.buy(payment.payee, Unit::Bytes, payment.price)?;
        if matches!(self.purse.settlement(), Settlement::Unsettled(_)) {
            self.purse.handle_ceiling(payment.payee, payment.credit);
        }
        let key = key(payment);
        let (tally, _) = state.payees.entry(key).or_insert((Tally::new(payment.price), Day::default()));
        tally.set_price(payment.price);
        if let Some((price, _)) = payment.tabs {
            state.tabs.entry(key).or_insert((Tally::new(price), Day::default())).0.set_price(price);
        }
        self.make_up(now, &mut state, key)
    }

    /// Answers a bill. When this returns, what it says is on the disk.
    ///
    /// # Errors
    /// [`PayingError`].
    pub fn handle_bill(
        &self,
        now: Instant,
        unix: UnixSeconds,
        payment: &Payment,
        bill: &wire::PaymentBill,
    ) -> Result<wire::PaymentPaid, PayingError> {
        let mut guard = self.working()?;
        let state = &mut *guard;
        let refuse = |refusal: Refusal, retry_seconds: u64| wire::PaymentPaid {
            number: bill.number,
            refusal: refusal.code(),
            retry_after_ms: retry_seconds.saturating_mul(1000),
            ..wire::PaymentPaid::default()
        };
        if bill.lines.len() > LINES_MAX || bill.tabs.len() > TAB_LINES_MAX {
            return Ok(refuse(Refusal::Malformed, 0));
        }
        // What we signed and forgot was for what came before this bill.
        let delivered = Amount::ZERO.to_bytes().to_vec();
        let shown = wire::VoucherAnswer { newest: bill.newest.clone(), delivered };
        match self.purse.handle_answer(payment.payee, &shown) {
            Ok(_) => {}
            Err(PurseError::Answer(error)) => {
                tracing::warn!(%error, payee = %payment.payee, "a bill shows a voucher that is not ours");
                return Ok(refuse(Refusal::Malformed, 0));
            }
            Err(error) => return Err(error.into()),
        }
        let key = key(payment);
        self.make_up(now, state, key)?;

        let node = payment.node.to_bytes();
        let (lines, refused) = evidence(payment, &bill.lines);
        let sessions: Vec<Session> = lines.iter().map(|(session, _)| *session).collect();
        let known = self.store.paid(&node, &sessions)?;
        let mut counted: BTreeMap<Session, u64> = sessions.into_iter().zip(known).collect();
        let (mut gained, mut paid) = (0_u64, Vec::new());
        for (session, bytes) in lines {
            let before = counted.entry(session).or_default();
            if bytes > *before {
                gained = gained.saturating_add(bytes - *before);
                *before = bytes;
                paid.push((node, session, bytes));
            }
        }
        let Some((tally, day)) = state.payees.get_mut(&key) else { return Ok(refuse(Refusal::Forbidden, 0)) };
        let (mut more, mut today) = (*tally, *day);
        more.add(gained);
        if let Err(wait) = today.take(unix, more.total().less(tally.total()), payment.per_day) {
            return Ok(refuse(Refusal::OverBudget, wait));
        }
        let tabs = match (payment.tabs, state.tabs.get(&key)) {
            (Some((_, per_day)), Some((tally, day))) => {
                let counting = Counting { tally: *tally, day: *day, per_day, unix };
                Some(counting.count(&self.store, payment, &bill.tabs)?)
            }
            _ => None,
        };
        let of_tabs = tabs.as_ref().filter(|counted| !counted.paid.is_empty());
        if gained > 0 || of_tabs.is_some() {
            let tabs = of_tabs.map(|counted| TabChange {
                paid: counted.paid.clone(),
                payees: vec![(key, counted.tally, counted.day)],
                ..TabChange::default()
            });
            let tabs = tabs.unwrap_or_default();
            let change = Change { paid, payees: vec![(key, more, today)], tabs, ..Change::default() };
            // Evidence first: what it is worth is made up from it after a crash.
            self.store.keep(&change).inspect_err(|_| state.failed = true)?;
            (*tally, *day) = (more, today);
            if let Some(counted) = of_tabs {
                state.tabs.insert(key, (counted.tally, counted.day));
            }
        }
        self.make_up(now, state, key)?;
        let tabs_counted = tabs.map(|counted| counted.places).unwrap_or_default();
        tracing::debug!(gained, refused = refused.len(), tabs = tabs_counted.len(), "a bill was counted");
        let voucher = self.purse.issue(now, unix, payment.payee, true)?;
        let voucher = voucher.map(|voucher| voucher.to_wire());
        let number = bill.number;
        let tabs_total = state.tabs_total(&payment.node, payment.site).to_bytes().to_vec();
        Ok(wire::PaymentPaid {
            number,
            voucher,
            refused,
            tabs_counted,
            tabs_total,
            ..wire::PaymentPaid::default()
        })
    }

    /// Tells the purse what the evidence comes to; where we signed for more, that is made up.
    fn make_up(&self, now: Instant, state: &mut State, key: PayeeKey) -> Result<(), PayingError> {
        let payee = key.0;
        let its = state.payees.iter().chain(&state.tabs).filter(|((account, ..), _)| *account == payee);
        let total: Amount = its.map(|(_, (tally, _))| tally.total()).sum();
        let known = self.purse.handle_received(now, payee, total)?;
        let missing = known.less(total);
        if let Some((tally, day)) = state.payees.get_mut(&key).filter(|_| !missing.is_zero()) {
            tally.make_up(missing);
            let change = Change { payees: vec![(key, *tally, *day)], ..Change::default() };
            self.store.keep(&change).inspect_err(|_| state.failed = true)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut state = poisoned.into_inner();
            state.failed = true;
            state
        })
    }

    fn working(&self) -> Result<MutexGuard<'_, State>, PayingError> {
        let state = self.lock();
        if state.failed { Err(PayingError::Failed) } else { Ok(state) }
    }
}

fn key(payment: &Payment) -> PayeeKey {
    (payment.payee, payment.node.to_bytes(), payment.site)
}

/// Sessions and bytes of the lines that are evidence; the places of those that are not.
fn evidence(payment: &Payment, lines: &[wire::BillLine]) -> (Vec<(Session, u64)>, Vec<u32>) {
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for (place, line) in (0..).zip(lines) {
        let signed = SignedReceipt { receipt: line.receipt.clone(), signature: line.signature.clone() };
        let holds = Receipt::open(&signed).ok().filter(|receipt| {
            receipt.provider == payment.node
                && receipt.site == Some(payment.site)
                // Nobody is paid for what it sends to itself.
                && receipt.receiver != payment.node
                && line.bytes <= receipt.bytes.saturating_add(receipt.edge_bytes)
        });
        match holds {
            Some(receipt) => good.push(((receipt.receiver.to_bytes(), receipt.session), line.bytes)),
            None => refused.push(place),
        }
    }
    (good, refused)
}
