//! DNSLink looked up: at the DNS server of the configuration, remembered as long as answers hold.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant as Clock},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError as Said, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType},
    },
};
use shared::{
    base::Instant,
    storage::ipfs::dnslink::{self, Answers, Domain, Known},
};
use tokio::sync::Semaphore;

use super::config::Dns;

/// Domains whose answers are kept: 16 MiB, if each is as long as may be.
const MAX_KNOWN: usize = 4096;
/// Lookups at a time. Whoever asks for domains that answer slowly can fill it, for others' new domains alone.
const MAX_LOOKUPS: usize = 64;
/// One attempt at one server.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(3);
/// All attempts, and CNAMEs on the way: what a visitor waits.
const LOOKUP_WITHIN: Duration = Duration::from_secs(10);
/// Who publishes anew is seen after that, whatever the record says.
const MAX_SECONDS: u64 = 3600;
/// Who publishes for the first time is seen after that.
const MAX_NOTHING_SECONDS: u64 = 60;
/// A server that fails is asked about a domain again after that.
const FAILED_SECONDS: u64 = 5;

/// Why nothing is known of a domain.
#[derive(Debug, thiserror::Error)]
pub(super) enum DnsError {
    /// The configuration says so.
    #[error("domains are not looked up here: storage.ipfs.dns is \"none\"")]
    Off,
    /// The system names no server.
    #[error("this node's system names no DNS server: {0}; storage.ipfs.dns can name one")]
    NoServer(String),
    /// There is no record.
    #[error(
        "{0} has no DNSLink: at _dnslink.{0} there is no TXT record dnslink=/ipfs/CID or dnslink=/ipns/NAME"
    )]
    Nothing(Domain),
    /// The server did not say.
    #[error("the DNS server did not say what {0} stands for: {1}")]
    Failed(Domain, String),
    /// Too many at once.
    #[error("too many domains are being looked up; try again")]
    Busy,
}

/// Looks domains up.
pub(super) struct DnsLink {
    resolver: Resolver,
    answers: Mutex<Answers>,
    lookups: Semaphore,
    begun: Clock,
}

enum Resolver {
    At(Box<TokioResolver>),
    Off,
    /// The system names no server, and says why.
    Missing(String),
}

impl DnsLink {
    pub(super) fn new(dns: Dns) -> Self {
        let resolver = match dns {
            Dns::Off => Resolver::Off,
            Dns::Server(address) => {
                built(Ok(TokioResolver::builder_with_config(only(address), TokioRuntimeProvider::default())))
            }
            Dns::System => built(TokioResolver::builder_tokio()),
        };
        let (answers, lookups) = (Mutex::new(Answers::new(MAX_KNOWN)), Semaphore::new(MAX_LOOKUPS));
        Self { resolver, answers, lookups, begun: Clock::now() }
    }

    /// What a domain stands for, and for how many seconds that holds.
    pub(super) async fn look_up(&self, domain: &Domain) -> Result<(String, u64), DnsError> {
        let resolver = match &self.resolver {
            Resolver::At(resolver) => resolver,
            Resolver::Off => return Err(DnsError::Off),
            Resolver::Missing(why) => return Err(DnsError::NoServer(why.clone())),
        };
        if let Some((known, seconds)) = self.known(domain) {
            return said(domain, known, seconds);
        }
        let _permit = self.lookups.try_acquire().map_err(|_| DnsError::Busy)?;
        let asked = resolver.lookup(domain.question(), RecordType::TXT);
        let found = tokio::time::timeout(LOOKUP_WITHIN, asked).await;
        let (known, seconds) = match found.unwrap_or(Err(NetError::Timeout)) {
            Err(NetError::Dns(Said::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
            {
                let seconds = none.negative_ttl.map_or(MAX_NOTHING_SECONDS, u64::from);
                (Known::Nothing, seconds.min(MAX_NOTHING_SECONDS))
            }
            Err(error) => (Known::Failed(error.to_string()), FAILED_SECONDS),
            Ok(found) => {
                let texts = found.answers().iter().filter_map(|record| text(&record.data));
                let texts: Vec<Vec<u8>> = texts.collect();
                let seconds = found.answers().iter().map(|record| u64::from(record.ttl)).min().unwrap_or(0);
                match dnslink::value(texts.iter().map(Vec::as_slice)) {
                    Some(value) => (Known::Value(value.to_owned()), seconds.min(MAX_SECONDS)),
                    None => (Known::Nothing, seconds.min(MAX_NOTHING_SECONDS)),
                }
            }
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.put(self.now(), domain.clone(), known.clone(), seconds);
        said(domain, known, seconds)
    }

    fn known(&self, domain: &Domain) -> Option<(Known, u64)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(self.now(), domain).map(|(known, seconds)| (known.clone(), seconds))
    }

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

fn said(domain: &Domain, known: Known, seconds: u64) -> Result<(String, u64), DnsError> {
    match known {
        Known::Value(value) => Ok((value, seconds)),
        Known::Nothing => Err(DnsError::Nothing(domain.clone())),
        Known::Failed(why) => Err(DnsError::Failed(domain.clone(), why)),
    }
}

/// The strings of a TXT record are one text (RFC 7208, section 3.3, which DNSLink follows).
fn text(data: &RData) -> Option<Vec<u8>> {
    let RData::TXT(text) = data else { return None };
    Some(text.txt_data.concat())
}

fn only(address: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = connections.to_vec();
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

type Builder = hickory_resolver::ResolverBuilder<TokioRuntimeProvider>;

fn built(builder: Result<Builder, NetError>) -> Resolver {
    let resolver = builder.and_then(|mut builder| {
        let options = builder.options_mut();
        // What is kept is kept above, in one bound with what is not there.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = ATTEMPT_WITHIN;
        builder.build()
    });
    match resolver {
        Ok(resolver) => Resolver::At(Box::new(resolver)),
        Err(error) => Resolver::Missing(error.to_string()),
    }
}
