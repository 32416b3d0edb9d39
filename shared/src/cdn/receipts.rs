//! Receipts: a receiver's signed, cumulative count of what it verified.
//!
//! A receipt rides on the next message that flows anyway. Losing one costs nothing: the next says more. The
//! provider checks that it is the receiver's, names it and this session, never shrinks and never exceeds what was
//! sent; the money behind it is another part's business, the counters are exact here.
//!
//! A visitor signs for what its supernode's HTTP edge gave it on the link to that supernode. The edge does not know
//! who asked it, so the sender of such a receipt is not held to a count of its own: whoever is to be paid sees to it
//! that all receipts together say no more than the edge sent.

use prost::Message as _;

use super::offences::Offence;
use crate::{
    base::SiteId,
    identity::{Context, Keypair, PublicKey},
    wire::cdn as wire,
};

/// A receipt is due once so much was verified and not yet signed for: a signature a mebibyte costs both sides a
/// ten-thousandth of their time.
pub const RECEIPT_EVERY_BYTES: u64 = 1024 * 1024;
/// Longer is no receipt: two keys, a site, three numbers.
const MAX_RECEIPT_BYTES: usize = 160;

/// What a receiver verified in one session, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Over the link.
    pub bytes: u64,
    /// By the provider's HTTP edge.
    pub edge_bytes: u64,
    /// Of which site, where the receiver takes part in one alone.
    pub site: Option<SiteId>,
}

impl Verified {
    /// Over a link, of no site in particular.
    pub const fn of(bytes: u64) -> Self {
        Self { bytes, edge_bytes: 0, site: None }
    }
}

/// A receipt whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who sent.
    pub provider: PublicKey,
    /// Who verified, and signed.
    pub receiver: PublicKey,
    /// Which link of the provider's.
    pub session: u64,
    /// How much, over the link.
    pub bytes: u64,
    /// How much, by the provider's edge.
    pub edge_bytes: u64,
    /// Of which site.
    pub site: Option<SiteId>,
}

impl Receipt {
    /// Signs for what `receiver` verified.
    pub fn sign(
        receiver: &Keypair,
        provider: &PublicKey,
        session: u64,
        verified: Verified,
    ) -> wire::SignedReceipt {
        let receipt = wire::Receipt {
            provider: provider.to_bytes().to_vec(),
            receiver: receiver.public().to_bytes().to_vec(),
            session,
            bytes: verified.bytes,
            site: verified.site.map_or_else(Vec::new, |site| site.0.to_vec()),
            edge_bytes: verified.edge_bytes,
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
        let wire::Receipt { session, bytes, edge_bytes, site, .. } = inner;
        // What names no site in full names none.
        let site = site.try_into().ok().map(SiteId);
        Ok(Self { provider, receiver, session, bytes, edge_bytes, site })
    }

    /// The site that a receipt names. Not verified.
    pub fn site_of(signed: &wire::SignedReceipt) -> Option<SiteId> {
        let inner = wire::Receipt::decode(signed.receipt.as_slice()).ok()?;
        inner.site.try_into().ok().map(SiteId)
    }
}

#[cfg(feature = "rendezvous")]
impl Receipt {
    /// Who signed a receipt, by what it says. Not verified.
    pub fn receiver_of(signed: &wire::SignedReceipt) -> Option<PublicKey> {
        let inner = wire::Receipt::decode(signed.receipt.as_slice()).ok()?;
        PublicKey::from_bytes(&inner.receiver).ok()
    }
}

/// Both directions of one link's accounts.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Verified, of what the remote sent.
    pub verified: u64,
    /// Verified, of what the remote's HTTP edge sent.
    pub edge_verified: u64,
    /// Of both, signed for.
    pub signed: u64,
    /// Handed to the shell to send, or sent.
    pub sent: u64,
    /// Of that, receipted.
    pub receipted: u64,
    /// Receipted of what our HTTP edge sent, by the remote's word.
    pub edge_receipted: u64,
    /// The newest receipt, to hand in.
    pub newest: Option<wire::SignedReceipt>,
}

impl Account {
    /// Takes a receipt of the remote's. Says how much more of what the link sent it signs for.
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
        let shrinks = receipt.bytes < self.receipted || receipt.edge_bytes < self.edge_receipted;
        if !fits || shrinks || receipt.bytes > self.sent {
            return Err(Offence::BadReceipt);
        }
        let gained = receipt.bytes - self.receipted;
        (self.receipted, self.edge_receipted) = (receipt.bytes, receipt.edge_bytes);
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
        site: Option<SiteId>,
    ) -> Option<wire::SignedReceipt> {
        let open = self.verified + self.edge_verified - self.signed;
        if open == 0 || (!settle && open < RECEIPT_EVERY_BYTES) {
            return None;
        }
        self.signed = self.verified + self.edge_verified;
        let verified = Verified { bytes: self.verified, edge_bytes: self.edge_verified, site };
        Some(Receipt::sign(receiver, provider, session, verified))
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
        let signed = theirs.due(false, &receiver, &provider.public(), 9, None).unwrap();
        assert_eq!(theirs.due(true, &receiver, &provider.public(), 9, None), None);
        let take = |account: &mut Account, signed, session| {
            account.take_receipt(signed, &provider.public(), &receiver.public(), session)
        };
        assert_eq!(take(&mut ours, signed.clone(), 8), Err(Offence::BadReceipt));
        assert_eq!(take(&mut ours, signed.clone(), 9), Ok(2 << 20));
        assert_eq!(take(&mut ours, signed.clone(), 9), Ok(0));
        let shrunk = Receipt::sign(&receiver, &provider.public(), 9, Verified::of(1));
        assert_eq!(take(&mut ours, shrunk, 9), Err(Offence::BadReceipt));
        let inflated = Receipt::sign(&receiver, &provider.public(), 9, Verified::of(4 << 20));
        assert_eq!(take(&mut ours, inflated, 9), Err(Offence::BadReceipt));
        let mut forged = signed;
        forged.signature[5] ^= 1;
        assert_eq!(take(&mut ours, forged, 9), Err(Offence::BadReceipt));
    }

    #[test]
    fn what_the_edge_gave_is_signed_for_beside_what_the_link_did() {
        let (provider, receiver) = (Keypair::from_secret([1; 32]), Keypair::from_secret([2; 32]));
        let mut theirs = Account { verified: 5, edge_verified: 7, ..Account::default() };
        let site = Some(SiteId([3; 32]));
        let signed = theirs.due(true, &receiver, &provider.public(), 9, site).unwrap();
        let receipt = Receipt::open(&signed).unwrap();
        assert_eq!((receipt.bytes, receipt.edge_bytes, receipt.site), (5, 7, site));
        let mut ours = Account { sent: 5, ..Account::default() };
        let take = |account: &mut Account, signed| {
            account.take_receipt(signed, &provider.public(), &receiver.public(), 9)
        };
        assert_eq!(take(&mut ours, signed), Ok(5));
        assert_eq!((ours.receipted, ours.edge_receipted), (5, 7));
        let fewer = Verified { edge_bytes: 6, ..Verified::of(5) };
        let fewer = Receipt::sign(&receiver, &provider.public(), 9, fewer);
        assert_eq!(take(&mut ours, fewer), Err(Offence::BadReceipt));
    }
}
