//! Grants that are good no longer. An issuer says so, everybody who hears it passes it on, and remembers it for as long as
//! the grant could have been good.
//!
//! Only an issuer revokes, and only what follows from its own grants: a stranger's revocation fills no memory but its
//! own share, and takes nothing from anybody.

use std::collections::BTreeMap;

use prost::Message as _;

use super::{Context, Keypair, PublicKey, eip712::Word};
use crate::{base::UnixSeconds, wire::economy as wire};

/// A message of gossip stays small.
pub const MAX_REVOKED_BLOCKS: usize = 64;
/// Blocks that are remembered: some 20 MB. More is refused, not forgotten: what was revoked stays so.
pub const REVOCATIONS_MAX: usize = 200_000;
/// Of one issuer, so that one cannot fill it for all.
const OF_ISSUER_MAX: usize = 10_000;
/// A grant lives a year at most.
const LIFETIME_SECONDS_MAX: u64 = 366 * 86_400;
const MAX_REVOCATION_BYTES: usize = 64 + MAX_REVOKED_BLOCKS * 34;

/// Why a revocation was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// The bytes are none.
    #[error("the revocation cannot be read")]
    Malformed,
    /// Not signed by the issuer it names.
    #[error("the revocation's signature is not its issuer's")]
    Signature,
    /// Of grants that ended before, or would live for ever.
    #[error("the revocation's time is over, or too far away")]
    Time,
    /// As many as are remembered.
    #[error("as many revocations are known as are remembered")]
    Full,
}

/// A revocation whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose grants.
    pub issuer: PublicKey,
    /// Hashes of the blocks' identifiers.
    pub blocks: Vec<Word>,
    /// Until when they could have been good.
    pub expires: UnixSeconds,
}

impl Revocation {
    /// Signs. `self.issuer` is taken from `issuer`.
    pub fn sign(&self, issuer: &Keypair) -> wire::SignedRevocation {
        let revocation = wire::Revocation {
            issuer: issuer.public().to_bytes().to_vec(),
            blocks: self.blocks.iter().map(|block| block.to_vec()).collect(),
            expires_unix: self.expires.0,
        }
        .encode_to_vec();
        let signature = issuer.sign(Context::Revocation, &revocation).to_vec();
        wire::SignedRevocation { revocation, signature }
    }

    /// Reads and verifies.
    ///
    /// # Errors
    /// [`RevocationError::Malformed`] or [`RevocationError::Signature`].
    pub fn open(signed: &wire::SignedRevocation) -> Result<Self, RevocationError> {
        let revocation = Self::read(&signed.revocation).ok_or(RevocationError::Malformed)?;
        if !revocation.issuer.verify(Context::Revocation, &signed.revocation, &signed.signature) {
            return Err(RevocationError::Signature);
        }
        Ok(revocation)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_REVOCATION_BYTES {
            return None;
        }
        let inner = wire::Revocation::decode(bytes).ok()?;
        if inner.blocks.is_empty() || inner.blocks.len() > MAX_REVOKED_BLOCKS {
            return None;
        }
        let blocks = inner.blocks.iter().map(|block| Word::try_from(block.as_slice()).ok());
        Some(Self {
            issuer: PublicKey::from_bytes(&inner.issuer).ok()?,
            blocks: blocks.collect::<Option<_>>()?,
            expires: UnixSeconds(inner.expires_unix),
        })
    }
}

/// All that a node knows to be revoked.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    of: BTreeMap<PublicKey, BTreeMap<Word, UnixSeconds>>,
    count: usize,
}

impl Revocations {
    /// Whether a block of an issuer's grant is revoked.
    #[must_use]
    pub fn contains(&self, issuer: &PublicKey, block: &Word) -> bool {
        self.of.get(issuer).is_some_and(|blocks| blocks.contains_key(block))
    }

    /// How many blocks are remembered.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Hears a revocation; tells whether it says anything new, and is therefore passed on.
    ///
    /// # Errors
    /// [`RevocationError`].
    pub fn handle(
        &mut self,
        now: UnixSeconds,
        signed: &wire::SignedRevocation,
    ) -> Result<bool, RevocationError> {
        let Revocation { issuer, blocks, expires } = Revocation::open(signed)?;
        if expires <= now || now.until(expires) > LIFETIME_SECONDS_MAX {
            return Err(RevocationError::Time);
        }
        self.forget(now);
        let known = self.of.get(&issuer).map_or(0, BTreeMap::len);
        if self.count + blocks.len() > REVOCATIONS_MAX || known + blocks.len() > OF_ISSUER_MAX {
            return Err(RevocationError::Full);
        }
        let of = self.of.entry(issuer).or_default();
        let mut new = false;
        for block in blocks {
            let until = of.entry(block).or_insert_with(|| {
                self.count += 1;
                UnixSeconds(0)
            });
            new |= *until < expires;
            *until = (*until).max(expires);
        }
        Ok(new)
    }

    /// What could be good no longer anyway goes.
    fn forget(&mut self, now: UnixSeconds) {
        self.of.retain(|_, blocks| {
            blocks.retain(|_, expires| *expires > now);
            !blocks.is_empty()
        });
        self.count = self.of.values().map(BTreeMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    fn revocation(blocks: Vec<Word>, expires: u64) -> (Keypair, Revocation) {
        let issuer = Keypair::from_secret([1; 32]);
        let revocation = Revocation { issuer: issuer.public(), blocks, expires: UnixSeconds(expires) };
        (issuer, revocation)
    }

    #[test]
    fn an_issuer_revokes_its_own_until_they_would_have_ended() {
        let (issuer, revocation) = revocation(vec![[5; 32]], 1_000_100);
        let mut known = Revocations::default();
        let signed = revocation.sign(&issuer);
        assert_eq!(known.handle(NOW, &signed), Ok(true));
        assert_eq!(known.handle(NOW, &signed), Ok(false), "what is known is not passed on again");
        assert!(known.contains(&issuer.public(), &[5; 32]));
        assert!(!known.contains(&Keypair::from_secret([2; 32]).public(), &[5; 32]));
        let later = Revocation { blocks: vec![[6; 32]], expires: UnixSeconds(1_000_300), ..revocation };
        assert_eq!(known.handle(NOW.plus(200), &later.sign(&issuer)), Ok(true));
        assert!(!known.contains(&issuer.public(), &[5; 32]));
        assert_eq!(known.len(), 1);
        assert_eq!(known.handle(NOW.plus(200), &signed), Err(RevocationError::Time));
    }

    #[test]
    fn what_is_forged_or_too_much_is_refused() {
        let (issuer, revocation) = revocation(vec![[5; 32]; 3], 1_000_100);
        let signed = revocation.sign(&issuer);
        for at in 0..signed.revocation.len() {
            let mut forged = signed.clone();
            forged.revocation[at] ^= 1;
            assert!(Revocation::open(&forged).is_err(), "byte {at}");
        }
        let many = Revocation { blocks: vec![[5; 32]; MAX_REVOKED_BLOCKS + 1], ..revocation.clone() };
        assert_eq!(Revocation::open(&many.sign(&issuer)), Err(RevocationError::Malformed));
        let eternal = Revocation { expires: NOW.plus(LIFETIME_SECONDS_MAX + 1), ..revocation.clone() };
        let mut known = Revocations::default();
        assert_eq!(known.handle(NOW, &eternal.sign(&issuer)), Err(RevocationError::Time));
        let mut number = 0_u64;
        let mut full = Ok(true);
        while full == Ok(true) {
            let block = |n: u64| *blake3::hash(&n.to_le_bytes()).as_bytes();
            let blocks = (number..number + 64).map(block).collect();
            number += 64;
            full = known.handle(NOW, &Revocation { blocks, ..revocation.clone() }.sign(&issuer));
        }
        assert_eq!(full, Err(RevocationError::Full));
        assert!(known.len() <= OF_ISSUER_MAX);
    }
}
