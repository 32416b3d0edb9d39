//! A publisher lets another key, typically its supernode's, sign manifests of one site for a while.
//!
//! A delegation is revoked at once by pinning a higher serial in the page's script tag, and in any case
//! by its expiry.

use prost::Message as _;

use super::{Context, Keypair, PublicKey};
use crate::{base::UnixSeconds, wire::cdn as wire};

/// How far a reader's clock may be off before expiry is believed: a day and an hour, because visitors'
/// clocks are off by time zones and forgotten dates far more often than by attacks.
pub const CLOCK_SKEW_SECONDS: u64 = 25 * 3600;

/// No host name is longer (RFC 1035).
pub const MAX_SITE_NAME_BYTES: usize = 255;

/// A delegation whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Who permits.
    pub publisher: PublicKey,
    /// Who may sign.
    pub delegate: PublicKey,
    /// The one site it is good for.
    pub site: String,
    /// Good from here on,
    pub not_before: UnixSeconds,
    /// and no longer than to here.
    pub expires: UnixSeconds,
    /// Grows with each delegation the publisher makes for the site.
    pub serial: u64,
}

/// Why a delegation does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// The bytes are not a delegation.
    #[error("the delegation cannot be read: {0}")]
    Malformed(String),
    /// Not signed by the publisher it names.
    #[error("the delegation's signature is not its publisher's")]
    Signature,
    /// Outside its time.
    #[error("the delegation was good from {} to {}, and it is {} now", .not_before.0, .expires.0, .now.0)]
    Expired {
        /// Start of its time.
        not_before: UnixSeconds,
        /// End of its time.
        expires: UnixSeconds,
        /// The reader's clock.
        now: UnixSeconds,
    },
    /// The publisher has since pinned a higher serial.
    #[error("the delegation has serial {serial}, and the publisher asks for {pinned} or higher")]
    Revoked {
        /// The delegation's.
        serial: u64,
        /// The lowest the publisher accepts.
        pinned: u64,
    },
}

impl Delegation {
    /// Whether the delegation is good at `now`, for a page that pins `min_serial`.
    ///
    /// # Errors
    /// [`DelegationError::Expired`] or [`DelegationError::Revoked`].
    pub fn check(&self, now: UnixSeconds, min_serial: u64) -> Result<(), DelegationError> {
        if self.serial < min_serial {
            return Err(DelegationError::Revoked { serial: self.serial, pinned: min_serial });
        }
        let (not_before, expires) = (self.not_before, self.expires);
        let too_early = now.plus(CLOCK_SKEW_SECONDS) < not_before;
        if too_early || now > expires.plus(CLOCK_SKEW_SECONDS) {
            return Err(DelegationError::Expired { not_before, expires, now });
        }
        Ok(())
    }

    /// Signs this delegation. `self.publisher` is taken from `publisher`.
    pub fn sign(&self, publisher: &Keypair) -> wire::SignedDelegation {
        let delegation = wire::Delegation {
            publisher: publisher.public().to_bytes().to_vec(),
            delegate: self.delegate.to_bytes().to_vec(),
            site: self.site.clone(),
            not_before_unix: self.not_before.0,
            expires_unix: self.expires.0,
            serial: self.serial,
        }
        .encode_to_vec();
        let signature = publisher.sign(Context::Delegation, &delegation).to_vec();
        wire::SignedDelegation { delegation, signature }
    }

    /// Reads and verifies a delegation. Whether it is good *now* is [`Delegation::check`]'s question.
    ///
    /// # Errors
    /// [`DelegationError::Malformed`] or [`DelegationError::Signature`].
    pub fn open(signed: &wire::SignedDelegation) -> Result<Self, DelegationError> {
        let malformed = |what: &dyn ToString| DelegationError::Malformed(what.to_string());
        let inner = wire::Delegation::decode(signed.delegation.as_slice()).map_err(|e| malformed(&e))?;
        let publisher = PublicKey::from_bytes(&inner.publisher).map_err(|e| malformed(&e))?;
        let delegate = PublicKey::from_bytes(&inner.delegate).map_err(|e| malformed(&e))?;
        if inner.site.is_empty() || inner.site.len() > MAX_SITE_NAME_BYTES {
            return Err(malformed(&"its site name is empty or too long"));
        }
        if !publisher.verify(Context::Delegation, &signed.delegation, &signed.signature) {
            return Err(DelegationError::Signature);
        }
        Ok(Self {
            publisher,
            delegate,
            site: inner.site,
            not_before: UnixSeconds(inner.not_before_unix),
            expires: UnixSeconds(inner.expires_unix),
            serial: inner.serial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn example() -> (Keypair, Delegation) {
        let publisher = Keypair::from_secret([1; 32]);
        let delegation = Delegation {
            publisher: publisher.public(),
            delegate: Keypair::from_secret([2; 32]).public(),
            site: "example.org".to_owned(),
            not_before: UnixSeconds(1000 * DAY),
            expires: UnixSeconds(1030 * DAY),
            serial: 3,
        };
        (publisher, delegation)
    }

    #[test]
    fn a_delegation_opens_to_what_was_signed() {
        let (publisher, delegation) = example();
        assert_eq!(Delegation::open(&delegation.sign(&publisher)), Ok(delegation));
    }

    #[test]
    fn any_changed_byte_is_caught() {
        let (publisher, delegation) = example();
        let signed = delegation.sign(&publisher);
        for at in 0..signed.delegation.len() {
            let mut forged = signed.clone();
            forged.delegation[at] ^= 1;
            assert!(Delegation::open(&forged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn it_holds_in_its_time_and_from_the_pinned_serial_on() {
        let (_, delegation) = example();
        let check = |day: u64, pinned| delegation.check(UnixSeconds(day * DAY), pinned);
        assert_eq!(check(1010, 3), Ok(()));
        // A visitor's clock may be off by a day.
        assert_eq!(check(999, 0), Ok(()));
        assert_eq!(check(1031, 0), Ok(()));
        assert!(matches!(check(1040, 0), Err(DelegationError::Expired { .. })));
        assert!(matches!(check(900, 0), Err(DelegationError::Expired { .. })));
        assert!(matches!(check(1010, 4), Err(DelegationError::Revoked { .. })));
    }
}
