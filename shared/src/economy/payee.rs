//! The other side of a channel: what a payer may still have before it pays, and which of its vouchers is the newest.
//!
//! ```text
//! voucher ─ handle_voucher ─► Accepted ─ the shell keeps it ─ handle_kept ─► more may be served
//! ```
//! What is not on our disk is not money: only a kept voucher opens the window again. All that a payer owes, over all its
//! sessions, stays within one window; nothing is forgiven for hanging up.

use std::collections::BTreeSet;

use super::{
    Amount,
    bill::Bill,
    exposure::Exposure,
    price::{Price, Unit},
    voucher::SignedVoucher,
};
use crate::{
    base::Instant,
    identity::{Account, AccountPublicKey, eip712::Separator},
    wire::economy as wire,
};

/// A payer needs a hot key or two; a longer list of its making is not remembered.
pub const SIGNERS_MAX: usize = 8;

/// What of a payee is kept between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayeeState {
    /// The newest voucher.
    pub newest: Option<SignedVoucher>,
    /// Worth of what was sent since ever.
    pub delivered: Amount,
}

/// What the chain says of a channel; or, without a chain, what its operator trusts a payer with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelView {
    /// Vouchers are money up to here.
    pub ceiling: Amount,
    /// Of that, claimed.
    pub claimed: Amount,
    /// The payer takes its money back soon.
    pub thawing: bool,
    /// Hot keys that may sign and are not being revoked; the payer's own always may. At most [`SIGNERS_MAX`] count.
    pub signers: BTreeSet<Account>,
}

/// What a voucher brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// To be kept, and then told by [`Payee::handle_kept`].
    Newer {
        /// More than before by this.
        amount: Amount,
    },
    /// Says nothing new. Where the payer thinks otherwise, [`Payee::answer`] tells it.
    Nothing,
}

/// Why a voucher is no promise to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoucherRefused {
    /// Of another payer, or to another payee.
    #[error("the voucher is of another channel")]
    OfAnother,
    /// Signed by nobody, or by somebody who may not.
    #[error("the voucher is not signed by its payer or a key that may sign for it")]
    Signature,
}

/// Towards one payer.
#[derive(Clone, Debug)]
pub struct Payee {
    account: Account,
    payer: Account,
    separator: Separator,
    view: ChannelView,
    bill: Bill,
    /// The newest that was accepted, kept or not.
    newest: Option<SignedVoucher>,
    kept: Amount,
    exposure: Exposure,
    /// Who signed last: checking by a known key takes less than half the time.
    known: Option<AccountPublicKey>,
}

impl Payee {
    /// Towards `payer`; `start` is the worth that a stranger may owe.
    pub fn new(
        account: Account,
        payer: Account,
        separator: Separator,
        start: Amount,
        state: PayeeState,
    ) -> Self {
        let kept = state.newest.map_or(Amount::ZERO, |newest| newest.voucher.cumulative);
        Self {
            account,
            payer,
            separator,
            view: ChannelView::default(),
            bill: Bill::resume(state.delivered),
            newest: state.newest,
            kept,
            exposure: Exposure::new(start),
            known: None,
        }
    }

    /// What to keep, with each voucher and from time to time between.
    pub fn state(&self) -> PayeeState {
        PayeeState { newest: self.newest, delivered: self.bill.total() }
    }

    /// The newest voucher, to claim.
    pub fn newest(&self) -> Option<&SignedVoucher> {
        self.newest.as_ref()
    }

    /// Delivered and not covered by money.
    pub fn owed(&self) -> Amount {
        self.bill.total().less(self.kept.min(self.view.ceiling))
    }

    /// What may be served now, in worth: the window's rest, and never beyond the ceiling, where there is no money.
    pub fn allowance(&self) -> Amount {
        if self.view.thawing {
            return Amount::ZERO;
        }
        let window = self.exposure.window().less(self.owed());
        window.min(self.view.ceiling.less(self.bill.total()))
    }

    /// What the window is now.
    pub fn window(&self) -> Amount {
        self.exposure.window()
    }

    /// What to tell a payer that seems to have another count.
    pub fn answer(&self) -> wire::VoucherAnswer {
        wire::VoucherAnswer {
            newest: self.newest.as_ref().map(SignedVoucher::to_wire),
            delivered: self.bill.total().to_bytes().to_vec(),
        }
    }

    /// So many units were sent; tells whether they have a price.
    #[must_use]
    pub fn handle_sent(&mut self, now: Instant, unit: Unit, units: u64) -> bool {
        let counted = self.bill.count(unit, units);
        self.exposure.handle_owed(now, self.owed());
        counted
    }

    /// Evidence that is kept says what was delivered since ever. What was paid counts without; what was neither paid nor
    /// can be shown is owed by nobody. Tells the sum.
    pub fn handle_evidence(&mut self, now: Instant, total: Amount) -> Amount {
        let paid = self.newest.map_or(Amount::ZERO, |newest| newest.voucher.cumulative);
        self.bill = Bill::resume_with(&self.bill, total.max(paid));
        self.exposure.handle_owed(now, self.owed());
        self.bill.total()
    }

    /// A voucher came.
    ///
    /// # Errors
    /// [`VoucherRefused`]; nothing has changed then.
    pub fn handle_voucher(&mut self, signed: &SignedVoucher) -> Result<Accepted, VoucherRefused> {
        if signed.voucher.payer != self.payer || signed.voucher.payee != self.account {
            return Err(VoucherRefused::OfAnother);
        }
        let before = self.newest.map_or(Amount::ZERO, |newest| newest.voucher.cumulative);
        let amount = signed.voucher.cumulative.less(before);
        // Before the signature: a replay costs us nothing.
        if amount.is_zero() {
            return Ok(Accepted::Nothing);
        }
        let digest = signed.voucher.digest(&self.separator);
        let known = self.known.filter(|key| key.verify(&digest, &signed.signature));
        let signer = known.or_else(|| signed.signature.recover(&digest)).ok_or(VoucherRefused::Signature)?;
        let account = signer.account();
        let may_sign = account == self.payer || self.view.signers.contains(&account);
        if !may_sign {
            return Err(VoucherRefused::Signature);
        }
        self.known = Some(signer);
        self.newest = Some(*signed);
        Ok(Accepted::Newer { amount })
    }

    /// The voucher of this sum is on the disk.
    pub fn handle_kept(&mut self, now: Instant, cumulative: Amount) {
        let newest = self.newest.map_or(Amount::ZERO, |newest| newest.voucher.cumulative);
        assert!(cumulative <= newest, "a voucher is accepted before it is kept");
        let money = |sum: Amount| sum.min(self.view.ceiling);
        let gained = money(cumulative).less(money(self.kept));
        if !gained.is_zero() {
            self.exposure.handle_paid(now, gained);
        }
        self.kept = self.kept.max(cumulative);
    }

    /// What units cost from now on.
    pub fn set_price(&mut self, unit: Unit, price: Price) {
        self.bill.set_price(unit, price);
    }

    /// What the chain says now.
    pub fn set_view(&mut self, mut view: ChannelView) {
        while view.signers.len() > SIGNERS_MAX {
            view.signers.pop_last();
        }
        self.view = view;
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;

    use super::*;
    use crate::{
        economy::{
            payer::{Agreement, AnswerError, Payer, PayerState},
            voucher::{ChannelContract, Voucher},
        },
        identity::AccountKey,
    };

    const START: Amount = Amount::of(100);
    const NOW: Instant = Instant::from_micros(0);
    const PRICE: Price = Price { amount: 1, per: NonZeroU64::MIN };

    struct Pair {
        key: AccountKey,
        separator: Separator,
        payer: Payer,
        payee: Payee,
    }

    fn pair() -> Pair {
        let key = AccountKey::from_secret([1; 32]).unwrap();
        let (own, other) = (key.account(), Account([2; 20]));
        let separator = ChannelContract { chain_id: 1, address: Account([3; 20]) }.separator();
        let mut payer = Payer::new(own, other, separator, START, PayerState::default());
        let mut payee = Payee::new(other, own, separator, START, PayeeState::default());
        payer.set_price(Unit::Bytes, PRICE);
        payee.set_price(Unit::Bytes, PRICE);
        payer.set_ceiling(Amount::of(1_000_000));
        payee.set_view(ChannelView { ceiling: Amount::of(1_000_000), ..ChannelView::default() });
        Pair { key, separator, payer, payee }
    }

    impl Pair {
        /// Sends what is allowed, at most `units`; the payer verifies that many for each hundred sent.
        fn serve(&mut self, units: u64, verified_of_hundred: u64) -> u64 {
            let allowed = u64::try_from(self.payee.allowance().units()).unwrap().min(units);
            assert!(self.payee.handle_sent(NOW, Unit::Bytes, allowed));
            assert!(self.payer.handle_verified(NOW, Unit::Bytes, allowed * verified_of_hundred / 100));
            allowed
        }

        fn pay(&mut self, settle: bool) -> Option<SignedVoucher> {
            let voucher = self.payer.poll_voucher(NOW, settle)?.sign(&self.separator, &self.key);
            if let Ok(Accepted::Newer { .. }) = self.payee.handle_voucher(&voucher) {
                self.payee.handle_kept(NOW, voucher.voucher.cumulative);
            }
            Some(voucher)
        }
    }

    #[test]
    fn service_goes_on_as_long_as_it_is_paid() {
        let mut pair = pair();
        let mut served = 0;
        for _ in 0..50 {
            served += pair.serve(10_000, 100);
            pair.pay(false);
        }
        pair.pay(true);
        assert!(served > 100_000, "{served}");
        assert_eq!(pair.payee.newest().unwrap().voucher.cumulative, Amount::of(served));
        assert_eq!(pair.payee.owed(), Amount::ZERO);
        assert_eq!(pair.payer.owed(), Amount::ZERO);
        assert_eq!(pair.payee.window(), Amount::of(100 << 8));
    }

    #[test]
    fn who_does_not_pay_gets_one_window() {
        let mut pair = pair();
        assert_eq!((0..10).map(|_| pair.serve(60, 100)).sum::<u64>(), 100);
        // Nor does coming back help.
        pair.payee =
            Payee::new(Account([2; 20]), pair.key.account(), pair.separator, START, pair.payee.state());
        pair.payee.set_price(Unit::Bytes, PRICE);
        pair.payee.set_view(ChannelView { ceiling: Amount::of(1_000_000), ..ChannelView::default() });
        assert_eq!(pair.serve(60, 100), 0);
    }

    #[test]
    fn a_voucher_counts_once_it_is_kept_and_up_to_the_ceiling() {
        let mut pair = pair();
        pair.serve(100, 100);
        let voucher = pair.payer.poll_voucher(NOW, true).unwrap().sign(&pair.separator, &pair.key);
        assert_eq!(pair.payee.handle_voucher(&voucher), Ok(Accepted::Newer { amount: Amount::of(100) }));
        assert_eq!(pair.payee.allowance(), Amount::ZERO);
        pair.payee.handle_kept(NOW, Amount::of(100));
        assert!(pair.payee.allowance() > Amount::ZERO);
        pair.payee.set_view(ChannelView { ceiling: Amount::of(100), ..ChannelView::default() });
        assert_eq!(pair.payee.allowance(), Amount::ZERO);
        pair.payer.set_ceiling(Amount::of(100));
        assert!(pair.payer.handle_verified(NOW, Unit::Bytes, 5));
        assert_eq!(pair.payer.poll_voucher(NOW, true), None);
        assert_eq!(pair.payer.short_of(), Amount::of(5));
    }

    #[test]
    fn replayed_lower_foreign_and_forged_vouchers_change_nothing() {
        let mut pair = pair();
        pair.serve(100, 100);
        let good = pair.pay(true).unwrap();
        let before = pair.payee.state();
        assert_eq!(pair.payee.handle_voucher(&good), Ok(Accepted::Nothing));
        let sign = |voucher: Voucher, separator: &Separator, key: &AccountKey| voucher.sign(separator, key);
        let more = Voucher { cumulative: Amount::of(500), ..good.voucher };
        let lower = sign(Voucher { cumulative: Amount::of(50), ..more }, &pair.separator, &pair.key);
        assert_eq!(pair.payee.handle_voucher(&lower), Ok(Accepted::Nothing));
        let stranger = AccountKey::from_secret([9; 32]).unwrap();
        let elsewhere = ChannelContract { chain_id: 2, address: Account([3; 20]) }.separator();
        let other_contract = ChannelContract { chain_id: 1, address: Account([4; 20]) }.separator();
        let mut flipped = sign(more, &pair.separator, &pair.key);
        flipped.signature.0[40] ^= 4;
        for refused in [
            sign(more, &pair.separator, &stranger),
            sign(more, &elsewhere, &pair.key),
            sign(more, &other_contract, &pair.key),
            flipped,
        ] {
            assert_eq!(pair.payee.handle_voucher(&refused), Err(VoucherRefused::Signature));
        }
        let to_another = sign(Voucher { payee: Account([7; 20]), ..more }, &pair.separator, &pair.key);
        assert_eq!(pair.payee.handle_voucher(&to_another), Err(VoucherRefused::OfAnother));
        assert_eq!(pair.payee.state(), before);
        // A hot key that the payer named may sign.
        let mut view = ChannelView { ceiling: Amount::of(1_000_000), ..ChannelView::default() };
        view.signers.insert(stranger.account());
        pair.payee.set_view(view);
        let hot = sign(more, &pair.separator, &stranger);
        assert_eq!(pair.payee.handle_voucher(&hot), Ok(Accepted::Newer { amount: Amount::of(400) }));
    }

    #[test]
    fn who_counts_two_in_a_hundred_too_many_gains_one_start_window_in_all() {
        let mut pair = pair();
        for _ in 0..2000 {
            pair.serve(1000, 98);
            pair.pay(true);
            let (answer, own) = (pair.payee.answer(), pair.key.public());
            if pair.payee.owed() > Amount::ZERO {
                let agreed = pair.payer.handle_answer(&answer, &own).unwrap();
                assert_ne!(agreed, Agreement::Recovered);
            }
        }
        let PayerState { signed, verified, tolerated } = pair.payer.state();
        assert!(tolerated <= START && signed <= verified.plus(START), "{signed} {verified} {tolerated}");
        // It stopped serving once its own window was full of what nobody verified.
        assert_eq!(pair.payee.allowance(), Amount::ZERO);
    }

    #[test]
    fn where_both_keep_evidence_that_is_what_counts_and_what_was_paid() {
        let mut pair = pair();
        assert_eq!(pair.payee.handle_evidence(NOW, Amount::of(70)), Amount::of(70));
        assert_eq!(pair.payer.handle_evidence(NOW, Amount::of(70)), Amount::of(70));
        pair.pay(true).unwrap();
        assert_eq!((pair.payee.owed(), pair.payer.owed()), (Amount::ZERO, Amount::ZERO));
        assert_eq!(pair.payee.handle_evidence(NOW, Amount::of(90)), Amount::of(90));
        assert_eq!(pair.payee.owed(), Amount::of(20));
        // Both lost it all, but for the voucher.
        assert_eq!(pair.payee.handle_evidence(NOW, Amount::ZERO), Amount::of(70));
        assert_eq!(pair.payer.handle_evidence(NOW, Amount::ZERO), Amount::of(70));
        assert_eq!((pair.payee.owed(), pair.payer.owed()), (Amount::ZERO, Amount::ZERO));
    }

    #[test]
    fn a_voucher_that_was_lost_is_sent_again_when_its_payee_says_so() {
        let mut pair = pair();
        pair.serve(100, 100);
        pair.payer.poll_voucher(NOW, true).unwrap();
        assert_eq!(pair.payer.poll_voucher(NOW, true), None);
        assert_eq!(pair.payee.allowance(), Amount::ZERO);
        let (answer, own) = (pair.payee.answer(), pair.key.public());
        assert_eq!(pair.payer.handle_answer(&answer, &own), Ok(Agreement::Agreed));
        pair.pay(false).unwrap();
        assert_eq!(pair.payee.owed(), Amount::ZERO);
        assert_eq!(pair.payer.poll_voucher(NOW, true), None);
    }

    #[test]
    fn a_payer_that_lost_its_disk_goes_on_from_its_own_signature() {
        let mut pair = pair();
        for _ in 0..5 {
            pair.serve(100, 100);
            pair.pay(true);
        }
        let (answer, own) = (pair.payee.answer(), pair.key.public());
        let (account, payee) = (pair.key.account(), Account([2; 20]));
        pair.payer = Payer::new(account, payee, pair.separator, START, PayerState::default());
        pair.payer.set_price(Unit::Bytes, PRICE);
        pair.payer.set_ceiling(Amount::of(1_000_000));
        assert_eq!(pair.payer.handle_answer(&answer, &own), Ok(Agreement::Recovered));
        pair.serve(100, 100);
        pair.pay(true).unwrap();
        assert_eq!(pair.payee.owed(), Amount::ZERO);
        // Nobody else's signature moves it.
        let stranger = AccountKey::from_secret([9; 32]).unwrap();
        let mut forged = pair.payee.answer();
        let voucher = Voucher { payer: account, payee, cumulative: Amount::of(900_000) };
        forged.newest = Some(voucher.sign(&pair.separator, &stranger).to_wire());
        assert_eq!(pair.payer.handle_answer(&forged, &own), Err(AnswerError::NotOurs));
    }
}
