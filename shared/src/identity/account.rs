//! Accounts of an EVM chain, their keys and signatures (secp256k1, ERC-2098 short form).
//!
//! What is accepted here is what the contracts accept, to the bit: a high `s`, a wrong parity or a signer that
//! `ecrecover` would not find is no signature.

use core::{fmt, str::FromStr};

use k256::{
    AffinePoint, ProjectivePoint, Scalar, U256,
    ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey},
    elliptic_curve::{
        ops::{Invert, LinearCombination, Reduce},
        point::AffineCoordinates,
        sec1::ToEncodedPoint,
    },
};

use super::eip712::keccak256;

/// Length of an account's name.
pub const ACCOUNT_BYTES: usize = 20;
/// Length of a signature in its short form: r, then s with the parity in its highest bit.
pub const ACCOUNT_SIGNATURE_BYTES: usize = 64;

/// An account: the last 20 bytes of the Keccak hash of its key. Prints with the checksum of EIP-55.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub [u8; ACCOUNT_BYTES]);

/// Why a text or bytes are not of an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Not `0x` and 40 hexadecimal digits.
    #[error("expected 0x and 40 hexadecimal digits, found {0:?}")]
    Text(String),
    /// Mixed case that is not the one of EIP-55: some letter is wrong.
    #[error("the checksum of {0} is wrong: some of its letters are")]
    Checksum(String),
    /// Zero, or not below the curve's order.
    #[error("the secret is no key of secp256k1")]
    Secret,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        let hash = keccak256(&[digits.as_bytes()]);
        f.write_str("0x")?;
        for (at, digit) in digits.chars().enumerate() {
            let nibble = hash[at / 2] >> (4 * (1 - at % 2)) & 0xf;
            let digit = if nibble >= 8 { digit.to_ascii_uppercase() } else { digit };
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || AccountError::Text(text.chars().take(50).collect());
        let digits = text.strip_prefix("0x").ok_or_else(refuse)?;
        let mut bytes = [0; ACCOUNT_BYTES];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| refuse())?;
        let account = Self(bytes);
        let one_case = !digits.contains(|letter: char| letter.is_ascii_uppercase())
            || !digits.contains(|letter: char| letter.is_ascii_lowercase());
        if !one_case && account.to_string() != text {
            return Err(AccountError::Checksum(text.to_owned()));
        }
        Ok(account)
    }
}

impl TryFrom<&[u8]> for Account {
    type Error = core::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self(bytes.try_into()?))
    }
}

/// An account's secret. It prints as the account only.
#[derive(Clone)]
pub struct AccountKey(SigningKey);

impl AccountKey {
    /// The key of 32 secret bytes, which the caller drew from a secure source.
    ///
    /// # Errors
    /// [`AccountError::Secret`] for one in 2¹²⁸ of all draws.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, AccountError> {
        SigningKey::from_slice(&secret).map(Self).map_err(|_| AccountError::Secret)
    }

    /// The 32 secret bytes, for a key file readable by its owner alone.
    pub fn to_secret(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// The account.
    pub fn account(&self) -> Account {
        account_of(self.0.verifying_key())
    }

    /// The public half, for whoever checks many signatures of it.
    pub fn public(&self) -> AccountPublicKey {
        AccountPublicKey(*self.0.verifying_key())
    }

    /// Signs a digest (RFC 6979: the same digest gives the same signature).
    pub fn sign(&self, digest: &[u8; 32]) -> AccountSignature {
        let signed = self.0.sign_prehash_recoverable(digest);
        let (signature, parity) = signed.expect("a digest of 32 bytes can be signed by any key");
        let mut bytes: [u8; 64] = signature.to_bytes().into();
        bytes[32] |= u8::from(parity.is_y_odd()) << 7;
        AccountSignature(bytes)
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey({})", self.account())
    }
}

/// A key that signatures were seen of. Checking by it takes half the time of finding it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountPublicKey(VerifyingKey);

impl AccountPublicKey {
    /// The account it belongs to.
    pub fn account(&self) -> Account {
        account_of(&self.0)
    }

    /// Whether `ecrecover` would answer with this key's account. The ordinary check of ECDSA would not do: it does
    /// not look at the parity, by which the contract finds the key.
    #[must_use]
    pub fn verify(&self, digest: &[u8; 32], signature: &AccountSignature) -> bool {
        let Some((parsed, odd)) = signature.parse() else { return false };
        let (r, s) = parsed.split_scalars();
        let z = <Scalar as Reduce<U256>>::reduce_bytes(&(*digest).into());
        let s_inverse = s.invert_vartime();
        let (u1, u2) = (z * *s_inverse, *r * *s_inverse);
        let own = ProjectivePoint::from(*self.0.as_affine());
        let point = ProjectivePoint::lincomb(&ProjectivePoint::GENERATOR, &u1, &own, &u2).to_affine();
        point != AffinePoint::IDENTITY && point.x() == r.to_bytes() && bool::from(point.y_is_odd()) == odd
    }
}

/// A signature of an account: r, and s with the parity in its highest bit (ERC-2098).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AccountSignature(pub [u8; ACCOUNT_SIGNATURE_BYTES]);

impl fmt::Debug for AccountSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountSignature({}…)", hex::encode(&self.0[..5]))
    }
}

impl AccountSignature {
    /// From the short form, or from the long one that wallets give: r, s, and 27, 28, 0 or 1.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Ok(short) = bytes.try_into() {
            return Some(Self(short));
        }
        let (rest, parity) = bytes.split_last_chunk::<1>()?;
        let mut short: [u8; ACCOUNT_SIGNATURE_BYTES] = rest.try_into().ok()?;
        let odd = match parity[0] {
            0 | 27 => 0,
            1 | 28 => 1,
            _ => return None,
        };
        // The highest bit of a low s is free.
        if short[32] & 0x80 != 0 {
            return None;
        }
        short[32] |= odd << 7;
        Some(Self(short))
    }

    /// r, 32 bytes.
    pub fn r(&self) -> [u8; 32] {
        self.0[..32].try_into().expect("the first half of 64 bytes")
    }

    /// s, with the parity in its highest bit; 32 bytes.
    pub fn vs(&self) -> [u8; 32] {
        self.0[32..].try_into().expect("the second half of 64 bytes")
    }

    /// Whose it is over `digest`; nothing where it is nobody's, or not in the one form that counts.
    pub fn recover(&self, digest: &[u8; 32]) -> Option<AccountPublicKey> {
        let (signature, odd) = self.parse()?;
        let parity = RecoveryId::new(odd, false);
        let key = VerifyingKey::recover_from_prehash(digest, &signature, parity).ok()?;
        Some(AccountPublicKey(key))
    }

    fn parse(&self) -> Option<(Signature, bool)> {
        let odd = self.0[32] & 0x80 != 0;
        let mut plain = self.0;
        plain[32] &= 0x7f;
        let signature = Signature::from_slice(&plain).ok()?;
        // Of two values of s that say the same, the lower one counts.
        signature.normalize_s().is_none().then_some((signature, odd))
    }
}

fn account_of(key: &VerifyingKey) -> Account {
    let point = key.as_affine().to_encoded_point(false);
    let hash = keccak256(&[&point.as_bytes()[1..]]);
    Account(hash[12..].try_into().expect("the last 20 of 32 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_eip_55_print_and_read() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let account: Account = text.parse().unwrap();
            assert_eq!(account.to_string(), text);
            assert_eq!(text.to_lowercase().parse(), Ok(account));
        }
        let wrong = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed";
        assert_eq!(wrong.parse::<Account>(), Err(AccountError::Checksum(wrong.to_owned())));
        assert!(matches!("5aAeb6".parse::<Account>(), Err(AccountError::Text(_))));
    }

    #[test]
    fn a_known_secret_has_its_known_account() {
        // The first account that anvil and hardhat hand out.
        let secret = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let key = AccountKey::from_secret(hex::decode(secret).unwrap().try_into().unwrap()).unwrap();
        assert_eq!(key.account().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert!(!format!("{key:?}").contains("ac0974"));
        assert_eq!(AccountKey::from_secret([0; 32]).unwrap_err(), AccountError::Secret);
        assert_eq!(AccountKey::from_secret([0xff; 32]).unwrap_err(), AccountError::Secret);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn checking_by_a_known_key_is_what_recovery_says(
            secret in prop::array::uniform32(1_u8..=250), digest: [u8; 32], flip in 0_usize..1024, high: bool
        ) {
            let key = AccountKey::from_secret(secret).unwrap();
            let mut signature = key.sign(&digest);
            prop_assert_eq!(signature.recover(&digest), Some(key.public()));
            prop_assert!(key.public().verify(&digest, &signature));
            let mut long = signature.0.to_vec();
            long[32] &= 0x7f;
            long.push(27 + (signature.0[32] >> 7));
            prop_assert_eq!(AccountSignature::from_bytes(&long), Some(signature));
            if high {
                // The same curve point, said the other way.
                let mut plain = signature.0;
                plain[32] &= 0x7f;
                let s = Signature::from_slice(&plain).unwrap();
                let other = Signature::from_scalars(s.r().to_bytes(), (-*s.s()).to_bytes()).unwrap();
                let odd = signature.0[32] & 0x80;
                signature.0 = other.to_bytes().into();
                signature.0[32] |= odd ^ 0x80;
            } else if flip < 512 {
                signature.0[flip / 8] ^= 1 << (flip % 8);
            }
            let recovered = signature.recover(&digest) == Some(key.public());
            prop_assert_eq!(key.public().verify(&digest, &signature), recovered);
            prop_assert_eq!(recovered, !high && flip >= 512);
        }
    }
}
