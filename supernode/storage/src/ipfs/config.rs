//! What an operator can set about IPFS.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use shared::storage::ipfs::dnslink::Domain;

/// The `[storage.ipfs]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IpfsConfig {
    /// Where the gateway listens. Port 0 takes any free port. It speaks plain HTTP, for this machine or behind a proxy.
    pub listen: SocketAddr,
    /// Space for what is pinned, in MiB.
    pub quota_mib: u64,
    /// Connections at a time; further ones wait in the system's queue.
    pub connections: usize,
    /// Hosts below which a site has an origin of its own: `CID.ipfs.HOST`. Pages asked for at such a host are sent there.
    pub domains: Vec<String>,
    /// Domains that are answered as sites by their own name, from the content that their DNSLink names; `*` is every
    /// domain that somebody points here.
    #[serde(deserialize_with = "domains_or_all")]
    pub dnslink_hosts: Vec<String>,
    /// The DNS server that is asked for DNSLink: `system`, an address, or `none`.
    pub dns: Dns,
    /// Whether files and directories are shown as such, to browsers that trust this node. Otherwise only what the client
    /// verifies itself is answered: blocks, CAR and name records.
    pub show: bool,
    /// Name records of strangers that are kept for them; none unless there is a number here.
    pub strangers_names: u64,
}

/// Every domain, among [`IpfsConfig::dnslink_hosts`].
pub(super) const EVERY_DOMAIN: &str = "*";
/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// Whom to ask for DNSLink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Dns {
    /// Whom the system asks.
    #[default]
    System,
    /// This server.
    Server(SocketAddr),
    /// Nobody.
    Off,
}

impl TryFrom<String> for Dns {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let server = || {
            let port = |address: IpAddr| SocketAddr::new(address, DNS_PORT);
            text.parse().ok().or_else(|| text.parse().ok().map(port))
        };
        match text.as_str() {
            "system" => Ok(Self::System),
            "none" => Ok(Self::Off),
            _ => server().map(Self::Server).ok_or_else(|| {
                format!("{text:?} is no DNS server; \"system\", \"none\" and \"127.0.0.1:5353\" are known")
            }),
        }
    }
}

impl From<Dns> for String {
    fn from(dns: Dns) -> Self {
        match dns {
            Dns::System => "system".to_owned(),
            Dns::Off => "none".to_owned(),
            Dns::Server(address) => address.to_string(),
        }
    }
}

fn domains_or_all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let said = Vec::<String>::deserialize(deserializer)?;
    let read = said.into_iter().map(|host| match Domain::parse(&host) {
        _ if host == EVERY_DOMAIN => Ok(host),
        Ok(domain) => Ok(domain.to_string()),
        Err(_) => Err(D::Error::custom(format!("{host:?} is no domain; \"example.org\" and \"*\" are"))),
    });
    read.collect()
}

impl Default for IpfsConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            quota_mib: 100 * 1024,
            // An answer holds a few blocks: 4 MiB, or 1 GiB for all.
            connections: 256,
            domains: vec!["localhost".to_owned()],
            dnslink_hosts: Vec::new(),
            dns: Dns::default(),
            show: true,
            strangers_names: 0,
        }
    }
}
