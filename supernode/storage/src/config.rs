//! What an operator can set about storage.

use std::{collections::BTreeMap, net::SocketAddr};

use runtime::http::Tls;
use serde::{Deserialize, Deserializer, de::Error as _};
use shared::{
    identity::PublicKey,
    storage::{erasure::Profile, seal::Sealing},
};

use crate::{
    ipfs::IpfsConfig,
    store::BucketConfig,
    strangers::{HoldConfig, OwnConfig},
};

/// The `[storage]` section of the configuration. A node without it stores nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the S3 door listens. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// The door's certificate; without one it speaks plain HTTP, for this machine or behind a proxy.
    pub tls: Option<Tls>,
    /// Space for blobs, in the data directory or the bucket, in MiB.
    pub quota_mib: u64,
    /// Hosts below which a bucket's name is a host of its own (virtual-host style).
    pub domains: Vec<String>,
    /// Hosts below which a bucket's name is a website, where the bucket is configured as one and open to the public.
    pub website_domains: Vec<String>,
    /// Connections at a time; further ones wait in the system's queue.
    pub connections: usize,
    /// Connections of one address at a time; further ones are closed. Behind a proxy, say as many as `connections`.
    pub connections_per_source: usize,
    /// Uploads in parts that are neither finished nor aborted within so many days are ended.
    pub upload_days: u64,
    /// How often some of the door's blobs are read back and verified, in seconds.
    pub scrub_seconds: u64,
    /// In how many shards the door's objects are spread over holders, and how many of them suffice: `"4/12"`. Without
    /// this line they lie on this node alone.
    #[serde(deserialize_with = "profile")]
    pub profile: Option<Profile>,
    /// How the door's objects are sealed: `"aes-256-gcm"`, `"xchacha20-poly1305"`, or `"none"`, for bytes that are public
    /// or lie on a disk that is sealed itself. Without this line, by the cipher that the processor is faster at. Holds for
    /// what is written from now on.
    pub sealing: Option<Sealing>,
    /// Whether the S3 door is open. Without this line it is where the section has a `profile`, or neither `hold` nor
    /// `own` nor `ipfs`.
    pub s3: Option<bool>,
    /// Whose grants are good here, by the issuers' keys, and for which account each stands.
    #[serde(deserialize_with = "issuers")]
    pub issuers: BTreeMap<PublicKey, String>,
    /// Where blobs lie instead of in the data directory. The index of what is where stays there.
    pub bucket: Option<BucketConfig>,
    /// Shards of others; none without this section.
    pub hold: Option<HoldConfig>,
    /// Objects of this node at others; none without this section.
    pub own: Option<OwnConfig>,
    /// A gateway and exchange of IPFS; none without this section.
    pub ipfs: Option<IpfsConfig>,
}

impl Config {
    /// Whether the S3 door is to be opened.
    #[must_use]
    pub fn opens_door(&self) -> bool {
        let others = self.hold.is_some() || self.own.is_some() || self.ipfs.is_some();
        self.s3.unwrap_or(self.profile.is_some() || !others)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9000)),
            tls: None,
            quota_mib: 100 * 1024,
            domains: Vec::new(),
            website_domains: Vec::new(),
            // An upload holds some 2 MiB: at most 512 MiB.
            connections: 256,
            // A tool with a dozen transfers at a time, ten times over.
            connections_per_source: 128,
            upload_days: 7,
            scrub_seconds: 60,
            profile: None,
            sealing: None,
            s3: None,
            issuers: BTreeMap::new(),
            bucket: None,
            hold: None,
            own: None,
            ipfs: None,
        }
    }
}

fn profile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Profile>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.split_once('/').and_then(|(data, total)| {
        let profile = Profile::new(data.parse().ok()?, total.parse().ok()?)?;
        (profile.data_shards() < profile.total_shards()).then_some(profile)
    });
    let wrong = || {
        D::Error::custom(format!(
            "{text:?} is no profile; \"4/12\" is one: as many shards suffice, of as many in all, 128 at most"
        ))
    };
    parsed.map(Some).ok_or_else(wrong)
}

fn issuers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<PublicKey, String>, D::Error> {
    let said = BTreeMap::<String, String>::deserialize(deserializer)?;
    let read = said.into_iter().map(|(key, account)| {
        let key =
            key.parse().map_err(|_| D::Error::custom(format!("{key:?} is no key; did:key:… is one")))?;
        if !crate::s3::is_account(&account) {
            return Err(D::Error::custom(format!("{account:?} is no account's name")));
        }
        Ok((key, account))
    });
    read.collect()
}
