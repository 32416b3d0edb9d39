//! Sites by their host: `CID.ipfs.DOMAIN` and `NAME.ipns.DOMAIN` (subdomain gateway), and domains that are pointed here
//! (DNSLink gateway).
//!
//! A site has one origin, or what it keeps in a browser would be in several: whoever writes its CID or name otherwise than
//! hosts have it is sent to where it is.

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
    /// A site, as hosts do not have it.
    Misnamed {
        /// Its host, as hosts have it; with its port, as the client wrote it.
        host: String,
    },
}

/// What a host's labels before the namespace stand for.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    /// The CID or the name.
    root: String,
    /// The label that it has as a host, where it is written otherwise.
    label: Option<String>,
}

/// Reads the host of a request; a domain that somebody points here is looked up.
pub(super) async fn place<B>(ipfs: &Ipfs, request: &Request<B>) -> Result<Place, Refusal> {
    let written = host_of(request);
    let host = written.to_ascii_lowercase();
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
                // Letters of another size are another CID in some bases.
                let Named { root, label: right } = named(namespace, &written[..label.len()])?;
                return Ok(match right {
                    Some(right) => Place::Misnamed { host: right + &host[label.len()..] },
                    None => Place::Site { namespace, root },
                });
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

/// Reads the labels before the namespace: a CID or a key's name as one label, a domain as one label or as it is.
fn named(namespace: &str, labels: &str) -> Result<Named, Refusal> {
    let small = labels.to_ascii_lowercase();
    if labels.contains('.') {
        let domain = Domain::parse(&small).ok().filter(|_| namespace == "ipns");
        let domain = domain.ok_or_else(|| Refusal::bad("a CID or a key is one label of a host's name"))?;
        return Ok(Named { root: domain.to_string(), label: None });
    }
    if labels.len() > MAX_LABEL_BYTES {
        return Err(Refusal::bad("a label of a host's name has at most 63 letters"));
    }
    let (root, label) = if namespace == "ipfs" {
        let cid: Result<Cid, _> = labels.parse().or_else(|_| small.parse());
        let label = label_of_cid(cid.map_err(|_| Refusal::bad(format!("{labels:?} is no CID")))?)?;
        (label.clone(), label)
    } else {
        match Name::parse(labels).or_else(|_| Name::parse(&small)) {
            Ok(name) => (name.to_string(), name.to_string()),
            Err(_) => {
                let domain = Domain::from_label(&small);
                let domain =
                    domain.map_err(|_| Refusal::bad(format!("{labels:?} is neither a key nor a domain")))?;
                (domain.to_string(), small)
            }
        }
    };
    Ok(Named { root, label: (label != labels).then_some(label) })
}

/// The one form in which hosts have a CID: base 32, or base 36 where that is too long.
fn label_of_cid(cid: Cid) -> Result<String, Refusal> {
    let cid = cid.into_v1().map_err(|_| Refusal::bad("a CID without version 1"))?;
    let mut forms = [Base::Base32Lower, Base::Base36Lower]
        .into_iter()
        .filter_map(|base| cid.to_string_of_base(base).ok());
    forms
        .find(|form| form.len() <= MAX_LABEL_BYTES)
        .ok_or_else(|| Refusal::bad("this root is too long for a host's name"))
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
        label_of_cid(root.parse().map_err(|_| Refusal::bad(format!("{root:?} is no CID")))?)?
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
    let query = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
    Ok(format!("{}://{label}.{namespace}.{domain}/{}{query}", scheme(request), escaped(below)))
}

/// The URL of the same thing at the host that its site has.
pub(super) fn right_location<B>(host: &str, request: &Request<B>) -> String {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    format!("{}://{host}{path}", scheme(request))
}

fn scheme<B>(request: &Request<B>) -> &'static str {
    if is_secure(request.headers()) { "https" } else { "http" }
}

/// Whether a proxy in front took it by TLS.
fn is_secure(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|value| value == "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreic5k5tm6llyoalbiiaeddxbiudjbwnpclee2usulzeaf4abvvjqte";

    /// What a label stands for, and the label that is right where it is not.
    fn check(namespace: &str, labels: &str, root: &str, right: Option<&str>) {
        let expect = Named { root: root.to_owned(), label: right.map(str::to_owned) };
        assert_eq!(named(namespace, labels).unwrap(), expect, "{labels}");
    }

    #[test]
    fn a_cid_is_one_label_whatever_base_and_letters_it_is_written_in() {
        check("ipfs", CID, CID, None);
        check("ipfs", &CID.to_uppercase(), CID, Some(CID));
        check("ipfs", &CID.replace("bafk", "bAFk"), CID, Some(CID));
        let cid: Cid = CID.parse().unwrap();
        for base in [Base::Base36Lower, Base::Base36Upper, Base::Base58Btc, Base::Base64Url] {
            check("ipfs", &cid.to_string_of_base(base).unwrap(), CID, Some(CID));
        }
        let first = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR";
        let tree = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
        check("ipfs", first, tree, Some(tree));
        // What base 32 makes too long, base 36 may not.
        let key = "k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r";
        check("ipfs", key, key, None);
        assert!(named("ipfs", "no-cid").is_err());
        assert!(
            named("ipfs", &cid.to_string_of_base(Base::Base16Lower).unwrap()).is_err(),
            "longer than a label"
        );
        assert!(named("ipfs", "a.b").is_err());
    }

    #[test]
    fn a_key_and_a_domain_are_one_label_each() {
        let key = "k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r";
        let name = Name::parse(key).unwrap();
        check("ipns", key, key, None);
        check("ipns", &key.to_uppercase(), key, Some(key));
        let cid: Cid = key.parse().unwrap();
        let peer = Base::Base58Btc.encode(cid.hash().to_bytes());
        assert_eq!(Name::parse(&peer).unwrap(), name);
        check("ipns", &peer, key, Some(key));
        let inlined = "en-wikipedia--on--ipfs-org";
        check("ipns", inlined, "en.wikipedia-on-ipfs.org", None);
        check("ipns", "EN-wikipedia--on--ipfs-org", "en.wikipedia-on-ipfs.org", Some(inlined));
        check("ipns", "En.Wikipedia-on-ipfs.org", "en.wikipedia-on-ipfs.org", None);
        assert!(named("ipns", "nothing").is_err());
    }
}
