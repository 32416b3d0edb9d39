//! What `PaymentChannels` does, in a few lines. Tests on a real chain hold the contract itself.

use std::collections::BTreeMap;

use shared::{
    economy::{
        Amount,
        voucher::{ChannelContract, SignedVoucher},
    },
    identity::{Account, eip712::Separator},
};

/// Ticks from a thaw to its end.
const THAW: u64 = 20;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Channel {
    pub(super) ceiling: Amount,
    pub(super) claimed: Amount,
    pub(super) thawed_at: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Chain {
    now: u64,
    free: BTreeMap<Account, Amount>,
    channels: BTreeMap<(Account, Account), Channel>,
    deposited: Amount,
    pub(super) claimed: Amount,
}

impl Chain {
    pub(super) fn separator() -> Separator {
        ChannelContract { chain_id: 31_337, address: Account([0xcc; 20]) }.separator()
    }

    pub(super) fn free(&self, account: Account) -> Amount {
        self.free.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn channel(&self, payer: Account, payee: Account) -> Channel {
        self.channels.get(&(payer, payee)).copied().unwrap_or_default()
    }

    pub(super) fn tick(&mut self) {
        self.now += 1;
    }

    pub(super) fn deposit_and_reserve(&mut self, payer: Account, payee: Account, amount: Amount) {
        self.deposited = self.deposited.plus(amount);
        let channel = self.channels.entry((payer, payee)).or_default();
        channel.ceiling = channel.ceiling.plus(amount);
    }

    pub(super) fn thaw(&mut self, payer: Account, payee: Account) {
        let until = self.now + THAW;
        self.channels.entry((payer, payee)).or_default().thawed_at.get_or_insert(until);
    }

    /// What came back, once the thaw has run its time.
    pub(super) fn unreserve(&mut self, payer: Account, payee: Account) -> Option<Amount> {
        let now = self.now;
        let channel = self.channels.get_mut(&(payer, payee))?;
        channel.thawed_at.filter(|thawed| now >= *thawed)?;
        let rest = channel.ceiling.less(channel.claimed);
        (channel.ceiling, channel.thawed_at) = (channel.claimed, None);
        let free = self.free.entry(payer).or_default();
        *free = free.plus(rest);
        Some(rest)
    }

    /// What it brought.
    pub(super) fn claim(&mut self, signed: &SignedVoucher) -> Option<Amount> {
        let voucher = signed.voucher;
        let signer = signed.signer(&Self::separator())?;
        if signer.account() != voucher.payer {
            return None;
        }
        let channel = self.channels.get_mut(&(voucher.payer, voucher.payee))?;
        let up_to = voucher.cumulative.min(channel.ceiling);
        let more = up_to.checked_sub(channel.claimed).filter(|more| !more.is_zero())?;
        channel.claimed = up_to;
        let free = self.free.entry(voucher.payee).or_default();
        *free = free.plus(more);
        self.claimed = self.claimed.plus(more);
        Some(more)
    }

    pub(super) fn conserves(&self) -> Result<(), String> {
        let locked: Amount =
            self.channels.values().map(|channel| channel.ceiling.less(channel.claimed)).sum();
        let free: Amount = self.free.values().copied().sum();
        if self.deposited == free.plus(locked) {
            return Ok(());
        }
        Err(format!("{} were deposited, {free} are free and {locked} locked", self.deposited))
    }
}
