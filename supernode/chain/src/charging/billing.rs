//! The side that is paid: what receivers signed for by site, billed to who pays for it, and whether to go on serving.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shared::{
    base::{Instant, SiteId, UnixSeconds},
    cdn::receipts::Receipt,
    economy::{
        Amount,
        agreement::Agreement,
        payee::{Accepted, ChannelView},
        payer::AnswerError,
        price::{Price, Unit},
        tally::Tally,
        voucher::SignedVoucher,
    },
    identity::{Account, PublicKey},
    wire::{Refusal, cdn::SignedReceipt, economy as wire},
};

use super::{
    payouts::Epochs,
    store::{Change, Line, LineKey, Site, Store},
    tab_store::{TabChange, TabKey},
    tabs::{BESIDE_LINES_MAX, HandedIn, TabTerms, Tabs},
};
use crate::{Purse, PurseError, Settlement, Stands, StoreError};

/// Lines of one bill: with their receipts some 50 KB, which a frame holds.
pub(super) const LINES_MAX: usize = 200;
/// Sessions that wait to be billed, or run: more than a node has links in an hour. At some 400 bytes, 40 MB.
const OPEN_MAX: usize = 100_000;

/// A payer that owes something is replaced after so long: a window a day is what that can cost.
const REPLACED_AFTER_SECONDS: u64 = 86_400;

/// Why nothing can be billed.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
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

/// What a link reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivered {
    /// A receiver signed for bytes of a site, in all of its session.
    Receipt {
        /// Whose content.
        site: SiteId,
        /// Of what it signed for by the edge, what is believed.
        edge: u64,
        /// What it signed.
        receipt: SignedReceipt,
    },
    /// A tab handed in what others signed for it.
    HandedIn(Box<HandedIn>),
    /// No more comes of a session.
    Ended {
        /// With whom.
        receiver: PublicKey,
        /// Which.
        session: u64,
    },
}

/// A bill, and what to remember until it is answered.
#[derive(Clone, Debug)]
pub struct Billed {
    /// To be sent.
    pub bill: wire::PaymentBill,
    /// Whether more lines wait than it had room for.
    pub more: bool,
    payer: Account,
    lines: Vec<(LineKey, u64)>,
    tabs: Vec<(TabKey, u64)>,
}

/// How a site stands.
#[derive(Clone, Debug)]
pub struct SiteStands {
    /// Which.
    pub site: SiteId,
    /// What its publisher agreed to.
    pub agreement: Agreement,
    /// Worth of what receivers signed for.
    pub tally: Tally,
    /// Bytes of that which were not billed yet.
    pub unbilled: u64,
    /// What its payer owes for what tabs gave, since ever.
    pub tabs: Option<Amount>,
    /// Its payer, over all its sites.
    pub payer: Stands,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sites: BTreeMap<SiteId, (Agreement, Site)>,
    lines: BTreeMap<LineKey, Line>,
    pub(super) tabs: Tabs,
    pub(super) epochs: Epochs,
    pub(super) failed: bool,
}

/// What is billed. Calls write to the disk; async callers wrap them in `spawn_blocking`.
#[derive(Debug)]
pub struct Billing {
    pub(super) store: Store,
    pub(super) purse: Arc<Purse>,
    pub(super) node: PublicKey,
    price: Price,
    /// What tabs are paid; nothing without.
    pub(super) tabs: Option<TabTerms>,
    /// What a payer is trusted with, where there is no chain.
    trusted: Amount,
    state: Mutex<State>,
}

impl Billing {
    /// Opens what `node` has to bill. Sessions that ran when it ended last have ended with it.
    ///
    /// # Errors
    /// [`BillingError`].
    pub fn open(
        path: &Path,
        purse: Arc<Purse>,
        node: PublicKey,
        (price, tabs): (Price, Option<TabTerms>),
        trusted: Amount,
        (now, unix): (Instant, UnixSeconds),
    ) -> Result<Self, BillingError> {
        let store = Store::open(path)?;
        let kept = store.read()?;
        let mut kept_tabs = store.read_tabs()?;
        let epochs = core::mem::take(&mut kept_tabs.epochs);
        let mut state = State { tabs: Tabs::resume(kept_tabs, tabs, unix), ..State::default() };
        for (id, site) in kept.sites {
            let agreement = Agreement::open(&site.signed);
            let agreement = agreement.map_err(|_| StoreError::Damaged("an agreement"))?;
            state.sites.insert(id, (agreement, site));
        }
        let (billed, open): (Vec<_>, Vec<_>) =
            kept.lines.into_iter().partition(|(_, line)| line.bytes == line.billed);
        store
            .keep(&Change { gone: billed.into_iter().map(|(key, _)| key).collect(), ..Change::default() })?;
        state.lines.extend(open.into_iter().map(|(key, line)| (key, Line { ended: true, ..line })));
        let billing = Self { store, purse, node, price, tabs, trusted, state: Mutex::new(state) };
        billing.resume_epochs(epochs)?;
        let sites: Vec<SiteId> = billing.lock().sites.keys().copied().collect();
        for site in sites {
            let mut state = billing.lock();
            billing.trust(&state, site)?;
            billing.count(now, &mut state, site)?;
            let payer = state.payer_of(site);
            payer.map_or(Ok(()), |payer| billing.credit(&mut state, payer))?;
        }
        Ok(billing)
    }

    // ── What is known ──

    /// What is asked for bytes of a site.
    pub fn price_of(&self, site: SiteId) -> Price {
        self.lock().sites.get(&site).map_or(self.price, |(_, site)| site.tally.price)
    }

    /// Whether somebody pays for a site at this time.
    pub fn is_agreed(&self, now: UnixSeconds, site: SiteId) -> bool {
        self.lock().sites.get(&site).is_some_and(|(agreement, _)| agreement.check(now).is_ok())
    }

    /// Who is paid.
    pub fn payee(&self) -> Account {
        self.purse.account()
    }

    /// Whether its payer owes half of what it may: time for a voucher.
    pub fn is_pressing(&self, site: SiteId) -> bool {
        let payer = self.lock().payer_of(site);
        let stands = payer.and_then(|payer| self.purse.stands(payer));
        stands.is_some_and(|stands| stands.owed >= stands.window.share(1, 2))
    }

    /// Whether its payer owes as much as it may, or cannot pay: nothing more is served then. False where nobody pays.
    pub fn is_overdue(&self, site: SiteId) -> bool {
        let payer = {
            let state = self.lock();
            if state.failed {
                return true;
            }
            state.payer_of(site)
        };
        payer.is_some_and(|payer| self.purse.allowance(payer).is_zero())
    }

    /// How all sites stand that somebody agreed to pay for.
    pub fn stands(&self) -> Vec<SiteStands> {
        let state = self.lock();
        let stands = state.sites.iter().map(|(id, (agreement, site))| SiteStands {
            site: *id,
            agreement: agreement.clone(),
            tally: site.tally,
            unbilled: state.unbilled(*id),
            tabs: state.tabs.debt_for(*id, agreement.payer),
            payer: self.purse.stands(agreement.payer).unwrap_or_default(),
        });
        stands.collect()
    }

    // ── The world speaks ──

    /// Who pays for a site shows what its publisher says. The newest replaces the one before, also that of another
    /// payer: what was billed to that one stays its debt. So who owes something is replaced once a day at most, or a
    /// publisher would name another payer whenever the window is full. `tabs_total` is what it has counted of tabs.
    ///
    /// # Errors
    /// [`BillingError`]; the refusal to tell, where it does not hold.
    pub fn handle_agreement(
        &self,
        now: Instant,
        unix: UnixSeconds,
        from: &PublicKey,
        id: SiteId,
        signed: &wire::SignedAgreement,
        tabs_total: Amount,
    ) -> Result<Result<(), Refusal>, BillingError> {
        let Ok(agreement) = Agreement::open(signed) else { return Ok(Err(Refusal::Malformed)) };
        let (Settlement::Unsettled(contract) | Settlement::Chain(contract)) = self.purse.settlement();
        if agreement.node != *from || agreement.contract != contract {
            return Ok(Err(Refusal::Forbidden));
        }
        if agreement.check(unix).is_err() {
            return Ok(Err(Refusal::Expired));
        }
        let mut guard = self.working()?;
        let state = &mut *guard;
        let unbilled = state.unbilled(id);
        let mut tabs = TabChange::default();
        let mut site = match state.sites.get(&id) {
            Some((known, _)) if known.issued > agreement.issued => return Ok(Err(Refusal::Superseded)),
            Some((known, site)) if known.payer == agreement.payer => site.clone(),
            Some((known, site)) => {
                let owes = self.purse.stands(known.payer).is_some_and(|stands| !stands.owed.is_zero());
                if owes && unix < site.since.plus(REPLACED_AFTER_SECONDS) {
                    return Ok(Err(Refusal::Unpaid));
                }
                state.tabs.replace_payer(id, &mut tabs);
                // It is billed what the one before was not.
                let tally = Tally { bytes: unbilled, ..Tally::new(self.price) };
                Site { signed: signed.clone(), tally, since: unix }
            }
            None => Site { signed: signed.clone(), tally: Tally::new(self.price), since: unix },
        };
        site.signed = signed.clone();
        // What is not billed yet was counted at the price before, and both sides must count alike.
        if unbilled == 0 {
            site.tally.set_price(self.price);
        }
        if !site.tally.price.is_at_most(agreement.price) {
            return Ok(Err(Refusal::OverBudget));
        }
        if let Some(terms) = self.tabs {
            state.tabs.meet((id, agreement.payer), terms, tabs_total, &mut tabs);
        }
        if !tabs.deals.is_empty() || state.sites.get(&id).is_none_or(|(_, known)| *known != site) {
            let change = Change { sites: vec![(id, site.clone())], tabs, ..Change::default() };
            self.store.keep(&change).inspect_err(|_| state.failed = true)?;
        }
        let payer = agreement.payer;
        state.sites.insert(id, (agreement, site));
        self.trust(state, id)?;
        self.count(now, state, id)?;
        self.credit(state, payer)?;
        Ok(Ok(()))
    }

    /// Takes what links reported. When this returns it is on the disk, and owed. Says of which sites there is more.
    ///
    /// # Errors
    /// [`BillingError`]; what does not hold is passed over.
    pub fn handle_delivered(
        &self,
        now: Instant,
        unix: UnixSeconds,
        news: Vec<Delivered>,
    ) -> Result<BTreeSet<SiteId>, BillingError> {
        let mut guard = self.working()?;
        let state = &mut *guard;
        let (mut changed, mut gone) = (BTreeSet::new(), Vec::new());
        let mut tabs = TabChange::default();
        let mut sites = BTreeSet::new();
        for news in news {
            match news {
                Delivered::Receipt { site, edge, receipt } => {
                    if let Some(key) = self.take(state, unix, site, edge, receipt) {
                        changed.insert(key);
                        sites.insert(site);
                    }
                }
                Delivered::HandedIn(handed) => {
                    let site = handed.earner.site;
                    let taken = self.take_handed_in(state, unix, *handed, &mut tabs);
                    if taken.inspect_err(|_| state.failed = true)? {
                        sites.insert(site);
                    }
                }
                Delivered::Ended { receiver, session } => {
                    let receiver = receiver.to_bytes();
                    let keys = state.sites.keys().map(|site| (*site, receiver, session));
                    for key in keys {
                        let Some(line) = state.lines.get_mut(&key) else { continue };
                        line.ended = true;
                        changed.insert(key);
                    }
                }
            }
        }
        for key in &changed {
            if state.lines.get(key).is_some_and(|line| line.ended && line.bytes == line.billed) {
                state.lines.remove(key);
                gone.push(*key);
            }
        }
        let lines = changed.iter().filter_map(|key| Some((*key, state.lines.get(key)?.clone())));
        let counted = sites.iter().filter_map(|id| Some((*id, state.sites.get(id)?.1.clone())));
        let (lines, counted) = (lines.collect(), counted.collect());
        let change = Change { lines, gone, sites: counted, tabs, ..Change::default() };
        if !changed.is_empty() || !sites.is_empty() || change.tabs.forget_days {
            self.store.keep(&change).inspect_err(|_| state.failed = true)?;
        }
        for site in &sites {
            self.count(now, state, *site)?;
        }
        Ok(sites)
    }

    /// The bill that is due for a site: with lines where there are any, and without them where something is owed.
    ///
    /// # Errors
    /// [`BillingError`].
    pub fn bill(&self, site: SiteId, number: u64) -> Result<Option<Billed>, BillingError> {
        let state = self.working()?;
        let Some(payer) = state.payer_of(site) else { return Ok(None) };
        let open = state.lines_of(site).filter(|(_, line)| line.bytes > line.billed).take(LINES_MAX);
        let (mut keys, mut lines) = (Vec::new(), Vec::new());
        for (key, line) in open {
            keys.push((*key, line.bytes));
            lines.push(wire::BillLine {
                receipt: line.receipt.receipt.clone(),
                signature: line.receipt.signature.clone(),
                bytes: line.bytes,
            });
        }
        let beside = lines.len() <= BESIDE_LINES_MAX;
        let tab_price = state.tab_price(self.tabs, site).filter(|_| beside);
        let allowance = self.purse.allowance(payer);
        let tabs = tab_price.map(|price| state.tabs.bill(site, price, allowance));
        let (tabs, tab_lines, more_tabs) = tabs.unwrap_or_default();
        let stands = self.purse.stands(payer).unwrap_or_default();
        if lines.is_empty() && tabs.is_empty() && stands.total <= stands.paid {
            return Ok(None);
        }
        let newest = self.purse.answer(payer)?.newest;
        let more = lines.len() >= LINES_MAX || more_tabs || !beside;
        let bill = wire::PaymentBill { number, lines, newest, tabs: tab_lines };
        Ok(Some(Billed { bill, more, payer, lines: keys, tabs }))
    }

    /// A bill was answered. When this returns its voucher is on the disk, and more may be served. Says whether it brought
    /// money.
    ///
    /// # Errors
    /// [`BillingError`]; nothing has changed where the voucher is refused.
    pub fn handle_paid(
        &self,
        now: Instant,
        unix: UnixSeconds,
        site: SiteId,
        billed: &Billed,
        paid: &wire::PaymentPaid,
    ) -> Result<bool, BillingError> {
        let mut guard = self.working()?;
        let state = &mut *guard;
        if paid.refusal == 0 && state.payer_of(site) == Some(billed.payer) {
            // Before the voucher, which is for it too.
            self.accept(now, state, site, &billed.tabs, paid)?;
        }
        let mut gained = false;
        if let Some(voucher) = &paid.voucher {
            let voucher =
                SignedVoucher::from_wire(voucher).ok_or(PurseError::Answer(AnswerError::Malformed))?;
            let accepted = self.purse.handle_voucher(now, unix, &voucher)?;
            gained = matches!(accepted, Accepted::Newer { .. });
        }
        self.credit(state, billed.payer)?;
        if paid.refusal != 0 {
            return Ok(gained);
        }
        if !paid.refused.is_empty() {
            // They stay owed: who refuses what it got must not get more for it.
            tracing::warn!(%site, lines = paid.refused.len(), "a payer takes lines of a bill for no evidence");
        }
        let mut change = Change::default();
        for (key, bytes) in &billed.lines {
            let Some(line) = state.lines.get_mut(key) else { continue };
            line.billed = *bytes;
            if line.ended && line.bytes == line.billed {
                state.lines.remove(key);
                change.gone.push(*key);
            } else {
                change.lines.push((*key, line.clone()));
            }
        }
        self.store.keep(&change).inspect_err(|_| state.failed = true)?;
        Ok(gained)
    }

    /// Takes a receipt; tells whose session has more by it.
    fn take(
        &self,
        state: &mut State,
        unix: UnixSeconds,
        id: SiteId,
        edge: u64,
        signed: SignedReceipt,
    ) -> Option<LineKey> {
        let full = state.lines.len() >= OPEN_MAX;
        let (_, site) = state.sites.get_mut(&id).filter(|(agreement, _)| agreement.check(unix).is_ok())?;
        let receipt = Receipt::open(&signed).ok()?;
        if receipt.provider != self.node || receipt.site != Some(id) {
            return None;
        }
        let bytes = receipt.bytes.saturating_add(edge.min(receipt.edge_bytes));
        let key = (id, receipt.receiver.to_bytes(), receipt.session);
        if full && !state.lines.contains_key(&key) {
            return None;
        }
        let line = state.lines.entry(key).or_insert_with(|| Line {
            bytes: 0,
            billed: 0,
            ended: false,
            receipt: signed.clone(),
        });
        if bytes <= line.bytes {
            return None;
        }
        site.tally.add(bytes - line.bytes);
        line.bytes = bytes;
        line.receipt = signed;
        Some(key)
    }

    /// Tells the purse that this site's payer may owe us.
    fn trust(&self, state: &State, id: SiteId) -> Result<(), BillingError> {
        let Some((agreement, site)) = state.sites.get(&id) else { return Ok(()) };
        self.purse.sell(agreement.payer, Unit::Bytes, site.tally.price)?;
        if matches!(self.purse.settlement(), Settlement::Unsettled(_)) {
            let view = ChannelView { ceiling: self.trusted, ..ChannelView::default() };
            self.purse.handle_view(agreement.payer, view);
        }
        Ok(())
    }

    /// Tells the purse what a site's payer got in all; where it paid for more, that is made up.
    pub(super) fn count(&self, now: Instant, state: &mut State, id: SiteId) -> Result<(), BillingError> {
        let Some(payer) = state.payer_of(id) else { return Ok(()) };
        let its = state.sites.values().filter(|(agreement, _)| agreement.payer == payer);
        let total: Amount = its.map(|(_, site)| site.tally.total()).sum();
        let total = total.plus(state.tabs.debt_of(payer));
        let missing = self.purse.handle_delivered(now, payer, total)?.less(total);
        if let Some((_, site)) = state.sites.get_mut(&id).filter(|_| !missing.is_zero()) {
            site.tally.make_up(missing);
            let change = Change { sites: vec![(id, site.clone())], ..Change::default() };
            self.store.keep(&change).inspect_err(|_| state.failed = true)?;
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut state = poisoned.into_inner();
            state.failed = true;
            state
        })
    }

    pub(super) fn working(&self) -> Result<MutexGuard<'_, State>, BillingError> {
        let state = self.lock();
        if state.failed { Err(BillingError::Failed) } else { Ok(state) }
    }
}

impl State {
    pub(super) fn payer_of(&self, site: SiteId) -> Option<Account> {
        self.sites.get(&site).map(|(agreement, _)| agreement.payer)
    }

    fn lines_of(&self, site: SiteId) -> impl Iterator<Item = (&LineKey, &Line)> {
        let from = Bound::Included((site, [0; 32], 0));
        let to = Bound::Included((site, [u8::MAX; 32], u64::MAX));
        self.lines.range((from, to))
    }

    /// Bytes of a site that are not billed yet.
    fn unbilled(&self, site: SiteId) -> u64 {
        self.lines_of(site).map(|(_, line)| line.bytes - line.billed).sum()
    }
}
