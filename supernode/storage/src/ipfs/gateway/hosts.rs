//! Sites by their host: `CID.ipfs.DOMAIN` and `NAME.ipns.DOMAIN` (subdomain gateway), and domains that are pointed here
//! (DNSLink gateway).

use http::{HeaderMap, Request, header};
use multibase::Base;
use shared::storage::ipfs::{Cid, dnslink::Domain, ipns::Name};

use super::{Refusal, headers::escaped};
use crate::ipfs::{
    Ipfs,
    config::EVERY_DOMAIN,
    dns::DnsError,
    names::{NameError, ascii},
};

/// A label of a host's name (RFC 2181).
const MAX_LABEL_BYTES: usize = 63;

/// Where a request came to.
pub(super) enum Place {
    /// Some host.
    Plain,
    /// A domain below which sites have hosts; with its port, as the client wrote it.
    Domain(String),
    /// A site.
    Site {
        /// `ipfs` or `ipns`.
        namespace: &'static str,
        /// The CID or the name.
        root: String,
    },
}

/// Reads the host of a request; a domain that somebody points here is looked up.
pub(super) async fn place<B>(ipfs: &Ipfs, request: &Request<B>) -> Result<Place, Refusal> {
    let host = host_of(request).to_ascii_lowercase();
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host.as_str() }
    });
    for domain in &ipfs.config.domains {
        if name == domain {
            return Ok(Place::Domain(host.clone()));
        }
        let Some(labels) = name.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.')) else {
            continue;
        };
        for namespace in ["ipfs", "ipns"] {
            let label = labels.strip_suffix(namespace).and_then(|rest| rest.strip_suffix('.'));
            if let Some(label) = label.filter(|label| !label.is_empty()) {
                return Ok(Place::Site { namespace, root: root_of(namespace, label)? });
            }
        }
        return Err(Refusal::bad("a host here is CID.ipfs or NAME.ipns"));
    }
    let Ok(domain) = Domain::parse(name) else { return Ok(Place::Plain) };
    let site = || Place::Site { namespace: "ipns", root: domain.to_string() };
    if ipfs.config.dnslink_hosts.contains(&domain.to_string()) {
        return Ok(site());
    }
    if ipfs.config.dnslink_hosts.iter().any(|host| host == EVERY_DOMAIN) {
        return match ipfs.dns.look_up(&domain).await {
            Ok(_) => Ok(site()),
            // Nobody points it here: it is a name of this gateway's.
            Err(DnsError::Nothing(_)) => Ok(Place::Plain),
            Err(error) => Err(NameError::from(error).into()),
        };
    }
    Ok(Place::Plain)
}

/// What a host's labels before the namespace stand for: a CID or a key's name as one label, a domain as one label or as
/// it is.
fn root_of(namespace: &str, labels: &str) -> Result<String, Refusal> {
    if labels.contains('.') {
        let domain = Domain::parse(labels).ok().filter(|_| namespace == "ipns");
        let domain = domain.ok_or_else(|| Refusal::bad("a CID or a key is one label of a host's name"))?;
        return Ok(domain.to_string());
    }
    if labels.len() > MAX_LABEL_BYTES {
        return Err(Refusal::bad("a label of a host's name has at most 63 letters"));
    }
    match Domain::from_label(labels) {
        Ok(domain) if namespace == "ipns" && Name::parse(labels).is_err() => Ok(domain.to_string()),
        _ => Ok(labels.to_owned()),
    }
}

fn host_of<B>(request: &Request<B>) -> &str {
    let said = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    said.or_else(|| request.uri().authority().map(|authority| authority.as_str())).unwrap_or_default()
}

/// The URL of the same thing on its own origin.
pub(super) fn site_location<B>(
    domain: &str,
    request: &Request<B>,
    namespace: &str,
    root: &str,
    below: &str,
) -> Result<String, Refusal> {
    let label = if namespace == "ipfs" {
        let cid: Cid = root.parse().map_err(|_| Refusal::bad(format!("{root:?} is no CID")))?;
        let cid = cid.into_v1().map_err(|_| Refusal::bad("a CID without version 1"))?;
        cid.to_string_of_base(Base::Base32Lower)
            .map_err(|_| Refusal::bad("a CID that base 32 cannot write"))?
    } else {
        match Name::parse(root) {
            Ok(name) => name.to_string(),
            Err(_) => {
                let domain = Domain::parse(&ascii(root));
                let domain =
                    domain.map_err(|_| Refusal::bad(format!("{root:?} is neither a key nor a domain")))?;
                domain.to_label().ok_or_else(|| Refusal::bad("this domain is too long for a host's name"))?
            }
        }
    };
    if label.len() > MAX_LABEL_BYTES {
        return Err(Refusal::bad("this root is too long for a host's name"));
    }
    let scheme = if is_secure(request.headers()) { "https" } else { "http" };
    let query = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
    Ok(format!("{scheme}://{label}.{namespace}.{domain}/{}{query}", escaped(below)))
}

/// Whether a proxy in front took it by TLS.
fn is_secure(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|value| value == "https")
}
