//! One side of a channel: what we owe a payee, and the vouchers that say so.
//!
//! We promise what we verified, and beyond that at most one small sum in all, for what was lost on the way when a line
//! broke or a process died. A payee that counts two in a hundred too many therefore gains that sum, once.
//!
//! The shell keeps what [`Payer::poll_voucher`] gives before it sends it. After a crash it resumes from that; where its
//! disk is gone too, the payee's answer holds our own signature, and we go on from there.

use super::{
    Amount,
    bill::Bill,
    exposure::Exposure,
    price::{Price, Unit},
    voucher::{SignedVoucher, Voucher},
};
use crate::{
    base::Instant,
    identity::{Account, AccountPublicKey, eip712::Separator},
    wire::economy as wire,
};

/// What of a payer is kept between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayerState {
    /// The newest voucher's sum.
    pub signed: Amount,
    /// Worth of what was verified since ever.
    pub verified: Amount,
    /// Paid beyond that.
    pub tolerated: Amount,
}

/// How a payee's answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Nothing is open that a voucher would not settle.
    Agreed,
    /// It had a newer voucher of ours than we: we go on from that.
    Recovered,
    /// It says it delivered more than we verified and tolerate. We pay what we verified.
    Disputed {
        /// What it wants beyond.
        claimed_beyond: Amount,
    },
}

/// An answer that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It cannot be read.
    #[error("the answer cannot be read")]
    Malformed,
    /// The voucher it shows is not ours.
    #[error("the voucher in the answer is not signed by us for this payee")]
    NotOurs,
}

/// Towards one payee.
#[derive(Clone, Debug)]
pub struct Payer {
    account: Account,
    payee: Account,
    separator: Separator,
    bill: Bill,
    signed: Amount,
    tolerated: Amount,
    /// The most that is ever tolerated.
    tolerance: Amount,
    ceiling: Amount,
    exposure: Exposure,
    /// The payee has not our newest voucher: it was lost on the way, or before it was kept.
    resend: bool,
}

impl Payer {
    /// Towards `payee`; `start` is the worth that a stranger may owe.
    pub fn new(
        account: Account,
        payee: Account,
        separator: Separator,
        start: Amount,
        state: PayerState,
    ) -> Self {
        Self {
            account,
            payee,
            separator,
            bill: Bill::resume(state.verified),
            signed: state.signed,
            tolerated: state.tolerated,
            tolerance: start,
            ceiling: Amount::ZERO,
            exposure: Exposure::new(start),
            resend: false,
        }
    }

    /// What to keep, with each voucher and from time to time between.
    pub fn state(&self) -> PayerState {
        PayerState { signed: self.signed, verified: self.bill.total(), tolerated: self.tolerated }
    }

    /// Owed and not yet promised.
    pub fn owed(&self) -> Amount {
        self.due_total().less(self.signed)
    }

    /// What is missing in the channel for what is owed: it wants a reservation.
    pub fn short_of(&self) -> Amount {
        self.due_total().less(self.ceiling)
    }

    /// The receiver (we) verified so many units; tells whether they have a price.
    #[must_use]
    pub fn handle_verified(&mut self, now: Instant, unit: Unit, units: u64) -> bool {
        let counted = self.bill.count(unit, units);
        self.exposure.handle_owed(now, self.owed());
        counted
    }

    /// Evidence that is kept says what was verified since ever. What we signed for counts without. Tells the sum.
    pub fn handle_evidence(&mut self, now: Instant, total: Amount) -> Amount {
        let signed = self.signed.less(self.tolerated);
        self.bill = Bill::resume_with(&self.bill, total.max(signed));
        self.exposure.handle_owed(now, self.owed());
        self.bill.total()
    }

    /// The payee answered that it has another count.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn handle_answer(
        &mut self,
        answer: &wire::VoucherAnswer,
        own: &AccountPublicKey,
    ) -> Result<Agreement, AnswerError> {
        let delivered = Amount::from_bytes(&answer.delivered).ok_or(AnswerError::Malformed)?;
        let mut recovered = false;
        let mut shown = Amount::ZERO;
        if let Some(newest) = &answer.newest {
            let newest = SignedVoucher::from_wire(newest).ok_or(AnswerError::Malformed)?;
            let Voucher { payer, payee, cumulative } = newest.voucher;
            let digest = newest.voucher.digest(&self.separator);
            if payer != self.account || payee != self.payee || !own.verify(&digest, &newest.signature) {
                return Err(AnswerError::NotOurs);
            }
            shown = cumulative;
            if cumulative > self.signed {
                // Our signature is our word, whatever we remember.
                self.signed = cumulative;
                recovered = true;
                if self.due_total() < cumulative {
                    self.bill = Bill::resume_with(&self.bill, cumulative.less(self.tolerated));
                }
            }
        }
        self.resend = shown < self.signed;
        let beyond = delivered.less(self.due_total());
        let room = self.tolerance.less(self.tolerated);
        if beyond > room {
            return Ok(Agreement::Disputed { claimed_beyond: beyond });
        }
        self.tolerated = self.tolerated.plus(beyond);
        Ok(if recovered { Agreement::Recovered } else { Agreement::Agreed })
    }

    /// What units cost from now on.
    pub fn set_price(&mut self, unit: Unit, price: Price) {
        self.bill.set_price(unit, price);
    }

    /// What the chain holds for this payee, claimed or not.
    pub fn set_ceiling(&mut self, ceiling: Amount) {
        self.ceiling = ceiling;
    }

    /// The voucher that is due: with `settle` for any sum, and once more where the payee has not the newest. Keep it,
    /// then sign and send it.
    pub fn poll_voucher(&mut self, now: Instant, settle: bool) -> Option<Voucher> {
        let more = self.due_total().min(self.ceiling).less(self.signed);
        // Half of what the payee waits for, so that it never has to stop for us.
        let due = self.exposure.due_at().share(1, 2).max(Amount::of(1));
        let is_due = more >= due || (settle && !more.is_zero());
        if !is_due && !self.resend {
            return None;
        }
        if is_due {
            self.signed = self.signed.plus(more);
            self.exposure.handle_paid(now, more);
        }
        self.resend = false;
        Some(Voucher { payer: self.account, payee: self.payee, cumulative: self.signed })
    }

    fn due_total(&self) -> Amount {
        self.bill.total().plus(self.tolerated)
    }
}
