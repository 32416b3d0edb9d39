//! Ed25519 keys (RFC 8032) as libp2p uses them, and signatures bound to a context.
//!
//! Every signed statement has a [`Context`]; the signature covers the context's name, a zero byte and the
//! payload. A signature made for one kind of statement is therefore never valid for another.

use core::{fmt, str::FromStr};

use libp2p_identity::{PeerId, ed25519};

/// Length of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// An Ed25519 signature.
pub type Signature = [u8; SIGNATURE_BYTES];

/// What a signature is about. Names carry a version, so that a changed payload gets a new context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A site's manifest.
    Manifest,
    /// A publisher's permission for another key to sign manifests.
    Delegation,
    /// A count of bytes that a receiver verified.
    Receipt,
    /// Who is paid for what a tab gives.
    Earner,
    /// What a node says it provides.
    Advert,
    /// A peer's statement that another peer served bytes that do not verify.
    Report,
    /// How a tab that wants a neighbour can be reached.
    Offer,
    /// How the tab that answers it can be.
    Answer,
    /// What an object of a bucket is made of.
    ObjectRecord,
    /// What a holder shows of a shard it was asked about.
    ShardProof,
    /// What a provider asks for its service.
    #[cfg(feature = "economy")]
    Quote,
    /// That a node pays for a site.
    #[cfg(feature = "economy")]
    Agreement,
    /// That a peer key and an account are one person's.
    #[cfg(feature = "economy")]
    Binding,
    /// That grants are good no longer.
    #[cfg(feature = "economy")]
    Revocation,
    /// Who operates a node, as `StakeRegistry` records it.
    #[cfg(feature = "economy")]
    StakeBinding,
    /// What a holder of shards offers.
    HolderAdvert,
    /// An operator's word that a holder is its own.
    HolderOperator,
    /// A holder's promise to keep a shard.
    Lease,
    /// An auditor's account of an audit that failed.
    FailedAudit,
}

impl Context {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Manifest => b"blackhole/cdn/manifest/1",
            Self::Delegation => b"blackhole/cdn/delegation/1",
            Self::Receipt => b"blackhole/cdn/receipt/1",
            Self::Earner => b"blackhole/cdn/earner/1",
            Self::Advert => b"blackhole/coordination/advert/1",
            Self::Report => b"blackhole/cdn/report/1",
            Self::Offer => b"blackhole/cdn/offer/1",
            Self::Answer => b"blackhole/cdn/answer/1",
            Self::ObjectRecord => b"blackhole/storage/object/1",
            Self::ShardProof => b"blackhole/storage/proof/1",
            #[cfg(feature = "economy")]
            Self::Quote => b"blackhole/economy/quote/1",
            #[cfg(feature = "economy")]
            Self::Agreement => b"blackhole/economy/agreement/1",
            #[cfg(feature = "economy")]
            Self::Binding => b"blackhole/identity/binding/1",
            #[cfg(feature = "economy")]
            Self::Revocation => b"blackhole/identity/revocation/1",
            #[cfg(feature = "economy")]
            Self::StakeBinding => b"blackhole/stake/binding/1",
            Self::HolderAdvert => b"blackhole/storage/holder/1",
            Self::HolderOperator => b"blackhole/storage/operator/1",
            Self::Lease => b"blackhole/storage/lease/1",
            Self::FailedAudit => b"blackhole/storage/evidence/1",
        }
    }

    fn message(self, payload: &[u8]) -> Vec<u8> {
        [self.name(), &[0], payload].concat()
    }
}

/// Why a text or bytes are not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not a point on the curve, or not 32 of them.
    #[error("not an Ed25519 key: {0}")]
    Bytes(String),
    /// The text is not `did:key:z6Mk…` and not a libp2p peer id of an Ed25519 key.
    #[error("expected did:key:z6Mk… or 12D3Koo…, found {0:?}")]
    Text(String),
}

/// A secret key. It prints as its public half only.
#[derive(Clone)]
pub struct Keypair(ed25519::Keypair);

impl Keypair {
    /// The key of 32 secret bytes, which the caller drew from a secure source.
    pub fn from_secret(mut secret: [u8; 32]) -> Self {
        let secret = ed25519::SecretKey::try_from_bytes(&mut secret);
        Self(secret.expect("any 32 bytes are an Ed25519 secret").into())
    }

    /// The 32 secret bytes, for a key file readable by its owner alone.
    pub fn to_secret(&self) -> [u8; 32] {
        let secret = self.0.secret();
        secret.as_ref().try_into().expect("an Ed25519 secret has 32 bytes")
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public())
    }

    /// Signs `payload` as a statement of the kind `context`.
    pub fn sign(&self, context: Context, payload: &[u8]) -> Signature {
        let signature = self.0.sign(&context.message(payload));
        signature.try_into().expect("an Ed25519 signature has 64 bytes")
    }

    /// The same key as libp2p's type, for transports.
    pub fn to_libp2p(&self) -> libp2p_identity::Keypair {
        self.0.clone().into()
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({})", self.public())
    }
}

/// A public key. Prints as `did:key:z6Mk…`; reads that or a peer id.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(ed25519::PublicKey);

/// Multicodec prefix of an Ed25519 public key (multicodec table, `ed25519-pub`, 0xed as a varint).
const ED25519_MULTICODEC: [u8; 2] = [0xed, 0x01];
const DID_KEY: &str = "did:key:z";
/// Longer than any key's text; what is longer is refused before it is decoded.
const MAX_KEY_TEXT_BYTES: usize = 128;

impl PublicKey {
    /// Parses 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Bytes`] if they are no key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        ed25519::PublicKey::try_from_bytes(bytes).map(Self).map_err(|e| KeyError::Bytes(e.to_string()))
    }

    /// The key's 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key as libp2p names it.
    pub fn to_peer_id(&self) -> PeerId {
        libp2p_identity::PublicKey::from(self.0.clone()).to_peer_id()
    }

    /// The key inside a peer id. Ed25519 peer ids carry their key whole (libp2p peer id specification).
    ///
    /// # Errors
    /// [`KeyError::Text`] if the peer id hashes another kind of key.
    pub fn from_peer_id(peer: &PeerId) -> Result<Self, KeyError> {
        let hash = peer.as_ref();
        // Multihash code 0 is the identity: the digest is the protobuf-encoded key.
        let decoded = (hash.code() == 0)
            .then(|| libp2p_identity::PublicKey::try_decode_protobuf(hash.digest()).ok())
            .flatten();
        match decoded.map(libp2p_identity::PublicKey::try_into_ed25519) {
            Some(Ok(key)) => Ok(Self(key)),
            _ => Err(KeyError::Text(peer.to_string())),
        }
    }

    /// Whether `signature` is this key's over `payload` as a statement of the kind `context`.
    #[must_use]
    pub fn verify(&self, context: Context, payload: &[u8], signature: &[u8]) -> bool {
        signature.len() == SIGNATURE_BYTES && self.0.verify(&context.message(payload), signature)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&ED25519_MULTICODEC[..], &self.to_bytes()].concat();
        write!(f, "{DID_KEY}{}", bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let refuse = || KeyError::Text(text.chars().take(MAX_KEY_TEXT_BYTES).collect());
        if text.len() > MAX_KEY_TEXT_BYTES {
            return Err(refuse());
        }
        if let Some(encoded) = text.strip_prefix(DID_KEY) {
            let bytes = bs58::decode(encoded).into_vec().map_err(|_| refuse())?;
            let key = bytes.strip_prefix(&ED25519_MULTICODEC).ok_or_else(refuse)?;
            return Self::from_bytes(key);
        }
        let peer: PeerId = text.parse().map_err(|_| refuse())?;
        Self::from_peer_id(&peer)
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.to_bytes().cmp(&other.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Keypair {
        Keypair::from_secret([n; 32])
    }

    #[test]
    fn a_key_reads_back_from_both_its_names() {
        let public = key(1).public();
        assert_eq!(public.to_string().parse(), Ok(public.clone()));
        assert_eq!(public.to_peer_id().to_string().parse(), Ok(public.clone()));
        assert!(public.to_string().starts_with("did:key:z6Mk"));
    }

    #[test]
    fn did_key_matches_the_specification_example() {
        // W3C CCG did:key, Ed25519 test vector.
        let text = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        let key: PublicKey = text.parse().unwrap();
        let bytes = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
        assert_eq!(hex::encode(key.to_bytes()), bytes);
        assert_eq!(key.to_string(), text);
    }

    #[test]
    fn a_signature_is_good_for_its_context_only() {
        let signature = key(2).sign(Context::Manifest, b"payload");
        let public = key(2).public();
        assert!(public.verify(Context::Manifest, b"payload", &signature));
        assert!(!public.verify(Context::Delegation, b"payload", &signature));
        assert!(!public.verify(Context::Manifest, b"payloaD", &signature));
        assert!(!public.verify(Context::Manifest, b"payload", &signature[..63]));
        assert!(!key(3).public().verify(Context::Manifest, b"payload", &signature));
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_was_found() {
        for text in ["", "did:key:", "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", "hello"] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
        let long = "did:key:z".to_owned() + &"6".repeat(100_000);
        let Err(KeyError::Text(echo)) = long.parse::<PublicKey>() else { panic!("accepted") };
        assert!(echo.len() <= MAX_KEY_TEXT_BYTES);
    }

    #[test]
    fn a_secret_never_prints() {
        let printed = format!("{:?}", key(4));
        assert!(!printed.contains(&hex::encode([4; 32])));
        assert!(printed.contains("did:key"));
    }
}
