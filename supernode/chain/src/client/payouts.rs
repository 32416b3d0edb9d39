//! Many small earners, paid by one root: `Payouts`.

use abi::{
    Payouts,
    alloy::{
        primitives::{B256, U256},
        rpc::types::Filter,
        sol_types::SolEvent as _,
    },
};
use shared::{
    economy::{
        Amount,
        payout::{Epoch, Payout, Share},
    },
    identity::{Account, eip712::Word},
};

use super::{At, Chain, ChainError, address, amount, narrow, wide};

/// An epoch on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayoutState {
    /// What its shares are proven by.
    pub root: Word,
    /// Not yet taken.
    pub left: Amount,
    /// Shares are paid before then; what is left goes back to the payer after it.
    pub expires_at: u64,
}

impl Chain {
    // ── What is known ──

    /// Where an epoch of a payer's is paid.
    ///
    /// # Errors
    /// [`ChainError::NotConfigured`].
    pub fn epoch(&self, payer: Account, number: u64) -> Result<Epoch, ChainError> {
        Ok(Epoch { chain_id: self.contract.chain_id, contract: self.payouts()?, payer, number })
    }

    /// An epoch of a payer's; nothing where it was never opened.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn payout(
        &self,
        payer: Account,
        epoch: u64,
        at: At,
    ) -> Result<Option<PayoutState>, ChainError> {
        let call = Payouts::payoutOfCall { payer: address(payer), epoch };
        let state = self.read(self.payouts()?, call, at).await?;
        let known = PayoutState { root: state.root.0, left: amount(state.left), expires_at: state.expiresAt };
        Ok((!state.root.is_zero()).then_some(known))
    }

    /// Whether a share was paid.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn is_paid(&self, payer: Account, epoch: u64, index: u64) -> Result<bool, ChainError> {
        let call = Payouts::isClaimedCall { payer: address(payer), epoch, index: U256::from(index) };
        self.read(self.payouts()?, call, At::Latest).await
    }

    /// Shares of a payer's epoch that were paid in these blocks, both included.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn shares_paid(
        &self,
        payer: Account,
        epoch: u64,
        (from, to): (u64, u64),
    ) -> Result<Vec<(Account, Amount)>, ChainError> {
        let filter = Filter::new()
            .address(address(self.payouts()?))
            .event_signature(Payouts::Paid::SIGNATURE_HASH)
            .topic1(B256::left_padding_from(address(payer).as_slice()))
            .topic2(B256::from(U256::from(epoch)));
        let mut paid = Vec::new();
        for log in self.logs(filter, from, to).await? {
            let event = Payouts::Paid::decode_log(&log.inner);
            let event = event.map_err(|error| ChainError::Rpc(error.to_string()))?;
            paid.push((Account(event.account.into_array()), wide(event.amount)));
        }
        Ok(paid)
    }

    // ── Our operator speaks ──

    /// Locks an epoch's sum for its earners, until a time.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn open_payout(&self, epoch: u64, payout: &Payout, expires: u64) -> Result<(), ChainError> {
        let payouts = self.payouts()?;
        self.permit(payouts, payout.total()).await?;
        let call = Payouts::openCall {
            epoch,
            root: payout.root().into(),
            amount: narrow(payout.total()),
            expiresAt: expires,
        };
        self.act(payouts, call).await
    }

    /// Pays shares of a payer's epoch to their accounts; at most 200 at a time.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn pay_shares(&self, payer: Account, epoch: u64, shares: &[Share]) -> Result<(), ChainError> {
        let shares = shares
            .iter()
            .map(|share| Payouts::Share {
                index: U256::from(share.index),
                account: address(share.account),
                amount: narrow(share.amount),
                proof: share.proof.iter().map(|word| B256::from(*word)).collect(),
            })
            .collect();
        self.act(self.payouts()?, Payouts::claimManyCall { payer: address(payer), epoch, shares }).await
    }

    /// Takes back what nobody took of our epoch, once its time is over.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn reclaim_payout(&self, epoch: u64) -> Result<(), ChainError> {
        self.act(self.payouts()?, Payouts::reclaimCall { epoch }).await
    }

    // ── Below ──

    fn payouts(&self) -> Result<Account, ChainError> {
        self.others.payouts.ok_or(ChainError::NotConfigured("Payouts", "payouts"))
    }
}
