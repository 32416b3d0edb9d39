//! Vouchers: a payer's signed promise of all it owes a payee since ever, through one `PaymentChannels` contract.
//!
//! The newest replaces all others, so one that is lost costs nothing. The digest is the one the contract computes.

use super::Amount;
use crate::{
    identity::{
        Account, AccountKey, AccountPublicKey, AccountSignature,
        eip712::{Domain, Separator, Word, account_word, number_word, struct_hash},
    },
    wire::economy as wire,
};

/// Length of a voucher as `claimPacked` takes it: payer (20), cumulative (12), r (32), vs (32).
pub const PACKED_VOUCHER_BYTES: usize = 96;

/// One `PaymentChannels` contract on one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelContract {
    /// The chain.
    pub chain_id: u64,
    /// The contract.
    pub address: Account,
}

impl ChannelContract {
    /// What its vouchers' digests begin with.
    pub fn separator(&self) -> Separator {
        let Self { chain_id, address } = *self;
        Domain { name: "Blackhole PaymentChannels", version: "1", chain_id, contract: Some(address) }
            .separator()
    }
}

/// What is promised. Whether anybody signed it is not said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voucher {
    /// Who pays.
    pub payer: Account,
    /// Whom.
    pub payee: Account,
    /// How much, since ever.
    pub cumulative: Amount,
}

/// A voucher with a signature, whose may still be a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedVoucher {
    /// What is promised.
    pub voucher: Voucher,
    /// By the payer's key, or by one that it lets sign.
    pub signature: AccountSignature,
}

impl Voucher {
    /// What is signed.
    pub fn digest(&self, separator: &Separator) -> Word {
        let words =
            [account_word(self.payer), account_word(self.payee), number_word(self.cumulative.units())];
        separator.digest(&struct_hash("Voucher(address payer,address payee,uint96 cumulative)", &words))
    }

    /// Signs, by the payer's key or one that it lets sign.
    pub fn sign(self, separator: &Separator, key: &AccountKey) -> SignedVoucher {
        SignedVoucher { voucher: self, signature: key.sign(&self.digest(separator)) }
    }
}

impl SignedVoucher {
    /// Whose signature it is.
    pub fn signer(&self, separator: &Separator) -> Option<AccountPublicKey> {
        self.signature.recover(&self.voucher.digest(separator))
    }

    /// As `claimPacked` takes it.
    pub fn pack(&self) -> [u8; PACKED_VOUCHER_BYTES] {
        let mut packed = [0; PACKED_VOUCHER_BYTES];
        packed[..20].copy_from_slice(&self.voucher.payer.0);
        packed[20..32].copy_from_slice(&self.voucher.cumulative.to_bytes());
        packed[32..].copy_from_slice(&self.signature.0);
        packed
    }

    /// What [`SignedVoucher::pack`] wrote for `payee`.
    pub fn unpack(payee: Account, packed: &[u8; PACKED_VOUCHER_BYTES]) -> Option<Self> {
        let payer = packed[..20].try_into().ok()?;
        let cumulative = Amount::from_bytes(&packed[20..32])?;
        let signature = AccountSignature(packed[32..].try_into().ok()?);
        Some(Self { voucher: Voucher { payer, payee, cumulative }, signature })
    }

    /// As it travels.
    pub fn to_wire(&self) -> wire::Voucher {
        wire::Voucher {
            payer: self.voucher.payer.0.to_vec(),
            payee: self.voucher.payee.0.to_vec(),
            cumulative: self.voucher.cumulative.to_bytes().to_vec(),
            signature: self.signature.0.to_vec(),
        }
    }

    /// From the wire; nothing where a part has not its length.
    pub fn from_wire(voucher: &wire::Voucher) -> Option<Self> {
        let (payer, payee) =
            (voucher.payer.as_slice().try_into().ok()?, voucher.payee.as_slice().try_into().ok()?);
        let cumulative = Amount::from_bytes(&voucher.cumulative)?;
        let signature = AccountSignature(voucher.signature.as_slice().try_into().ok()?);
        Some(Self { voucher: Voucher { payer, payee, cumulative }, signature })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_voucher_travels_packed_and_on_the_wire(
            secret in prop::array::uniform32(1_u8..=250), payee: [u8; 20], units in 0..1_u128 << 96, chain_id: u64,
        ) {
            let key = AccountKey::from_secret(secret).unwrap();
            let contract = ChannelContract { chain_id, address: Account([9; 20]) };
            let separator = contract.separator();
            let cumulative = Amount::new(units).unwrap();
            let voucher = Voucher { payer: key.account(), payee: Account(payee), cumulative };
            let signed = voucher.sign(&separator, &key);
            prop_assert_eq!(signed.signer(&separator), Some(key.public()));
            prop_assert_eq!(SignedVoucher::from_wire(&signed.to_wire()), Some(signed));
            prop_assert_eq!(SignedVoucher::unpack(Account(payee), &signed.pack()), Some(signed));
            let elsewhere = ChannelContract { chain_id: chain_id ^ 1, ..contract }.separator();
            prop_assert_ne!(signed.signer(&elsewhere), Some(key.public()));
        }
    }
}
