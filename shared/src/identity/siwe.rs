//! Sign-In with Ethereum (EIP-4361): the text that a wallet shows and signs, read strictly, and what it must say to be
//! a login here and now.
//!
//! Only what the grammar permits is read, to the line break: a text that two readers understand differently is a login
//! at one of them that its signer did not mean. Where the account is a contract, its own word counts (ERC-1271), which
//! a shell asks of the chain; here is what a plain key signs.

use super::{
    Account, AccountSignature,
    eip712::{Word, keccak256},
    timestamp,
};
use crate::base::UnixSeconds;

/// A text that a person can read before signing is shorter.
pub const MAX_SIWE_BYTES: usize = 4096;
/// More resources nobody reads.
pub const MAX_SIWE_RESOURCES: usize = 32;
/// Wallets take a minute to be found and unlocked; a text older than this was lying around.
pub const LOGIN_SECONDS_MAX: u64 = 600;
/// How far the wallet's clock may be ahead.
const SKEW_SECONDS: u64 = 60;
/// What EIP-4361 asks of a nonce at least, and what no nonce exceeds.
const NONCE_CHARACTERS: core::ops::RangeInclusive<usize> = 8..=128;

const ASKS: &str = " wants you to sign in with your Ethereum account:";

/// A text that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siwe {
    /// `https` and the like, where it stands before the domain.
    pub scheme: Option<String>,
    /// Who asks (RFC 3986 authority).
    pub domain: String,
    /// Who logs in.
    pub account: Account,
    /// What it agrees to.
    pub statement: Option<String>,
    /// Where to (RFC 3986).
    pub uri: String,
    /// On which chain the account is.
    pub chain_id: u64,
    /// Against replay.
    pub nonce: String,
    /// When it was written.
    pub issued: UnixSeconds,
    /// Good until here, where it says so.
    pub expires: Option<UnixSeconds>,
    /// Good from here on, where it says so.
    pub not_before: Option<UnixSeconds>,
    /// The asking system's own.
    pub request_id: Option<String>,
    /// What else is referred to.
    pub resources: Vec<String>,
}

/// Why a text is no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiweError {
    /// It breaks the grammar, here.
    #[error("the message's {0} is missing or malformed")]
    Malformed(&'static str),
    /// The signature is not the account's.
    #[error("the signature is not the account's")]
    Signature,
    /// For somebody else's site.
    #[error("the message is for another site")]
    Domain,
    /// For an account on another chain.
    #[error("the message is for another chain")]
    Chain,
    /// Not the nonce that was given.
    #[error("the message has another nonce")]
    Nonce,
    /// Not yet, or no longer, good.
    #[error("the message is not good at {0:?}")]
    Time(UnixSeconds),
}

/// What a login must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Our scheme,
    pub scheme: &'a str,
    /// and our authority, as browsers show them.
    pub domain: &'a str,
    /// The chain that we know accounts on.
    pub chain_id: u64,
    /// The nonce that we gave to this visitor, and take once.
    pub nonce: &'a str,
}

impl Siwe {
    /// Reads a text.
    ///
    /// # Errors
    /// [`SiweError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, SiweError> {
        if text.len() > MAX_SIWE_BYTES {
            return Err(SiweError::Malformed("length"));
        }
        let mut lines = Lines { rest: Some(text) };
        let asks = lines.next().and_then(|line| line.strip_suffix(ASKS));
        let asks = asks.ok_or(SiweError::Malformed("domain"))?;
        let (scheme, domain) = match asks.split_once("://") {
            Some((scheme, domain)) => (Some(scheme), domain),
            None => (None, asks),
        };
        if !scheme.is_none_or(is_scheme) || !is_authority(domain) {
            return Err(SiweError::Malformed("domain"));
        }
        let line = lines.next().unwrap_or_default();
        let account: Account = line.parse().map_err(|_| SiweError::Malformed("address"))?;
        if account.to_string() != line {
            return Err(SiweError::Malformed("address"));
        }
        lines.empty()?;
        let statement = match lines.next() {
            Some("") => None,
            Some(statement) if is_statement(statement) => {
                lines.empty()?;
                Some(statement.to_owned())
            }
            _ => return Err(SiweError::Malformed("statement")),
        };
        let uri = lines.field("URI: ").filter(|uri| is_uri(uri)).ok_or(SiweError::Malformed("URI"))?;
        lines.field("Version: ").filter(|version| *version == "1").ok_or(SiweError::Malformed("version"))?;
        let chain_id = lines.field("Chain ID: ").and_then(number).ok_or(SiweError::Malformed("chain id"))?;
        let nonce = lines.field("Nonce: ").filter(|nonce| is_nonce(nonce));
        let nonce = nonce.ok_or(SiweError::Malformed("nonce"))?;
        let issued = lines.field("Issued At: ").and_then(timestamp::parse);
        let issued = issued.ok_or(SiweError::Malformed("time of issue"))?;
        let expires = lines.time("Expiration Time: ")?;
        let not_before = lines.time("Not Before: ")?;
        let request_id = lines.field("Request ID: ");
        if !request_id.is_none_or(is_request_id) {
            return Err(SiweError::Malformed("request id"));
        }
        let resources = lines.resources()?;
        if lines.rest.is_some() {
            return Err(SiweError::Malformed("end"));
        }
        Ok(Self {
            scheme: scheme.map(str::to_owned),
            domain: domain.to_owned(),
            account,
            statement,
            uri: uri.to_owned(),
            chain_id,
            nonce: nonce.to_owned(),
            issued,
            expires,
            not_before,
            request_id: request_id.map(str::to_owned),
            resources,
        })
    }

    /// Whether it is a login for who expects it, at `now`.
    ///
    /// # Errors
    /// [`SiweError`], what differs first.
    pub fn check(&self, expected: &Expected<'_>, now: UnixSeconds) -> Result<(), SiweError> {
        let origin = format!("{}://{}", expected.scheme, expected.domain);
        let below = self.uri.strip_prefix(&origin);
        let own_uri = below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
        let own_scheme = self.scheme.as_deref().is_none_or(|scheme| scheme == expected.scheme);
        if self.domain != expected.domain || !own_scheme || !own_uri {
            return Err(SiweError::Domain);
        }
        if self.chain_id != expected.chain_id {
            return Err(SiweError::Chain);
        }
        if self.nonce != expected.nonce {
            return Err(SiweError::Nonce);
        }
        let too_new = now.plus(SKEW_SECONDS) < self.issued;
        let too_old = self.issued.until(now) > LOGIN_SECONDS_MAX;
        let ended = self.expires.is_some_and(|expires| now >= expires);
        let not_begun = self.not_before.is_some_and(|begins| now < begins);
        if too_new || too_old || ended || not_begun {
            return Err(SiweError::Time(now));
        }
        Ok(())
    }

    /// Whether `signature` is this account's own key's over the text that this was read from.
    ///
    /// # Errors
    /// [`SiweError::Signature`].
    pub fn verify(&self, text: &str, signature: &[u8]) -> Result<(), SiweError> {
        let signature = AccountSignature::from_bytes(signature).ok_or(SiweError::Signature)?;
        let signer = signature.recover(&personal_digest(text)).ok_or(SiweError::Signature)?;
        if signer.account() == self.account { Ok(()) } else { Err(SiweError::Signature) }
    }
}

/// What a wallet signs of a text (EIP-191, version `E`).
pub fn personal_digest(text: &str) -> Word {
    let length = text.len().to_string();
    keccak256(&[b"\x19Ethereum Signed Message:\n", length.as_bytes(), text.as_bytes()])
}

/// Lines, each ended by one LF but the last.
struct Lines<'a> {
    rest: Option<&'a str>,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (line, rest) = self.split()?;
        self.rest = rest;
        Some(line)
    }

    fn split(&self) -> Option<(&'a str, Option<&'a str>)> {
        let text = self.rest?;
        Some(text.split_once('\n').map_or((text, None), |(line, rest)| (line, Some(rest))))
    }

    fn empty(&mut self) -> Result<(), SiweError> {
        if self.next() == Some("") { Ok(()) } else { Err(SiweError::Malformed("empty line")) }
    }

    /// The next line's value, where it begins so; else it stays the next one.
    fn field(&mut self, name: &str) -> Option<&'a str> {
        let (line, rest) = self.split()?;
        let value = line.strip_prefix(name)?;
        self.rest = rest;
        Some(value)
    }

    fn time(&mut self, name: &'static str) -> Result<Option<UnixSeconds>, SiweError> {
        let Some(value) = self.field(name) else { return Ok(None) };
        timestamp::parse(value).map(Some).ok_or(SiweError::Malformed("time"))
    }

    fn resources(&mut self) -> Result<Vec<String>, SiweError> {
        let mut resources = Vec::new();
        match self.field("Resources:") {
            None => return Ok(resources),
            Some("") => {}
            Some(_) => return Err(SiweError::Malformed("resources")),
        }
        while let Some(resource) = self.field("- ") {
            if !is_uri(resource) || resources.len() >= MAX_SIWE_RESOURCES {
                return Err(SiweError::Malformed("resources"));
            }
            resources.push(resource.to_owned());
        }
        Ok(resources)
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Narrower than RFC 3986: what names hosts in practice, with user and port.
fn is_authority(text: &str) -> bool {
    let (user, host) = text.rsplit_once('@').map_or((None, text), |(user, host)| (Some(user), host));
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    let in_user = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%".contains(&byte);
    !host.is_empty() && host.bytes().all(in_host) && user.is_none_or(|user| user.bytes().all(in_user))
}

/// Reserved, unreserved and space (RFC 3986), as the grammar has it.
fn is_statement(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || in_uri(byte))
}

fn is_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
        && text.bytes().all(|byte| byte == b'%' || in_uri(byte))
}

fn in_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte)
}

/// *pchar.
fn is_request_id(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&byte))
}

fn is_nonce(text: &str) -> bool {
    NONCE_CHARACTERS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::AccountKey;

    /// The example of EIP-4361, with every optional part.
    const FULL: &str = "https://example.com wants you to sign in with your Ethereum account:\n\
        0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2\n\nI accept the ExampleOrg Terms of Service: \
        https://example.com/tos\n\nURI: https://example.com/login\nVersion: 1\nChain ID: 1\nNonce: 32891756\n\
        Issued At: 2021-09-30T16:25:24Z\nExpiration Time: 2021-09-30T17:25:24.5+01:00\n\
        Not Before: 2021-09-30T16:00:00Z\nRequest ID: some_id\nResources:\n\
        - ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/\n\
        - https://example.com/my-web2-claim.json";

    fn refused(text: &str) {
        assert!(matches!(Siwe::parse(text), Err(SiweError::Malformed(_))), "{text}");
    }

    #[test]
    fn the_specifications_example_reads() {
        let siwe = Siwe::parse(FULL).unwrap();
        assert_eq!(siwe.scheme.as_deref(), Some("https"));
        assert_eq!((siwe.domain.as_str(), siwe.chain_id), ("example.com", 1));
        assert_eq!(siwe.issued, UnixSeconds(1_633_019_124));
        assert_eq!(siwe.expires, Some(UnixSeconds(1_633_019_124)));
        assert_eq!(siwe.request_id.as_deref(), Some("some_id"));
        assert_eq!(siwe.resources.len(), 2);
        let bare = "user@127.0.0.1:8080 wants you to sign in with your Ethereum account:\n\
            0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2\n\n\nURI: https://example.com/login\nVersion: 1\n\
            Chain ID: 1\nNonce: 32891756\nIssued At: 2021-09-30T16:25:24Z";
        let siwe = Siwe::parse(bare).unwrap();
        assert_eq!((siwe.statement, siwe.scheme, siwe.expires), (None, None, None));
    }

    #[test]
    fn whatever_is_missing_added_or_out_of_its_place_is_refused() {
        let lines: Vec<&str> = FULL.split('\n').collect();
        // Optional are the statement, lines 10 to 12 (times and request) and each resource.
        for missing in (0..14).filter(|line| *line != 3 && !(10..=12).contains(line)) {
            let mut other = lines.clone();
            other.remove(missing);
            refused(&other.join("\n"));
        }
        for first in 0..12 {
            let mut other = lines.clone();
            other.swap(first, first + 1);
            if other != lines {
                refused(&other.join("\n"));
            }
        }
        for line in 0..=lines.len() {
            let mut other = lines.clone();
            other.insert(line, "");
            refused(&other.join("\n"));
        }
        refused(&FULL.replace('\n', "\r\n"));
        refused(&format!("{FULL}\n"));
    }

    #[test]
    fn each_value_keeps_to_its_grammar() {
        for (good, bad) in [
            ("https://example.com wants", " wants"),
            ("https://example.com wants", "exa mple.com wants"),
            ("https://example.com wants", "ht!tp://example.com wants"),
            ("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"),
            ("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc"),
            ("I accept", "I “accept”"),
            ("URI: https://example.com/login", "URI: _not_a_uri_"),
            ("Version: 1", "Version: 2"),
            ("Chain ID: 1", "Chain ID: ?"),
            ("Chain ID: 1", "Chain ID: +1"),
            ("Nonce: 32891756", "Nonce: 3289175"),
            ("Nonce: 32891756", "Nonce: 3289-756"),
            ("Issued At: 2021-09-30T16:25:24Z", "Issued At: Wed Oct 05 2011 16:48:00 GMT+0200"),
            ("Not Before: 2021-09-30T16:00:00Z", "Not Before: 2021-09-31T16:00:00Z"),
            ("Request ID: some_id", "Request ID: some id"),
            ("- https://example.com/my", "- _not_a_uri_"),
            ("- https://example.com/my", "https://example.com/my"),
            ("claim.json", "claim.json - https://example.com/2"),
        ] {
            let other = FULL.replacen(good, bad, 1);
            assert_ne!(other, FULL, "{good}");
            refused(&other);
        }
        refused(&"a".repeat(MAX_SIWE_BYTES + 1));
    }

    #[test]
    fn a_login_is_for_this_site_this_visitor_and_now() {
        let expected = Expected { scheme: "https", domain: "example.com", chain_id: 1, nonce: "32891756" };
        let text = FULL.replace("Expiration Time: 2021-09-30T17:25:24.5+01:00\n", "");
        let siwe = Siwe::parse(&text).unwrap();
        let now = UnixSeconds(1_633_019_200);
        assert_eq!(siwe.check(&expected, now), Ok(()));
        let check = |expected: Expected<'_>, now, error| assert_eq!(siwe.check(&expected, now), Err(error));
        check(Expected { domain: "evil.com", ..expected }, now, SiweError::Domain);
        check(Expected { scheme: "http", ..expected }, now, SiweError::Domain);
        check(Expected { chain_id: 137, ..expected }, now, SiweError::Chain);
        check(Expected { nonce: "32891757", ..expected }, now, SiweError::Nonce);
        for wrong in [now.plus(LOGIN_SECONDS_MAX), UnixSeconds(1_633_019_000)] {
            check(expected, wrong, SiweError::Time(wrong));
        }
        assert_eq!(Siwe::parse(FULL).unwrap().check(&expected, now), Err(SiweError::Time(now)));
        let lookalike = text.replace("URI: https://example.com/", "URI: https://example.com.evil.com/");
        assert_eq!(Siwe::parse(&lookalike).unwrap().check(&expected, now), Err(SiweError::Domain));
    }

    /// Logins that were signed by wallets, as the reference implementation publishes them.
    #[test]
    fn signatures_of_real_wallets_hold() {
        let check = |text: &str, signature: &str| {
            let signature = hex::decode(signature).unwrap();
            let siwe = Siwe::parse(text).unwrap();
            assert_eq!(siwe.verify(text, &signature), Ok(()), "{text}");
            let mut flipped = signature.clone();
            flipped[7] ^= 1;
            assert_eq!(siwe.verify(text, &flipped), Err(SiweError::Signature));
            let other = text.replace("Version: 1\nChain ID: 1", "Version: 1\nChain ID: 2");
            assert_eq!(siwe.verify(&other, &signature), Err(SiweError::Signature));
        };
        check(
            "login.xyz wants you to sign in with your Ethereum account:\n\
             0x9D85ca56217D2bb651b00f15e694EB7E713637D4\n\nSign-In With Ethereum Example Statement\n\n\
             URI: https://login.xyz\nVersion: 1\nChain ID: 1\nNonce: bTyXgcQxn2htgkjJn\n\
             Issued At: 2022-01-27T17:09:38.578Z\nExpiration Time: 2100-01-07T14:31:43.952Z",
            "dc35c7f8ba2720df052e0092556456127f00f7707eaa8e3bbff7e56774e7f2e0\
             5a093cfc9e02964c33d86e8e066e221b7d153d27e5a2e97ccd5ca7d3f2ce06cb1b",
        );
        // A wallet that counts the parity from 0.
        check(
            "www.tally.xyz wants you to sign in with your Ethereum account:\n\
             0xc95EB884FE852e241D409234bfC7045CB9E31BD7\n\nSign in with Ethereum to Tally\n\n\
             URI: https://tally.xyz\nVersion: 1\nChain ID: 1\nNonce: 15050747\n\
             Issued At: 2022-06-30T14:08:51.382Z",
            "8c46b6eb8505939892d8e9b075f89f8277321b17b993151f37810cdda38cce6f\
             4a85909d2b53e6a14629c74c0ac38bf4becde78ee5b2529812bf6cceaf7b2a2501",
        );
        let key = AccountKey::from_secret([1; 32]).unwrap();
        let text = FULL.replace("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", &key.account().to_string());
        let signature = key.sign(&personal_digest(&text));
        assert_eq!(Siwe::parse(&text).unwrap().verify(&text, &signature.0), Ok(()));
        assert_eq!(Siwe::parse(FULL).unwrap().verify(FULL, &signature.0), Err(SiweError::Signature));
    }
}
