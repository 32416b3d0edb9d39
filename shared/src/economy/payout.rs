//! Many small earners, paid by one root: what `Payouts` on the chain checks.
//!
//! A leaf is hashed twice, and pairs are hashed lower first, as the contract (and OpenZeppelin's `MerkleProof`) does. Who
//! earned less than is worth a claim is carried on to the next epoch; nothing is rounded away.

use std::collections::BTreeMap;

use super::Amount;
use crate::identity::{
    Account,
    eip712::{Word, account_word, keccak256, number_word},
};

/// The contract's bound on a proof is 32 steps; so many earners an epoch are a supernode's, and fit its memory.
pub const EARNERS_MAX: usize = 1_000_000;

/// Where and for whom an epoch is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The chain,
    pub chain_id: u64,
    /// `Payouts` on it,
    pub contract: Account,
    /// who pays,
    pub payer: Account,
    /// and for which of its epochs.
    pub number: u64,
}

impl Epoch {
    /// The leaf of one share.
    pub fn leaf(&self, index: u64, account: Account, amount: Amount) -> Word {
        let inner = keccak256(&[
            &number_word(self.chain_id.into()),
            &account_word(self.contract),
            &account_word(self.payer),
            &number_word(self.number.into()),
            &number_word(index.into()),
            &account_word(account),
            &number_word(amount.units()),
        ]);
        keccak256(&[&inner])
    }
}

/// Why there is no payout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayoutError {
    /// Nobody earned enough to be worth a claim.
    #[error("nobody earned as much as is paid out")]
    Nobody,
    /// More than [`EARNERS_MAX`].
    #[error("an epoch has at most {EARNERS_MAX} earners")]
    TooMany,
    /// More than 96 bits.
    #[error("the sum of the shares exceeds every token")]
    Sum,
}

/// An earner's share, with what the contract wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its place.
    pub index: u64,
    /// Whose it is.
    pub account: Account,
    /// How much.
    pub amount: Amount,
    /// From its leaf's neighbour up.
    pub proof: Vec<Word>,
}

/// One epoch's shares and their tree.
#[derive(Clone, Debug)]
pub struct Payout {
    shares: Vec<(Account, Amount)>,
    /// Leaves first, the root last.
    rows: Vec<Vec<Word>>,
    total: Amount,
}

impl Payout {
    /// Nets what earners are owed: those that are owed `least` or more get a share. The others stay owed, and are
    /// returned beside it.
    ///
    /// # Errors
    /// [`PayoutError`].
    pub fn net(
        epoch: &Epoch,
        owed: &BTreeMap<Account, Amount>,
        least: Amount,
    ) -> Result<(Self, BTreeMap<Account, Amount>), PayoutError> {
        let least = least.max(Amount::of(1));
        let mut carried = owed.clone();
        let shares: Vec<(Account, Amount)> = carried.extract_if(.., |_, amount| *amount >= least).collect();
        if shares.is_empty() {
            return Err(PayoutError::Nobody);
        }
        if shares.len() > EARNERS_MAX {
            return Err(PayoutError::TooMany);
        }
        let mut total = Amount::ZERO;
        for (_, amount) in &shares {
            total = total.checked_add(*amount).ok_or(PayoutError::Sum)?;
        }
        let leaves =
            (0..).zip(&shares).map(|(index, (account, amount))| epoch.leaf(index, *account, *amount));
        let mut rows = vec![leaves.collect::<Vec<Word>>()];
        while let Some(row) = rows.last().filter(|row| row.len() > 1) {
            let above = row.chunks(2).map(|pair| match pair {
                [left, right] => parent(left, right),
                // Without a neighbour it goes up as it is.
                alone => alone[0],
            });
            let above = above.collect();
            rows.push(above);
        }
        Ok((Self { shares, rows, total }, carried))
    }

    /// What the contract is told.
    pub fn root(&self) -> Word {
        self.rows.last().map_or([0; 32], |row| row[0])
    }

    /// What has to be locked.
    pub const fn total(&self) -> Amount {
        self.total
    }

    /// How many earners get a share.
    pub fn count(&self) -> usize {
        self.shares.len()
    }

    /// All shares, in their order.
    pub fn shares(&self) -> impl Iterator<Item = Share> {
        (0..self.shares.len()).filter_map(|index| self.share(index))
    }

    /// The share of `account`.
    pub fn share_of(&self, account: Account) -> Option<Share> {
        let index = self.shares.binary_search_by_key(&account, |(account, _)| *account).ok()?;
        self.share(index)
    }

    fn share(&self, place: usize) -> Option<Share> {
        let (account, amount) = *self.shares.get(place)?;
        let rows = self.rows.iter().enumerate();
        let neighbours = rows.filter_map(|(height, row)| row.get((place >> height) ^ 1).copied());
        Some(Share { index: place as u64, account, amount, proof: neighbours.collect() })
    }
}

impl Share {
    /// Whether the contract would pay it under `root`.
    #[must_use]
    pub fn is_proven(&self, epoch: &Epoch, root: &Word) -> bool {
        let leaf = epoch.leaf(self.index, self.account, self.amount);
        self.proof.iter().fold(leaf, |node, neighbour| parent(&node, neighbour)) == *root
    }
}

fn parent(one: &Word, other: &Word) -> Word {
    let (low, high) = if one < other { (one, other) } else { (other, one) };
    keccak256(&[low, high])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: Epoch =
        Epoch { chain_id: 1, contract: Account([1; 20]), payer: Account([2; 20]), number: 3 };

    fn owed(amounts: &[u64]) -> BTreeMap<Account, Amount> {
        let account = |index: usize| {
            let mut account = [0; 20];
            account[12..].copy_from_slice(&(index as u64).to_be_bytes());
            Account(account)
        };
        amounts.iter().enumerate().map(|(index, amount)| (account(index), Amount::of(*amount))).collect()
    }

    #[test]
    fn cents_are_carried_until_they_are_worth_a_claim() {
        let owed = owed(&[5, 100, 7, 200]);
        let (payout, carried) = Payout::net(&EPOCH, &owed, Amount::of(100)).unwrap();
        assert_eq!(payout.total(), Amount::of(300));
        assert_eq!(carried.values().copied().sum::<Amount>(), Amount::of(12));
        assert_eq!(Payout::net(&EPOCH, &carried, Amount::of(100)).unwrap_err(), PayoutError::Nobody);
    }

    proptest! {
        #[test]
        fn every_share_is_proven_and_no_other(amounts in prop::collection::vec(1_u64..1000, 1..70)) {
            let owed = owed(&amounts);
            let (payout, _) = Payout::net(&EPOCH, &owed, Amount::ZERO).unwrap();
            prop_assert_eq!(payout.count(), amounts.len());
            for share in payout.shares() {
                prop_assert!(share.is_proven(&EPOCH, &payout.root()));
                prop_assert_eq!(payout.share_of(share.account), Some(share.clone()));
                let more = Share { amount: share.amount.plus(Amount::of(1)), ..share.clone() };
                prop_assert!(!more.is_proven(&EPOCH, &payout.root()));
                let moved = Share { index: share.index + 1, ..share.clone() };
                prop_assert!(!moved.is_proven(&EPOCH, &payout.root()));
                let other = Epoch { number: 4, ..EPOCH };
                prop_assert!(!share.is_proven(&other, &payout.root()));
            }
        }
    }
}
