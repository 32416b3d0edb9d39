//! Agreements: a publisher lets a node pay for what visitors of one site get, from one account, up to a price.
//!
//! It says who is asked for money and who may see the evidence: receipts tell which visitors got how much. The publisher's
//! key stays where it is; the node that pays holds the agreement alone.

use core::num::NonZeroU64;

use prost::Message as _;

use super::{price::Price, voucher::ChannelContract};
use crate::{
    base::UnixSeconds,
    identity::{Account, CLOCK_SKEW_SECONDS, Context, Keypair, MAX_SITE_NAME_BYTES, PublicKey},
    wire::economy as wire,
};

/// A year: what nobody remembers to have agreed to ends by itself.
pub const AGREEMENT_SECONDS_MAX: u64 = 366 * 86_400;
/// Two keys, two accounts, a name, seven numbers.
pub const MAX_AGREEMENT_BYTES: usize = 512;

/// An agreement whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Whose site it is.
    pub publisher: PublicKey,
    /// Its name.
    pub site: String,
    /// The node that pays.
    pub node: PublicKey,
    /// From which account,
    pub payer: Account,
    /// and through which contract.
    pub contract: ChannelContract,
    /// No more than this.
    pub price: Price,
    /// And this for what visitors' tabs give to each other, which goes to them; without it nothing.
    pub tabs: Option<Price>,
    /// Good from here on,
    pub issued: UnixSeconds,
    /// to here.
    pub expires: UnixSeconds,
}

/// Why an agreement does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgreementError {
    /// The bytes are no agreement.
    #[error("the agreement cannot be read")]
    Malformed,
    /// Not signed by the publisher that it names.
    #[error("the agreement's signature is not its publisher's")]
    Signature,
    /// It is not its time.
    #[error("the agreement was good from {} to {}", .issued.0, .expires.0)]
    Expired {
        /// Start of its time.
        issued: UnixSeconds,
        /// End of its time.
        expires: UnixSeconds,
    },
}

impl Agreement {
    /// Signs it. `self.publisher` is taken from `publisher`.
    pub fn sign(&self, publisher: &Keypair) -> wire::SignedAgreement {
        let agreement = wire::Agreement {
            publisher: publisher.public().to_bytes().to_vec(),
            site: self.site.clone(),
            node: self.node.to_bytes().to_vec(),
            payer: self.payer.0.to_vec(),
            chain_id: self.contract.chain_id,
            contract: self.contract.address.0.to_vec(),
            amount: self.price.amount,
            per: self.price.per.get(),
            issued_unix: self.issued.0,
            expires_unix: self.expires.0,
            tabs_amount: self.tabs.map_or(0, |price| price.amount),
            tabs_per: self.tabs.map_or(0, |price| price.per.get()),
        }
        .encode_to_vec();
        let signature = publisher.sign(Context::Agreement, &agreement).to_vec();
        wire::SignedAgreement { agreement, signature }
    }

    /// Reads and verifies an agreement. Whether it is its time is [`Agreement::check`]'s question.
    ///
    /// # Errors
    /// [`AgreementError::Malformed`] or [`AgreementError::Signature`].
    pub fn open(signed: &wire::SignedAgreement) -> Result<Self, AgreementError> {
        if signed.agreement.len() > MAX_AGREEMENT_BYTES {
            return Err(AgreementError::Malformed);
        }
        let malformed = |_| AgreementError::Malformed;
        let inner = wire::Agreement::decode(signed.agreement.as_slice()).map_err(malformed)?;
        let key = |bytes: &[u8]| PublicKey::from_bytes(bytes).map_err(|_| AgreementError::Malformed);
        let account = |bytes: &[u8]| Account::try_from(bytes).map_err(|_| AgreementError::Malformed);
        let (publisher, node) = (key(&inner.publisher)?, key(&inner.node)?);
        let (issued, expires) = (UnixSeconds(inner.issued_unix), UnixSeconds(inner.expires_unix));
        let named = !inner.site.is_empty() && inner.site.len() <= MAX_SITE_NAME_BYTES;
        if !named || expires < issued || expires.0 - issued.0 > AGREEMENT_SECONDS_MAX {
            return Err(AgreementError::Malformed);
        }
        if !publisher.verify(Context::Agreement, &signed.agreement, &signed.signature) {
            return Err(AgreementError::Signature);
        }
        Ok(Self {
            publisher,
            site: inner.site,
            node,
            payer: account(&inner.payer)?,
            contract: ChannelContract { chain_id: inner.chain_id, address: account(&inner.contract)? },
            price: Price {
                amount: inner.amount,
                per: NonZeroU64::new(inner.per).ok_or(AgreementError::Malformed)?,
            },
            tabs: NonZeroU64::new(inner.tabs_per).map(|per| Price { amount: inner.tabs_amount, per }),
            issued,
            expires,
        })
    }

    /// Whether it is good at `now`.
    ///
    /// # Errors
    /// [`AgreementError::Expired`].
    pub fn check(&self, now: UnixSeconds) -> Result<(), AgreementError> {
        let (issued, expires) = (self.issued, self.expires);
        if now.plus(CLOCK_SKEW_SECONDS) < issued || now > expires {
            return Err(AgreementError::Expired { issued, expires });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement() -> (Keypair, Agreement) {
        let publisher = Keypair::from_secret([1; 32]);
        let agreement = Agreement {
            publisher: publisher.public(),
            site: "site.example".to_owned(),
            node: Keypair::from_secret([2; 32]).public(),
            payer: Account([3; 20]),
            contract: ChannelContract { chain_id: 137, address: Account([4; 20]) },
            price: Price { amount: 3, per: NonZeroU64::new(1000).unwrap() },
            tabs: Some(Price { amount: 1, per: NonZeroU64::new(1000).unwrap() }),
            issued: UnixSeconds(1_000_000),
            expires: UnixSeconds(2_000_000),
        };
        (publisher, agreement)
    }

    #[test]
    fn an_agreement_holds_by_its_publishers_signature_and_in_its_time() {
        let (publisher, agreement) = agreement();
        let signed = agreement.sign(&publisher);
        assert_eq!(Agreement::open(&signed).unwrap(), agreement);
        assert_eq!(agreement.check(UnixSeconds(1_500_000)), Ok(()));
        assert!(agreement.check(UnixSeconds(2_000_001)).is_err());
        assert!(agreement.check(UnixSeconds(1_000_000 - CLOCK_SKEW_SECONDS - 1)).is_err());
        let mut forged = signed.clone();
        forged.signature[7] ^= 1;
        assert_eq!(Agreement::open(&forged), Err(AgreementError::Signature));
        let another = agreement.sign(&Keypair::from_secret([9; 32]));
        let moved = wire::SignedAgreement { signature: another.signature, ..signed };
        assert_eq!(Agreement::open(&moved), Err(AgreementError::Signature));
    }

    #[test]
    fn one_without_end_or_price_is_none() {
        let (publisher, agreement) = agreement();
        let endless = Agreement { expires: UnixSeconds(u64::MAX), ..agreement.clone() };
        assert_eq!(Agreement::open(&endless.sign(&publisher)), Err(AgreementError::Malformed));
        let nameless = Agreement { site: String::new(), ..agreement };
        assert_eq!(Agreement::open(&nameless.sign(&publisher)), Err(AgreementError::Malformed));
    }
}
