//! A grant as text: what its holder keeps, narrows and passes on.

use shared::identity::PublicKey;

use super::{GRANT_BYTES_MAX, GrantError};

/// The form of what follows; another form gets another number.
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 32;
/// Base 64 of a head and the longest grant, with the letter that says so.
pub const TOKEN_TEXT_MAX: usize = 1 + (HEAD_BYTES + GRANT_BYTES_MAX).div_ceil(3) * 4;

/// A grant with the name of who made it. Whoever has one may do what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose grant it is said to be; the grant's signatures show whether it is.
    pub issuer: PublicKey,
    /// The grant.
    pub grant: Vec<u8>,
}

impl Token {
    /// Version, issuer, grant.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[VERSION][..], &self.issuer.to_bytes(), &self.grant].concat()
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`GrantError::NotAGrant`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GrantError> {
        let (head, grant) = bytes.split_at_checked(HEAD_BYTES).ok_or(GrantError::NotAGrant)?;
        if head[0] != VERSION || grant.is_empty() || grant.len() > GRANT_BYTES_MAX {
            return Err(GrantError::NotAGrant);
        }
        let issuer = PublicKey::from_bytes(&head[1..]).map_err(|_| GrantError::NotAGrant)?;
        Ok(Self { issuer, grant: grant.to_vec() })
    }

    /// As one word, fit for a header, a URL and a shell.
    #[must_use]
    pub fn to_text(&self) -> String {
        multibase::encode(multibase::Base::Base64Url, self.to_bytes())
    }

    /// Reads the word.
    ///
    /// # Errors
    /// [`GrantError::NotAGrant`].
    pub fn from_text(text: &str) -> Result<Self, GrantError> {
        if text.len() > TOKEN_TEXT_MAX {
            return Err(GrantError::NotAGrant);
        }
        match multibase::decode(text) {
            Ok((multibase::Base::Base64Url, bytes)) => Self::from_bytes(&bytes),
            _ => Err(GrantError::NotAGrant),
        }
    }
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The grant itself is a secret.
        f.debug_struct("Token").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
