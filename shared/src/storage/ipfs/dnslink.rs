//! DNSLink: a domain that stands for a content path, by a TXT record (<https://dnslink.dev>).
//!
//! `_dnslink.example.org. TXT "dnslink=/ipfs/CID"`. Records of the domain itself, which were read long ago, are not.

use core::fmt;
use std::collections::BTreeMap;

use super::naming::Content;
use crate::base::Instant;

/// Before a domain whose record is asked for.
const PREFIX: &str = "_dnslink.";
/// What a record begins with.
const KEY: &str = "dnslink=";
/// Of a name, all dots counted (RFC 1035), less the prefix.
const MAX_DOMAIN_BYTES: usize = 253 - PREFIX.len();
/// Of a label (RFC 1035).
const MAX_LABEL_BYTES: usize = 63;
/// A path of a record. Longer ones fit no URL.
const MAX_VALUE_BYTES: usize = 4096;

/// A domain, in small ASCII letters, without the dot at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain(String);

/// Not a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a domain of at least two labels")]
pub struct NoDomain;

impl Domain {
    /// Reads a domain of two labels or more. What is an address to a browser is none.
    ///
    /// # Errors
    /// [`NoDomain`].
    pub fn parse(text: &str) -> Result<Self, NoDomain> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let lawful = |label: &str| {
            (1..=MAX_LABEL_BYTES).contains(&label.len())
                && label.bytes().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let (_, last) = text.rsplit_once('.').ok_or(NoDomain)?;
        if text.len() > MAX_DOMAIN_BYTES
            || !text.split('.').all(lawful)
            || last.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(NoDomain);
        }
        Ok(Self(text))
    }

    /// Reads a domain from one label of a host's name, where a hyphen is a dot and two are a hyphen.
    ///
    /// # Errors
    /// [`NoDomain`].
    pub fn from_label(label: &str) -> Result<Self, NoDomain> {
        // No label has a zero byte: it stands for a hyphen meanwhile.
        Self::parse(&label.replace("--", "\0").replace('-', ".").replace('\0', "-"))
    }

    /// The domain as one label, unless it is too long for one.
    pub fn to_label(&self) -> Option<String> {
        let label = self.0.replace('-', "--").replace('.', "-");
        (label.len() <= MAX_LABEL_BYTES).then_some(label)
    }

    /// The name whose TXT records are asked for.
    pub fn question(&self) -> String {
        format!("{PREFIX}{}.", self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the TXT records of a domain say that it stands for. Of several, the first in the order of letters counts,
/// whichever order the server has them in.
pub fn value<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a str> {
    let values = texts.into_iter().filter_map(|text| core::str::from_utf8(text).ok()?.strip_prefix(KEY));
    values.filter(|value| value.len() <= MAX_VALUE_BYTES && Content::parse(value).is_ok()).min()
}

/// What is known of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It stands for this.
    Value(String),
    /// It stands for nothing.
    Nothing,
    /// It could not be found out, and why.
    Failed(String),
}

/// Answers, each as long as it holds, and at most so many as there is room for.
#[derive(Debug)]
pub struct Answers {
    known: BTreeMap<Domain, (Instant, Known)>,
    room: usize,
}

impl Answers {
    /// Room for so many.
    pub const fn new(room: usize) -> Self {
        Self { known: BTreeMap::new(), room }
    }

    /// What holds still, and for how many seconds.
    pub fn get(&self, now: Instant, domain: &Domain) -> Option<(&Known, u64)> {
        let (until, known) = self.known.get(domain)?;
        (*until > now).then(|| (known, until.since(now).as_secs()))
    }

    /// Keeps an answer. Where there is no room, the one goes that ends first.
    pub fn put(&mut self, now: Instant, domain: Domain, known: Known, seconds: u64) {
        if self.known.len() >= self.room && !self.known.contains_key(&domain) {
            self.known.retain(|_, (until, _)| *until > now);
            let first =
                self.known.iter().min_by_key(|(_, (until, _))| *until).map(|(first, _)| first.clone());
            if let Some(first) = first.filter(|_| self.known.len() >= self.room) {
                self.known.remove(&first);
            }
        }
        self.known.insert(domain, (now + core::time::Duration::from_secs(seconds), known));
    }
}
