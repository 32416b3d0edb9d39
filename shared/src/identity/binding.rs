//! That a peer key and an account are one person's: a record that both sign.
//!
//! Either signature alone would let anybody claim somebody else's fame or money. Both are over the same statement, so
//! neither can be taken out of one record and put into another.

use prost::Message as _;

use super::{
    Account, AccountKey, AccountSignature, CLOCK_SKEW_SECONDS, Context, Keypair, PublicKey,
    eip712::{Domain, Word, account_word, keccak256, number_word, struct_hash},
};
use crate::{base::UnixSeconds, wire::economy as wire};

/// A record is renewed at least once a year: a key that was lost is not believed for ever.
pub const BINDING_SECONDS_MAX: u64 = 366 * 86_400;
/// Two keys and four numbers.
const MAX_BINDING_BYTES: usize = 128;

/// A binding whose signatures were both verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The peer.
    pub peer: PublicKey,
    /// Its account,
    pub account: Account,
    /// on this chain.
    pub chain_id: u64,
    /// Grows with each binding of the peer; the highest replaces all others.
    pub serial: u64,
    /// Good from here on,
    pub issued: UnixSeconds,
    /// and no longer than to here.
    pub expires: UnixSeconds,
}

/// Why a record binds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The bytes are no binding.
    #[error("the binding cannot be read")]
    Malformed,
    /// It would hold for too long, or ends before it begins.
    #[error("a binding holds for at most {BINDING_SECONDS_MAX} seconds")]
    Lifetime,
    /// Not signed by the peer it names.
    #[error("the peer's signature is not its key's")]
    PeerSignature,
    /// Not signed by the account it names.
    #[error("the account's signature is not the account's")]
    AccountSignature,
    /// Outside its time.
    #[error("the binding is not good at {0:?}")]
    Expired(UnixSeconds),
    /// A newer one was seen.
    #[error("the binding has serial {serial}, and {seen} was seen")]
    Replaced {
        /// The record's.
        serial: u64,
        /// The highest seen.
        seen: u64,
    },
}

impl Binding {
    /// What the account signs.
    pub fn digest(&self) -> Word {
        let domain = Domain { name: "Blackhole", version: "1", chain_id: self.chain_id, contract: None };
        let kind = "Binding(bytes32 peer,address account,uint64 serial,uint64 issued,uint64 expires)";
        let numbers = [self.serial, self.issued.0, self.expires.0].map(|number| number_word(number.into()));
        let [serial, issued, expires] = numbers;
        let words = [self.peer.to_bytes(), account_word(self.account), serial, issued, expires];
        domain.separator().digest(&struct_hash(kind, &words))
    }

    /// Signs with both keys; `self.peer` and `self.account` are taken from them.
    pub fn sign(mut self, peer: &Keypair, account: &AccountKey) -> wire::SignedBinding {
        (self.peer, self.account) = (peer.public(), account.account());
        let signature = account.sign(&self.digest());
        self.sign_by_peer(peer, signature)
    }

    /// The same with the signature of a wallet that signed [`Binding::digest`] elsewhere.
    pub fn sign_by_peer(&self, peer: &Keypair, account: AccountSignature) -> wire::SignedBinding {
        let binding = self.encode();
        let peer_signature = peer.sign(Context::Binding, &binding).to_vec();
        wire::SignedBinding { binding, peer_signature, account_signature: account.0.to_vec() }
    }

    /// Reads a record and verifies both signatures. Whether it is good *now* is [`Binding::check`]'s question.
    ///
    /// # Errors
    /// [`BindingError`], all but [`BindingError::Expired`] and [`BindingError::Replaced`].
    pub fn open(signed: &wire::SignedBinding) -> Result<Self, BindingError> {
        if signed.binding.len() > MAX_BINDING_BYTES {
            return Err(BindingError::Malformed);
        }
        let inner = wire::Binding::decode(signed.binding.as_slice()).map_err(|_| BindingError::Malformed)?;
        let binding = Self {
            peer: PublicKey::from_bytes(&inner.peer).map_err(|_| BindingError::Malformed)?,
            account: inner.account.as_slice().try_into().map_err(|_| BindingError::Malformed)?,
            chain_id: inner.chain_id,
            serial: inner.serial,
            issued: UnixSeconds(inner.issued_unix),
            expires: UnixSeconds(inner.expires_unix),
        };
        let lifetime = binding.expires.0.checked_sub(binding.issued.0);
        if lifetime.is_none_or(|seconds| seconds > BINDING_SECONDS_MAX) {
            return Err(BindingError::Lifetime);
        }
        if !binding.peer.verify(Context::Binding, &signed.binding, &signed.peer_signature) {
            return Err(BindingError::PeerSignature);
        }
        let signature = AccountSignature::from_bytes(&signed.account_signature);
        let signer = signature.and_then(|signature| signature.recover(&binding.digest()));
        if signer.is_none_or(|signer| signer.account() != binding.account) {
            return Err(BindingError::AccountSignature);
        }
        Ok(binding)
    }

    /// Whether it is good at `now`, for a reader that has seen `seen` as the peer's highest serial.
    ///
    /// # Errors
    /// [`BindingError::Expired`] or [`BindingError::Replaced`].
    pub fn check(&self, now: UnixSeconds, seen: u64) -> Result<(), BindingError> {
        if self.serial < seen {
            return Err(BindingError::Replaced { serial: self.serial, seen });
        }
        let early = now.plus(CLOCK_SKEW_SECONDS) < self.issued;
        if early || now > self.expires {
            return Err(BindingError::Expired(now));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let binding = wire::Binding {
            peer: self.peer.to_bytes().to_vec(),
            account: self.account.0.to_vec(),
            chain_id: self.chain_id,
            serial: self.serial,
            issued_unix: self.issued.0,
            expires_unix: self.expires.0,
        };
        binding.encode_to_vec()
    }
}

/// What a node's key signs for `StakeRegistry`, where the chain records it and whoever reads it checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StakeBinding {
    /// The chain,
    pub chain_id: u64,
    /// the registry on it,
    pub registry: Account,
    /// and who operates the node.
    pub operator: Account,
}

impl StakeBinding {
    /// The peer's signature.
    pub fn sign(&self, peer: &Keypair) -> [u8; 64] {
        peer.sign(Context::StakeBinding, &self.payload())
    }

    /// Whether the record's signature is the key's: a record where it is not counts for nothing.
    #[must_use]
    pub fn verify(&self, peer: &PublicKey, signature: &[u8]) -> bool {
        peer.verify(Context::StakeBinding, &self.payload(), signature)
    }

    /// The name that the registry gives the node.
    pub fn node_name(&self, peer: &PublicKey) -> Word {
        keccak256(&[&account_word(self.operator), &peer_id_hash(peer)])
    }

    fn payload(&self) -> Vec<u8> {
        [&number_word(self.chain_id.into())[..], &self.registry.0, &self.operator.0].concat()
    }
}

/// The Keccak hash of a peer id, by which contracts name peers.
pub fn peer_id_hash(peer: &PublicKey) -> Word {
    keccak256(&[&peer.to_peer_id().to_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Keypair, AccountKey, Binding) {
        let (peer, account) = (Keypair::from_secret([1; 32]), AccountKey::from_secret([2; 32]).unwrap());
        let binding = Binding {
            peer: peer.public(),
            account: account.account(),
            chain_id: 137,
            serial: 4,
            issued: UnixSeconds(1_000_000),
            expires: UnixSeconds(2_000_000),
        };
        (peer, account, binding)
    }

    #[test]
    fn both_signatures_are_needed_and_over_the_same() {
        let (peer, account, binding) = example();
        let signed = binding.clone().sign(&peer, &account);
        assert_eq!(Binding::open(&signed), Ok(binding.clone()));
        for at in 0..signed.binding.len() {
            let mut forged = signed.clone();
            forged.binding[at] ^= 1;
            assert!(Binding::open(&forged).is_err(), "byte {at}");
        }
        // An account's signature of another record.
        let later = Binding { serial: 5, ..binding.clone() };
        let mixed = later.sign_by_peer(&peer, account.sign(&binding.digest()));
        assert_eq!(Binding::open(&mixed), Err(BindingError::AccountSignature));
        let stranger = binding.sign_by_peer(&Keypair::from_secret([3; 32]), account.sign(&binding.digest()));
        assert_eq!(Binding::open(&stranger), Err(BindingError::PeerSignature));
    }

    #[test]
    fn it_holds_in_its_time_and_until_a_newer_one_is_seen() {
        let (peer, account, binding) = example();
        assert_eq!(binding.check(UnixSeconds(1_500_000), 4), Ok(()));
        let replaced = Err(BindingError::Replaced { serial: 4, seen: 5 });
        assert_eq!(binding.check(UnixSeconds(1_500_000), 5), replaced);
        assert!(matches!(binding.check(UnixSeconds(2_000_001), 4), Err(BindingError::Expired(_))));
        let long = Binding { expires: UnixSeconds(1_000_000 + BINDING_SECONDS_MAX + 1), ..binding };
        assert_eq!(Binding::open(&long.sign(&peer, &account)), Err(BindingError::Lifetime));
    }

    #[test]
    fn a_stakes_binding_is_good_for_its_operator_only() {
        let (peer, account, _) = example();
        let binding = StakeBinding { chain_id: 1, registry: Account([5; 20]), operator: account.account() };
        let signature = binding.sign(&peer);
        assert!(binding.verify(&peer.public(), &signature));
        let other = StakeBinding { operator: Account([6; 20]), ..binding };
        assert!(!other.verify(&peer.public(), &signature));
        assert_ne!(other.node_name(&peer.public()), binding.node_name(&peer.public()));
    }
}
