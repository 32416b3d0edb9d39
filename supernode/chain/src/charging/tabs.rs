//! What tabs gave to each other, on the side of the node that serves their site: which of it counts, what of that the site's
//! payer counted too, and whose it is once it was paid.
//!
//! ```text
//! tab hands in ─ rule: earnings ─► counts ─ bill ─► accepted by the payer ─ its money is here ─► credited to an account
//! ```
//! The node gave nothing of this, so nothing of it is a debt before the payer has counted it itself; what it does not count
//! is dropped. And nothing is an account's before the payer's money covers all that tabs gave on its bill: of what a payer
//! pays, tabs come first. So nobody earns by a payer that does not pay, and least of all the payer itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use shared::{
    base::{Instant, SiteId, UnixSeconds},
    cdn::{earner::Earner, receipts::Receipt},
    economy::{
        Amount,
        earnings::{Delivery, Earnings, NetworkPrefix, Terms},
        price::Price,
        tally::Tally,
    },
    identity::{Account, PublicKey},
    wire::{
        cdn::{SignedEarner, SignedReceipt},
        economy as wire,
    },
};

use super::{
    billing::{Billing, BillingError, State},
    store::{Change, Store},
    tab_store::{Deal, Earned, EarnerKey, KeptTabs, TabChange, TabKey, TabLine, Verifier},
};
use crate::StoreError;

/// Lines of tabs in one bill: with receipts and the tabs' words some 45 KB, which a frame holds
pub(super) const TAB_LINES_MAX: usize = 100;
/// beside no more than so many others.
pub(super) const BESIDE_LINES_MAX: usize = 50;
/// Sessions of tabs that wait to be billed or paid: at some kilobyte, 50 MB.
const OPEN_MAX: usize = 50_000;
/// A session counts from here on. It is remembered for ever, so it has to be worth that.
const SESSION_BYTES_MIN: u64 = 64 * 1024;

/// What a node says about tabs of the sites it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TabTerms {
    /// What is asked for them, and given to them.
    pub price: Price,
    /// Visits that count from one network in a day.
    pub visits_per_network: u32,
}

/// What a tab handed in.
#[derive(Clone, Debug, PartialEq)]
pub struct HandedIn {
    /// Who is paid, verified,
    pub earner: Earner,
    /// and as it was signed.
    pub signed: SignedEarner,
    /// From where the tab gave.
    pub network: NetworkPrefix,
    /// What the site has, in all.
    pub content_bytes: u64,
    /// What others signed for it, and from where; not verified.
    pub receipts: Vec<(SignedReceipt, NetworkPrefix)>,
}

/// What is known of tabs. Sessions and accounts are looked up on the disk.
#[derive(Debug, Default)]
pub(super) struct Tabs {
    /// Days since 1970.
    day: u64,
    /// What counted in that day.
    by_site: BTreeMap<SiteId, Earnings>,
    deals: BTreeMap<(SiteId, Account), Deal>,
    lines: BTreeMap<TabKey, TabLine>,
}

impl Tabs {
    pub(super) fn resume(kept: KeptTabs, terms: Option<TabTerms>, unix: UnixSeconds) -> Self {
        let mut tabs = Self { day: day(unix), ..Self::default() };
        let mut verified: BTreeMap<SiteId, (BTreeMap<_, _>, BTreeMap<_, _>)> = BTreeMap::new();
        for (site, verifier, of, bytes) in kept.days {
            if of != tabs.day {
                continue;
            }
            let (receivers, networks) = verified.entry(site).or_default();
            match verifier {
                Verifier::Receiver(key) => receivers.insert(key, bytes),
                Verifier::Network(network) => networks.insert(network, bytes),
            };
        }
        if let Some(terms) = terms {
            let resume = |(receivers, networks)| Earnings::resume(rule(terms, 0), receivers, networks);
            tabs.by_site = verified.into_iter().map(|(site, of)| (site, resume(of))).collect();
        }
        tabs.deals = kept.deals.into_iter().collect();
        tabs.lines = kept.lines.into_iter().collect();
        tabs
    }

    /// What a payer owes for tabs since ever, over all sites.
    pub(super) fn debt_of(&self, payer: Account) -> Amount {
        self.deals.iter().filter(|((_, of), _)| *of == payer).map(|(_, deal)| deal.debt).sum()
    }

    /// And for those of one site.
    pub(super) fn debt_for(&self, site: SiteId, payer: Account) -> Option<Amount> {
        self.deals.get(&(site, payer)).map(|deal| deal.debt)
    }

    /// A site's payer comes, and says what it has counted in all. Where one of us has lost its file, it begins from there.
    pub(super) fn meet(
        &mut self,
        (site, payer): (SiteId, Account),
        terms: TabTerms,
        total: Amount,
        change: &mut TabChange,
    ) {
        let new = Deal { told: total, debt: Amount::ZERO, credited: Tally::new(terms.price) };
        let deal = match self.deals.get(&(site, payer)) {
            None if total.is_zero() => return,
            None => new,
            Some(known) => Deal { told: total, debt: known.debt.plus(total.less(known.told)), ..*known },
        };
        if self.deals.insert((site, payer), deal) != Some(deal) {
            change.deals.push(((site, payer), deal));
        }
    }

    pub(super) fn lines_of(&self, site: SiteId) -> impl Iterator<Item = (&TabKey, &TabLine)> {
        let from = Bound::Included((site, [0; 32], [0; 32], 0));
        let to = Bound::Included((site, [u8::MAX; 32], [u8::MAX; 32], u64::MAX));
        self.lines.range((from, to))
    }

    /// The lines that are due for a site, and how many bytes each says; for no more than the payer may owe. Tells whether
    /// more is due than that.
    pub(super) fn bill(
        &self,
        site: SiteId,
        price: Price,
        allowance: Amount,
    ) -> (Vec<(TabKey, u64)>, Vec<wire::TabLine>, bool) {
        let mut room =
            allowance.units().saturating_mul(price.per.get().into()) / u128::from(price.amount.max(1));
        let all: u64 = self.lines_of(site).map(|(_, line)| line.bytes - line.accepted).sum();
        let (mut keys, mut lines, mut billed) = (Vec::new(), Vec::new(), 0);
        for (key, line) in self.lines_of(site).filter(|(_, line)| line.bytes > line.accepted) {
            let more = (line.bytes - line.accepted).min(u64::try_from(room).unwrap_or(u64::MAX));
            if more == 0 || lines.len() >= TAB_LINES_MAX {
                break;
            }
            room -= u128::from(more);
            billed += more;
            keys.push((*key, line.accepted + more));
            lines.push(line.to_wire(line.accepted + more));
        }
        let more = billed > 0 && billed < all;
        (keys, lines, more)
    }

    /// The price that was agreed on with a site's payer, or is asked.
    fn price_with(&self, site: SiteId, payer: Account, asked: Price) -> Price {
        self.deals.get(&(site, payer)).map_or(asked, |deal| deal.credited.price)
    }

    /// Somebody else pays for a site from now on: what was counted and not paid is billed anew.
    pub(super) fn replace_payer(&mut self, site: SiteId, change: &mut TabChange) {
        let keys: Vec<TabKey> = self.lines_of(site).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(line) = self.lines.get_mut(&key).filter(|line| line.accepted > line.credited) else {
                continue;
            };
            line.accepted = line.credited;
            change.lines.push((key, line.clone()));
        }
    }

    /// The day that it is.
    fn begin_day(&mut self, unix: UnixSeconds, change: &mut TabChange) {
        // A clock that was set back opens no new day.
        if day(unix) > self.day {
            self.day = day(unix);
            self.by_site.clear();
            change.forget_days = true;
            change.days.clear();
        }
    }

    /// Takes what a tab handed in; tells whether there is more to bill by it.
    fn take(
        &mut self,
        terms: TabTerms,
        node: &PublicKey,
        handed: HandedIn,
        store: &Store,
        change: &mut TabChange,
    ) -> Result<bool, StoreError> {
        let HandedIn { earner, signed, network, content_bytes, receipts } = handed;
        let site = earner.site;
        let earnings = self.by_site.entry(site).or_insert_with(|| Earnings::new(rule(terms, 0)));
        earnings.set_content_bytes(content_bytes);
        let mut more = false;
        for (receipt, receiver_network) in receipts {
            let Ok(Receipt { provider, receiver, session, bytes, site: of, .. }) = Receipt::open(&receipt)
            else {
                continue;
            };
            let between_tabs = provider == earner.tab && receiver != provider;
            if !between_tabs || of != Some(site) || receiver == *node || provider == *node {
                continue;
            }
            let key = (site, provider.to_bytes(), receiver.to_bytes(), session);
            let full = self.lines.len() >= OPEN_MAX && !self.lines.contains_key(&key);
            let counted = match change.sessions.iter().rfind(|(known, _)| *known == key) {
                Some((_, counted)) => *counted,
                None => store.tab_session(&key)?,
            };
            if full || (counted == 0 && bytes < SESSION_BYTES_MIN) {
                continue;
            }
            let delivery = Delivery {
                earner: Account(earner.account),
                earner_network: network,
                receiver: receiver.clone(),
                receiver_network,
                bytes: bytes.saturating_sub(counted),
            };
            let counts = earnings.handle_delivery(&delivery);
            if counts == 0 {
                continue;
            }
            let line = self.lines.entry(key).or_insert_with(|| TabLine {
                bytes: 0,
                accepted: counted,
                credited: counted,
                account: Account(earner.account),
                receipt: receipt.clone(),
                earner: signed.clone(),
            });
            line.bytes = counted + counts;
            (line.account, line.earner, line.receipt) = (Account(earner.account), signed.clone(), receipt);
            change.sessions.push((key, line.bytes));
            change.lines.push((key, line.clone()));
            let (by, within) = (earnings.verified_by(&receiver), earnings.verified_in(&receiver_network));
            change.days.push((site, Verifier::Receiver(receiver), self.day, by));
            change.days.push((site, Verifier::Network(receiver_network), self.day, within));
            more = true;
        }
        Ok(more)
    }

    /// The payer counted these of a bill's lines, and none of the others: those are dropped. And it said what that comes to
    /// in all, which is its debt.
    fn accept(
        &mut self,
        (site, payer): (SiteId, Account),
        asked: Price,
        billed: &[(TabKey, u64)],
        (counted, total): (&BTreeSet<u32>, Amount),
        change: &mut TabChange,
    ) {
        for (place, (key, bytes)) in (0..).zip(billed) {
            let Some(line) = self.lines.get_mut(key) else { continue };
            if counted.contains(&place) {
                line.accepted = line.accepted.max(*bytes);
            } else {
                // It is as if it had not come: both sides go on from what was counted.
                line.bytes = line.accepted;
                change.sessions.push((*key, line.accepted));
            }
            self.keep_line(*key, change);
        }
        let new = Deal { told: Amount::ZERO, debt: Amount::ZERO, credited: Tally::new(asked) };
        let deal = self.deals.entry((site, payer)).or_insert(new);
        deal.debt = deal.debt.plus(total.less(deal.told));
        deal.told = deal.told.max(total);
        change.deals.push(((site, payer), *deal));
    }

    /// Writes a line, or that nothing of it is open any more.
    fn keep_line(&mut self, key: TabKey, change: &mut TabChange) {
        let Some(line) = self.lines.get(&key) else { return };
        if line.bytes == line.credited {
            self.lines.remove(&key);
            change.gone.push(key);
        } else {
            change.lines.push((key, line.clone()));
        }
    }

    /// What a payer counted at a site is paid: it is its tabs'.
    fn credit(
        &mut self,
        site: SiteId,
        payer: Account,
        store: &Store,
        change: &mut TabChange,
    ) -> Result<(), StoreError> {
        let Some(mut deal) = self.deals.get(&(site, payer)).copied() else { return Ok(()) };
        let accepted = self.lines_of(site).filter(|(_, line)| line.accepted > line.credited);
        let due: Vec<TabKey> = accepted.map(|(key, _)| *key).collect();
        let mut earners: BTreeMap<EarnerKey, Earned> = BTreeMap::new();
        for key in due {
            let Some(line) = self.lines.get_mut(&key) else { continue };
            let gained = line.accepted - line.credited;
            let mut credited = deal.credited;
            credited.add(gained);
            // Accounts together never have more than the payer said.
            if credited.total() > deal.debt {
                continue;
            }
            deal.credited = credited;
            let earner = (line.account, site, payer);
            let known = match earners.get(&earner) {
                Some(known) => Some(*known),
                None => store.earned_of(&earner)?,
            };
            let new = Earned { tally: Tally::new(credited.price), in_epochs: Amount::ZERO };
            let mut earned = known.unwrap_or(new);
            earned.tally.set_price(credited.price);
            earned.tally.add(gained);
            earners.insert(earner, earned);
            line.credited = line.accepted;
            self.keep_line(key, change);
        }
        if !earners.is_empty() {
            self.deals.insert((site, payer), deal);
            change.deals.push(((site, payer), deal));
            change.earners.extend(earners);
        }
        Ok(())
    }
}

impl TabLine {
    fn to_wire(&self, bytes: u64) -> wire::TabLine {
        let line = wire::BillLine {
            receipt: self.receipt.receipt.clone(),
            signature: self.receipt.signature.clone(),
            bytes,
        };
        let SignedEarner { earner, signature } = self.earner.clone();
        wire::TabLine { line: Some(line), earner, earner_signature: signature }
    }
}

impl Billing {
    /// Whether tabs are paid here.
    pub const fn pays_tabs(&self) -> bool {
        self.tabs.is_some()
    }

    /// What is asked for what tabs give of a site; nothing where its publisher agreed to pay nothing for that. Another price
    /// than before is asked once nothing is open at that one.
    pub fn tab_price_of(&self, site: SiteId) -> Option<Price> {
        let (mut guard, asked) = (self.lock(), self.tabs?.price);
        let state = &mut *guard;
        let payer = state.payer_of(site)?;
        if state.tabs.lines_of(site).next().is_none()
            && let Some(deal) = state.tabs.deals.get_mut(&(site, payer))
        {
            deal.credited.set_price(asked);
        }
        state.tab_price(self.tabs, site)
    }

    /// Takes what a tab handed in, before it is written; tells whether there is more to bill by it.
    pub(super) fn take_handed_in(
        &self,
        state: &mut State,
        unix: UnixSeconds,
        handed: HandedIn,
        change: &mut TabChange,
    ) -> Result<bool, StoreError> {
        let site = handed.earner.site;
        let agreed = state.sites.get(&site).is_some_and(|(agreement, _)| agreement.check(unix).is_ok());
        let (Some(terms), Some(_)) = (self.tabs, state.tab_price(self.tabs, site).filter(|_| agreed)) else {
            return Ok(false);
        };
        state.tabs.begin_day(unix, change);
        state.tabs.take(terms, &self.node, handed, &self.store, change)
    }

    /// Writes what the answer of a site's payer says of tabs: its debt from now on.
    pub(super) fn accept(
        &self,
        now: Instant,
        state: &mut State,
        site: SiteId,
        billed: &[(TabKey, u64)],
        paid: &wire::PaymentPaid,
    ) -> Result<(), BillingError> {
        let (Some(payer), Some(terms)) = (state.payer_of(site), self.tabs) else { return Ok(()) };
        if billed.is_empty() {
            return Ok(());
        }
        let counted: BTreeSet<u32> = paid.tabs_counted.iter().copied().collect();
        let total = Amount::from_bytes(&paid.tabs_total).unwrap_or(Amount::ZERO);
        let mut change = TabChange::default();
        state.tabs.accept((site, payer), terms.price, billed, (&counted, total), &mut change);
        self.keep_tabs(state, change)?;
        self.count(now, state, site)
    }

    /// Gives accounts what is theirs, as far as a payer's money covers all that it counted.
    pub(super) fn credit(&self, state: &mut State, payer: Account) -> Result<(), BillingError> {
        let stands = self.purse.stands(payer).unwrap_or_default();
        if stands.total.less(stands.owed) < state.tabs.debt_of(payer) {
            return Ok(());
        }
        let of_payer = state.sites.iter().filter(|(_, (agreement, _))| agreement.payer == payer);
        let sites: Vec<SiteId> = of_payer.map(|(site, _)| *site).collect();
        let mut change = TabChange::default();
        for site in sites {
            state.tabs.credit(site, payer, &self.store, &mut change)?;
        }
        self.keep_tabs(state, change)
    }

    fn keep_tabs(&self, state: &mut State, tabs: TabChange) -> Result<(), BillingError> {
        let empty = tabs.deals.is_empty() && tabs.lines.is_empty() && tabs.gone.is_empty();
        if !empty {
            let change = Change { tabs, ..Change::default() };
            self.store.keep(&change).inspect_err(|_| state.failed = true)?;
        }
        Ok(())
    }
}

impl State {
    /// What is asked for tabs of a site, where it is no more than its publisher agreed to.
    pub(super) fn tab_price(&self, terms: Option<TabTerms>, site: SiteId) -> Option<Price> {
        let (agreement, _) = self.sites.get(&site)?;
        let (most, payer) = (agreement.tabs?, agreement.payer);
        let price = self.tabs.price_with(site, payer, terms?.price);
        price.is_at_most(most).then_some(price)
    }
}

fn rule(terms: TabTerms, content_bytes: u64) -> Terms {
    let TabTerms { price, visits_per_network } = terms;
    // Who pays holds the pot: what does not fit in it is not counted there.
    Terms { content_bytes, visits_per_network, price, pot: Amount::MAX }
}

fn day(unix: UnixSeconds) -> u64 {
    unix.0 / 86_400
}
