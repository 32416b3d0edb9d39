//! What an operator can set about content delivery.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error as _};
use shared::{
    cdn::manifest::Pin,
    identity::{MAX_SITE_NAME_BYTES, PublicKey},
};
use url::Url;

use crate::origin::OriginLimits;

/// The `[cdn]` section of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Space for blobs in the data directory, in MiB.
    pub quota_mib: u64,
    /// What an origin may cost us.
    pub origin: OriginLimits,
    /// The sites to serve.
    pub sites: Vec<SiteConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self { quota_mib: 10 * 1024, origin: OriginLimits::default(), sites: Vec::new() }
    }
}

/// A site to serve. Without an origin, its publisher uploads it by `blackhole publish`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Its name; by custom the host (and port) of its origin.
    #[serde(deserialize_with = "site_name")]
    pub name: String,
    /// Whose site it is, as `did:key:…`.
    #[serde(deserialize_with = "read")]
    pub publisher: PublicKey,
    /// Where to pull it from.
    #[serde(default, deserialize_with = "origin")]
    pub origin: Option<Url>,
    /// The edge of another supernode that serves it, to serve it too. Not together with an origin.
    #[serde(default, deserialize_with = "origin")]
    pub mirror: Option<Url>,
    /// The file with the publisher's permission to sign for it, made by `blackhole publish --origin`.
    #[serde(default)]
    pub delegation: Option<PathBuf>,
    /// How often to ask the origin what has changed.
    #[serde(default = "refresh_seconds", deserialize_with = "positive")]
    pub refresh_seconds: u64,
}

impl SiteConfig {
    /// What a page that shows this site pins.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin { publisher: self.publisher.clone(), site: self.name.clone(), min_delegation: 0 }
    }
}

/// Often enough that a fixed typo shows within minutes, rarely enough to cost an origin nothing.
const fn refresh_seconds() -> u64 {
    300
}

fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(D::Error::custom("refresh_seconds is at least 1")),
        seconds => Ok(seconds),
    }
}

fn site_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    if name.is_empty() || name.len() > MAX_SITE_NAME_BYTES {
        return Err(D::Error::custom(format!("a site's name has 1 to {MAX_SITE_NAME_BYTES} bytes")));
    }
    Ok(name)
}

fn origin<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(from)?;
    let url = Url::parse(&text)
        .map_err(|error| D::Error::custom(format!("the origin {text:?} is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(D::Error::custom(format!("the origin {text:?} is not http:// or https:// and a host")));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(D::Error::custom(format!(
            "the origin {text:?} has a path; give scheme, host and port alone"
        )));
    }
    Ok(Some(url))
}

fn read<'de, D: Deserializer<'de>>(from: D) -> Result<PublicKey, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}
