//! Receipts: a receiver's signed, cumulative count of what it verified.
//!
//! A receipt rides on the next message that flows anyway. Losing one costs nothing: the next says more. The
//! provider checks that it is the receiver's, names it and this session, never shrinks and never exceeds what was
//! sent; the money behind it is another part's business, the counters are exact here.

use prost::Message as _;

use super::offences::Offence;
use crate::{
    identity::{Context, Keypair, PublicKey},
    wire::cdn as wire,
};

/// A receipt is due once so much was verified and not yet signed for: a signature a mebibyte costs both sides a
/// ten-thousandth of their time.
pub const RECEIPT_EVERY_BYTES: u64 = 1024 * 1024;
/// Longer is no receipt: two keys, two numbers.
const MAX_RECEIPT_BYTES: usize = 128;

/// A receipt whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who sent.
    pub provider: PublicKey,
    /// Who verified, and signed.
    pub receiver: PublicKey,
    /// Which link of the provider's.
    pub session: u64,
    /// How much, since the session began.
    pub bytes: u64,
}

impl Receipt {
    /// Signs for what `receiver` verified.
    pub fn sign(receiver: &Keypair, provider: &PublicKey, session: u64, bytes: u64) -> wire::SignedReceipt {
        let receipt = wire::Receipt {
            provider: provider.to_bytes().to_vec(),
            receiver: receiver.public().to_bytes().to_vec(),
            session,
            bytes,
        }
        .encode_to_vec();
        let signature = receiver.sign(Context::Receipt, &receipt).to_vec();
        wire::SignedReceipt { receipt, signature }
    }

    /// Reads and verifies a receipt.
    ///
    /// # Errors
    /// [`Offence::BadReceipt`].
    pub fn open(signed: &wire::SignedReceipt) -> Result<Self, Offence> {
        if signed.receipt.len() > MAX_RECEIPT_BYTES {
            return Err(Offence::BadReceipt);
        }
        let inner = wire::Receipt::decode(signed.receipt.as_slice()).map_err(|_| Offence::BadReceipt)?;
        let key = |bytes: &[u8]| PublicKey::from_bytes(bytes).map_err(|_| Offence::BadReceipt);
        let (provider, receiver) = (key(&inner.provider)?, key(&inner.receiver)?);
        if !receiver.verify(Context::Receipt, &signed.receipt, &signed.signature) {
            return Err(Offence::BadReceipt);
        }
        Ok(Self { provider, receiver, session: inner.session, bytes: inner.bytes })
    }
}

/// Both directions of one link's accounts.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Verified, of what the remote sent.
    pub verified: u64,
    /// Of that, signed for.
    pub signed: u64,
    /// Handed to the shell to send, or sent.
    pub sent: u64,
    /// Of that, receipted.
    pub receipted: u64,
    /// The newest receipt, to hand in.
    pub newest: Option<wire::SignedReceipt>,
}

impl Account {
    /// Takes a receipt of the remote's.
    ///
    /// # Errors
    /// [`Offence::BadReceipt`] where it does not hold for this link.
    pub fn take_receipt(
        &mut self,
        signed: wire::SignedReceipt,
        ourselves: &PublicKey,
        remote: &PublicKey,
        session: u64,
    ) -> Result<u64, Offence> {
        let receipt = Receipt::open(&signed)?;
        let fits =
            receipt.provider == *ourselves && receipt.receiver == *remote && receipt.session == session;
        if !fits || receipt.bytes < self.receipted || receipt.bytes > self.sent {
            return Err(Offence::BadReceipt);
        }
        let gained = receipt.bytes - self.receipted;
        self.receipted = receipt.bytes;
        self.newest = Some(signed);
        Ok(gained)
    }

    /// The receipt that is due, if one is: after [`RECEIPT_EVERY_BYTES`], or with `settle` for any byte.
    pub fn due(
        &mut self,
        settle: bool,
        receiver: &Keypair,
        provider: &PublicKey,
        session: u64,
    ) -> Option<wire::SignedReceipt> {
        let open = self.verified - self.signed;
        if open == 0 || (!settle && open < RECEIPT_EVERY_BYTES) {
            return None;
        }
        self.signed = self.verified;
        Some(Receipt::sign(receiver, provider, session, self.verified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_counts_once_and_only_for_its_link() {
        let (provider, receiver) = (Keypair::from_secret([1; 32]), Keypair::from_secret([2; 32]));
        let mut ours = Account { sent: 3 << 20, ..Account::default() };
        let mut theirs = Account { verified: 2 << 20, ..Account::default() };
        let signed = theirs.due(false, &receiver, &provider.public(), 9).unwrap();
        assert_eq!(theirs.due(true, &receiver, &provider.public(), 9), None);
        let take = |account: &mut Account, signed, session| {
            account.take_receipt(signed, &provider.public(), &receiver.public(), session)
        };
        assert_eq!(take(&mut ours, signed.clone(), 8), Err(Offence::BadReceipt));
        assert_eq!(take(&mut ours, signed.clone(), 9), Ok(2 << 20));
        assert_eq!(take(&mut ours, signed.clone(), 9), Ok(0));
        let shrunk = Receipt::sign(&receiver, &provider.public(), 9, 1);
        assert_eq!(take(&mut ours, shrunk, 9), Err(Offence::BadReceipt));
        let inflated = Receipt::sign(&receiver, &provider.public(), 9, 4 << 20);
        assert_eq!(take(&mut ours, inflated, 9), Err(Offence::BadReceipt));
        let mut forged = signed;
        forged.signature[5] ^= 1;
        assert_eq!(take(&mut ours, forged, 9), Err(Offence::BadReceipt));
    }
}
