//! Names that others can look up: `did:key` (a peer), `did:pkh` (an account), `did:web` (a host), and the documents
//! they stand for (W3C DID Core 1.0; did:key 0.9; did:pkh, CAIP-10; did:web).
//!
//! Documents of the first two follow from the name alone. One of `did:web` is fetched by a shell, which hands its
//! bytes in; what is believed of it is that the host names these keys, no more.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Account, AccountError, KeyError, PublicKey};

/// No host name is longer (RFC 1035), and a path is short; what is longer is refused before it is read.
pub const MAX_DID_BYTES: usize = 512;
/// A document names a handful of keys.
pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024;
/// More keys than this no node has.
pub const MAX_METHODS: usize = 32;

const CONTEXTS: [&str; 2] = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"];
const MULTIKEY: &str = "Multikey";
const RECOVERY: &str = "EcdsaSecp256k1RecoveryMethod2020";

/// A decentralised identifier of a kind that we know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Did {
    /// A peer's key.
    Key(PublicKey),
    /// An account on one chain.
    Account {
        /// Which chain (CAIP-2, `eip155`).
        chain_id: u64,
        /// The account.
        account: Account,
    },
    /// A host that says itself whose it is.
    Web {
        /// Host, with its port where that is not 443.
        host: String,
        /// Segments of the path; none for the host's own document.
        path: Vec<String>,
    },
}

/// Why a text is not a name, or a document not the name's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// A method that we do not know, or a name it does not permit.
    #[error("expected did:key:z6Mk…, did:pkh:eip155:… or did:web:…, found {0:?}")]
    Text(String),
    /// The key inside is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The account inside is none.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Not a document, or too much of one.
    #[error("the document cannot be read: {0}")]
    Document(String),
    /// The document of another name.
    #[error("the document is of {found}, not of {asked}")]
    OfAnother {
        /// Whose was wanted.
        asked: String,
        /// Whose it says it is.
        found: String,
    },
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => fmt::Display::fmt(key, f),
            Self::Account { chain_id, account } => write!(f, "did:pkh:eip155:{chain_id}:{account}"),
            Self::Web { host, path } => {
                write!(f, "did:web:{}", host.replace(':', "%3A"))?;
                path.iter().try_for_each(|segment| write!(f, ":{segment}"))
            }
        }
    }
}

impl FromStr for Did {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || DidError::Text(text.chars().take(100).collect());
        if text.len() > MAX_DID_BYTES {
            return Err(refuse());
        }
        if text.starts_with("did:key:") {
            return Ok(Self::Key(text.parse()?));
        }
        if let Some(account) = text.strip_prefix("did:pkh:eip155:") {
            let (chain, account) = account.split_once(':').ok_or_else(refuse)?;
            let canonical = chain.bytes().all(|digit| digit.is_ascii_digit()) && !chain.starts_with('0');
            let chain_id = chain.parse().ok().filter(|_| canonical).ok_or_else(refuse)?;
            return Ok(Self::Account { chain_id, account: account.parse()? });
        }
        let mut parts = text.strip_prefix("did:web:").ok_or_else(refuse)?.split(':');
        let host = host(parts.next().unwrap_or_default()).ok_or_else(refuse)?;
        let path: Vec<String> = parts.map(str::to_owned).collect();
        if !path.iter().all(|segment| is_segment(segment)) {
            return Err(refuse());
        }
        Ok(Self::Web { host, path })
    }
}

/// A host by name, in lower case, with a port behind `%3A`. An address is no host here (did:web says so).
fn host(text: &str) -> Option<String> {
    let text = text.replace("%3A", ":").replace("%3a", ":");
    let (name, port) = text.split_once(':').map_or((text.as_str(), None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let last_is_a_word = name.rsplit('.').next()?.bytes().any(|byte| byte.is_ascii_lowercase());
    let port_is_one = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
    (name.len() <= 253 && name.split('.').all(label) && last_is_a_word && port_is_one).then_some(text.clone())
}

/// Letters that mean nothing in a path or a text: no dot segments, no escapes.
fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(plain) && text.bytes().any(|byte| byte != b'.')
}

impl Did {
    /// Where a `did:web` document is fetched from; nothing for names that need no fetching.
    pub fn url(&self) -> Option<String> {
        let Self::Web { host, path } = self else { return None };
        let path = if path.is_empty() { ".well-known".to_owned() } else { path.join("/") };
        Some(format!("https://{host}/{path}/did.json"))
    }

    /// The document that follows from the name; nothing for `did:web`, whose host has it.
    pub fn document(&self) -> Option<Document> {
        let method = self.method(self)?;
        Some(Document::with(self.to_string(), Vec::new(), vec![method]))
    }

    /// The document that a host serves for its own name: the node's key, and its account where it has one.
    pub fn web_document(&self, key: &PublicKey, account: Option<(u64, Account)>) -> Document {
        let account = account.map(|(chain_id, account)| Self::Account { chain_id, account });
        let subjects: Vec<Self> = [Self::Key(key.clone())].into_iter().chain(account).collect();
        let methods = subjects.iter().filter_map(|subject| subject.method(self)).collect();
        Document::with(self.to_string(), subjects.iter().map(Self::to_string).collect(), methods)
    }

    /// The one key of a name, as `document` lists it.
    fn method(&self, document: &Self) -> Option<Method> {
        let (fragment, kind, key, account) = match self {
            Self::Key(key) => {
                let text = key.to_string();
                let multibase = text.trim_start_matches("did:key:").to_owned();
                (multibase.clone(), MULTIKEY, Some(multibase), None)
            }
            Self::Account { chain_id, account } => {
                let caip = format!("eip155:{chain_id}:{account}");
                ("blockchainAccountId".to_owned(), RECOVERY, None, Some(caip))
            }
            Self::Web { .. } => return None,
        };
        Some(Method {
            id: format!("{document}#{fragment}"),
            kind: kind.to_owned(),
            controller: document.to_string(),
            public_key_multibase: key,
            blockchain_account_id: account,
        })
    }
}

/// A document of an identity: which keys speak for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    #[serde(rename = "@context", default)]
    context: serde_json::Value,
    /// The name.
    pub id: String,
    /// Other names of the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_known_as: Vec<String>,
    /// Its keys.
    #[serde(default)]
    pub verification_method: Vec<Method>,
    /// Which of them it logs in and signs with; names of methods. A method may also stand here whole.
    #[serde(default)]
    authentication: Vec<serde_json::Value>,
    #[serde(default)]
    assertion_method: Vec<serde_json::Value>,
}

/// One key of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Method {
    /// Its name: the document's, `#`, and something.
    pub id: String,
    /// What kind of key it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who may change it.
    pub controller: String,
    /// The key, with its multicodec, in base58.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_multibase: Option<String>,
    /// The account (CAIP-10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blockchain_account_id: Option<String>,
}

impl Document {
    fn with(id: String, also_known_as: Vec<String>, methods: Vec<Method>) -> Self {
        let names: Vec<serde_json::Value> = methods.iter().map(|method| method.id.clone().into()).collect();
        Self {
            context: CONTEXTS.to_vec().into(),
            id,
            also_known_as,
            verification_method: methods,
            authentication: names.clone(),
            assertion_method: names,
        }
    }

    /// As a host serves it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts in lists can be written")
    }

    /// Reads what somebody served for `asked`.
    ///
    /// # Errors
    /// [`DidError::Document`] or [`DidError::OfAnother`].
    pub fn read(asked: &Did, json: &[u8]) -> Result<Self, DidError> {
        if json.len() > MAX_DOCUMENT_BYTES {
            return Err(DidError::Document(format!("it has {} bytes", json.len())));
        }
        let read = serde_json::from_slice(json);
        let document: Self = read.map_err(|error| DidError::Document(error.to_string()))?;
        let keys = document.verification_method.len();
        if keys > MAX_METHODS {
            return Err(DidError::Document(format!("it names {keys} keys")));
        }
        if document.id != asked.to_string() {
            let found = document.id.chars().take(MAX_DID_BYTES).collect();
            return Err(DidError::OfAnother { asked: asked.to_string(), found });
        }
        Ok(document)
    }

    /// The names of keys that may sign for it and that we can check, as names of their own. A key that the document
    /// lists but gives no such use, or whose controller is another, is not among them.
    pub fn signers(&self) -> impl Iterator<Item = Did> {
        let may_sign = |method: &&Method| {
            self.assertion_method.iter().any(|entry| entry.as_str() == Some(&method.id))
                && method.controller == self.id
        };
        self.verification_method.iter().filter(may_sign).filter_map(|method| {
            let did = match (&method.public_key_multibase, &method.blockchain_account_id) {
                (Some(key), None) => format!("did:key:{key}"),
                (None, Some(account)) => format!("did:pkh:{account}"),
                _ => return None,
            };
            did.parse().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Keypair;

    fn reads_back(text: &str) -> Did {
        let did: Did = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(did.to_string(), text);
        did
    }

    #[test]
    fn names_read_back_as_they_print() {
        reads_back("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK");
        reads_back("did:pkh:eip155:137:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed");
        assert_eq!(
            reads_back("did:web:example.com").url().unwrap(),
            "https://example.com/.well-known/did.json"
        );
        let deep = reads_back("did:web:example.com%3A3000:user:alice");
        assert_eq!(deep.url().unwrap(), "https://example.com:3000/user/alice/did.json");
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in [
            "",
            "did:web:",
            "did:web:Example.com",
            "did:web:127.0.0.1",
            "did:web:example.com:..",
            "did:web:example.com%2Fx",
            "did:web:user@example.com",
            "did:web:example.com%3A0",
            "did:pkh:eip155:01:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "did:pkh:eip155:1:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed",
            "did:pkh:solana:1:x",
            "did:ion:x",
        ] {
            assert!(text.parse::<Did>().is_err(), "{text}");
        }
        assert!(format!("did:web:{}", "a.".repeat(400)).parse::<Did>().is_err());
    }

    #[test]
    fn a_document_names_the_keys_that_sign() {
        let key = Keypair::from_secret([1; 32]).public();
        let account = Account([7; 20]);
        let own = Did::Key(key.clone());
        assert!(own.document().unwrap().signers().eq([own.clone()]));
        let web: Did = "did:web:node.example".parse().unwrap();
        let json = web.web_document(&key, Some((137, account))).to_json();
        let read = Document::read(&web, json.as_bytes()).unwrap();
        let both = vec![own.clone(), Did::Account { chain_id: 137, account }];
        assert_eq!(read.signers().collect::<Vec<_>>(), both);
        assert!(matches!(Document::read(&own, json.as_bytes()), Err(DidError::OfAnother { .. })));
        assert!(matches!(Document::read(&web, b"[]"), Err(DidError::Document(_))));
        let foreign = json.replace(r#""controller":"did:web:node.example""#, r#""controller":"did:web:a.b""#);
        assert_eq!(Document::read(&web, foreign.as_bytes()).unwrap().signers().count(), 0);
    }
}
