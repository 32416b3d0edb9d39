//! A grant as an access key: an identity, a secret, and a session token that only one node can open.
//!
//! ```text
//! secret        32 random bytes, drawn by the holder, that never travel in the open
//! session token libsodium's sealed box to the node's key of: version, secret, token
//! identity      PREFIX and the hash of the session token
//! ```
//!
//! The node opens the box and has the secret that requests are signed with, and the grant that they are held against. It
//! keeps nothing. Whoever sees a request, or is handed a link that was signed with it, learns neither.

use crypto_box::{
    PublicKey as BoxKey, SecretKey,
    aead::{OsRng, rand_core::RngCore as _},
};
use curve25519_dalek::edwards::CompressedEdwardsY;
use sha2::{Digest as _, Sha512};
use shared::identity::{Keypair, PublicKey};
use zeroize::Zeroizing;

use super::{GrantError, Token, token::TOKEN_TEXT_MAX};

/// How the identities of grants' access keys begin. No account's key does.
pub const ACCESS_KEY_PREFIX: &str = "BHGR";
const VERSION: u8 = 1;
const SECRET_BYTES: usize = 32;
/// What a sealed box adds: a key and a tag.
const SEAL_BYTES: usize = 32 + 16;
/// A session token's length: its contents, in base 64.
pub const SESSION_TOKEN_MAX: usize = TOKEN_TEXT_MAX + (1 + SECRET_BYTES + SEAL_BYTES).div_ceil(3) * 4;

/// What S3's tools want to be told.
#[derive(Clone)]
pub struct AccessKeys {
    /// The key's public half.
    pub id: String,
    /// Its secret half.
    pub secret: String,
    /// Goes with each request.
    pub session_token: String,
}

impl core::fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AccessKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl AccessKeys {
    /// New keys of a grant's holder for one node; neither the node nor the grant's issuer is asked.
    ///
    /// # Errors
    /// [`GrantError::Node`] where nothing can be sealed for the node's key.
    pub fn derive(token: &Token, node: &PublicKey) -> Result<Self, GrantError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        OsRng.fill_bytes(&mut *secret);
        let inside = Zeroizing::new([&[VERSION][..], &*secret, &token.to_bytes()].concat());
        let sealed = box_key(node)?.seal(&mut OsRng, &inside).map_err(|_| GrantError::Node)?;
        let session_token = multibase::encode(multibase::Base::Base64Url, sealed);
        Ok(Self { id: identity(&session_token), secret: text(&secret), session_token })
    }

    /// Opens what a holder sealed for this node, and says which grant the keys are of.
    ///
    /// # Errors
    /// [`GrantError::NotAGrant`].
    pub fn open(session_token: &str, node: &Keypair) -> Result<(Self, Token), GrantError> {
        let refuse = || GrantError::NotAGrant;
        if session_token.len() > SESSION_TOKEN_MAX {
            return Err(refuse());
        }
        let Ok((multibase::Base::Base64Url, sealed)) = multibase::decode(session_token) else {
            return Err(refuse());
        };
        let inside = secret_key(node).unseal(&sealed).map(Zeroizing::new).map_err(|_| refuse())?;
        let (version, rest) = inside.split_first().ok_or_else(refuse)?;
        let (secret, token) = rest.split_first_chunk::<SECRET_BYTES>().ok_or_else(refuse)?;
        if *version != VERSION {
            return Err(refuse());
        }
        let keys = Self {
            id: identity(session_token),
            secret: text(secret),
            session_token: session_token.to_owned(),
        };
        Ok((keys, Token::from_bytes(token)?))
    }
}

fn text(secret: &[u8; SECRET_BYTES]) -> String {
    multibase::Base::Base64Url.encode(secret)
}

fn identity(session_token: &str) -> String {
    let hash = blake3::hash(session_token.as_bytes());
    format!("{ACCESS_KEY_PREFIX}{}", &multibase::Base::Base32Upper.encode(hash.as_bytes())[..16])
}

/// The X25519 key of an Ed25519 one, as libsodium's `crypto_sign_ed25519_pk_to_curve25519` has it.
fn box_key(node: &PublicKey) -> Result<BoxKey, GrantError> {
    let point = CompressedEdwardsY(node.to_bytes()).decompress().ok_or(GrantError::Node)?;
    Ok(BoxKey::from_bytes(point.to_montgomery().to_bytes()))
}

/// Its secret half: the scalar that Ed25519 signs with (RFC 8032, 5.1.5).
fn secret_key(node: &Keypair) -> SecretKey {
    let seed = Zeroizing::new(node.to_secret());
    let hash = Sha512::digest(seed.as_slice());
    let mut scalar = [0; 32];
    scalar.copy_from_slice(&hash[..32]);
    SecretKey::from_bytes(scalar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_open_at_their_node_alone() {
        let (node, other) = (Keypair::from_secret([7; 32]), Keypair::from_secret([8; 32]));
        let token = Token { issuer: Keypair::from_secret([9; 32]).public(), grant: vec![5; 300] };
        let keys = AccessKeys::derive(&token, &node.public()).unwrap();
        let (opened, inside) = AccessKeys::open(&keys.session_token, &node).unwrap();
        assert_eq!((opened.id, opened.secret, inside), (keys.id.clone(), keys.secret.clone(), token.clone()));
        assert!(AccessKeys::open(&keys.session_token, &other).is_err());
        assert_eq!(keys.id.len(), 20);
        for at in (1..keys.session_token.len()).step_by(7) {
            let mut text = keys.session_token.clone().into_bytes();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            assert!(AccessKeys::open(&String::from_utf8(text).unwrap(), &node).is_err(), "letter {at}");
        }
        let again = AccessKeys::derive(&token, &node.public()).unwrap();
        assert!(again.secret != keys.secret && again.id != keys.id, "each derivation draws anew");
        let longest = Token { grant: vec![5; super::super::GRANT_BYTES_MAX], ..token };
        let keys = AccessKeys::derive(&longest, &node.public()).unwrap();
        assert!(AccessKeys::open(&keys.session_token, &node).is_ok());
        assert_eq!(Token::from_text(&longest.to_text()).unwrap(), longest);
    }

    #[test]
    fn garbage_is_refused() {
        let node = Keypair::from_secret([7; 32]);
        for text in ["", "u", "uAAAA", "zzz", "ü", &"u".repeat(SESSION_TOKEN_MAX + 1)] {
            assert!(AccessKeys::open(text, &node).is_err());
            assert!(Token::from_text(text).is_err());
        }
    }
}
