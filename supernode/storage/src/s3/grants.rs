//! Grants at the door: what an issuer whom this node trusts let somebody do, without this node being asked.
//!
//! ```text
//! Authorization: Bearer TOKEN                    a token as it is, for whoever speaks HTTP by hand
//! x-amz-security-token: SESSION TOKEN, signed    S3's own way, for every tool: keys that the holder derived
//! ```
//!
//! An issuer stands for one account of this node; a grant never allows more than that account may, nor more than it
//! says itself: operations, a bucket and a prefix in it, a time. Settings of buckets, locks and ACLs are in no grant.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use http::{HeaderMap, Uri, header};
use runtime::grants::{self, Revoked, Token, Wish};
use s3s::{S3Result, s3_error};
use shared::identity::{Keypair, PublicKey};

/// The service that grants name.
pub const SERVICE: &str = "storage";
/// What grants may allow.
pub const OPERATIONS: [&str; 4] = ["read", "write", "list", "delete"];

tokio::task_local! {
    /// What the request that is being answered brought. s3s asks for secrets by the access key alone.
    static PRESENTED: Option<Arc<Presented>>;
}

/// A grant that came with a request, and is not yet held against anything.
pub(super) struct Presented {
    account: String,
    token: Token,
    /// The keys that the request must be signed with; none where it came as it is.
    keys: Option<grants::AccessKeys>,
}

/// Whom this node trusts to make grants, and what was taken back.
pub struct Grants {
    issuers: BTreeMap<PublicKey, String>,
    node: Keypair,
    revoked: Revoked,
}

impl Grants {
    /// Of a node: `issuers` stand for accounts of it.
    ///
    /// # Errors
    /// Where what was revoked cannot be kept.
    pub fn open(
        data_dir: &Path,
        node: &Keypair,
        issuers: BTreeMap<PublicKey, String>,
    ) -> anyhow::Result<Self> {
        Ok(Self { issuers, node: node.clone(), revoked: Revoked::open(data_dir)? })
    }

    /// The grant that a request brings. A bearer's is taken out of its headers, so that nobody reads them for a
    /// signature.
    ///
    /// # Errors
    /// `InvalidToken` where it brings something else, or one of an issuer whom nobody here trusts.
    pub(super) fn take(&self, uri: &Uri, headers: &mut HeaderMap) -> S3Result<Option<Arc<Presented>>> {
        let refuse = || s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid.");
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.to_vec())
        });
        let (token, keys) = match (bearer, session_token(uri, headers)?) {
            (None, None) => return Ok(None),
            (Some(bearer), None) => {
                headers.remove(header::AUTHORIZATION);
                let text = std::str::from_utf8(&bearer).map_err(|_| refuse())?;
                (Token::from_text(text.trim()).map_err(|_| refuse())?, None)
            }
            (None, Some(session)) => {
                let (keys, token) = grants::AccessKeys::open(&session, &self.node).map_err(|_| refuse())?;
                (token, Some(keys))
            }
            (Some(_), Some(_)) => return Err(refuse()),
        };
        let account = self.issuers.get(&token.issuer).ok_or_else(refuse)?.clone();
        Ok(Some(Arc::new(Presented { account, token, keys })))
    }

    /// Whether a grant allows one of [`OPERATIONS`] with `resource`: a bucket, `/`, and a key or what keys begin with.
    pub(super) fn permits(&self, presented: &Presented, operation: &str, resource: &str) -> bool {
        let wish = Wish { service: SERVICE, operation, resource };
        let Token { issuer, grant } = &presented.token;
        let checked = self.revoked.check(grant, issuer, &wish, runtime::unix_now());
        if let Err(error) = &checked {
            tracing::debug!(%error, operation, "a grant does not reach so far");
        }
        checked.is_ok()
    }
}

fn session_token(uri: &Uri, headers: &HeaderMap) -> S3Result<Option<String>> {
    const NAME: &str = "x-amz-security-token";
    if let Some(value) = headers.get(NAME) {
        return value.to_str().map(|value| Some(value.to_owned())).map_err(|_| s3_error!(InvalidToken));
    }
    let query = uri.query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    Ok(pairs.find(|(name, _)| name.eq_ignore_ascii_case(NAME)).map(|(_, value)| value.into_owned()))
}

impl Presented {
    /// Answers a request that brought `presented`.
    pub(super) async fn with<F: Future>(presented: Option<Arc<Self>>, answer: F) -> F::Output {
        PRESENTED.scope(presented, answer).await
    }

    /// The grant of the request that is being answered, where it was proved: by a signature with the access key `id`, or
    /// by being there, where there is no signature.
    pub(super) fn proved(id: Option<&str>) -> Option<Arc<Self>> {
        let presented = PRESENTED.try_with(Clone::clone).ok()??;
        let own = presented.keys.as_ref().map(|keys| keys.id.as_str());
        (own == id).then_some(presented)
    }

    /// What a request with the access key `id` must be signed with.
    pub(super) fn secret(id: &str) -> Option<String> {
        Self::proved(Some(id))?.keys.as_ref().map(|keys| keys.secret.clone())
    }

    /// Whose objects it is about.
    pub(super) fn account(&self) -> &str {
        &self.account
    }
}

/// Which of [`OPERATIONS`] an operation of S3's takes; none where no grant allows it.
pub(super) fn operation(name: &str) -> Option<&'static str> {
    match name {
        "GetObject" | "HeadObject" | "GetObjectAttributes" | "GetObjectTagging" => Some("read"),
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload"
        | "AbortMultipartUpload"
        | "ListParts"
        | "PutObjectTagging"
        | "DeleteObjectTagging" => Some("write"),
        "ListObjects"
        | "ListObjectsV2"
        | "ListObjectVersions"
        | "ListMultipartUploads"
        | "HeadBucket"
        | "GetBucketLocation" => Some("list"),
        "DeleteObject" => Some("delete"),
        _ => None,
    }
}

/// Headers that ask for more than any grant has: locks, the end of locks, and ACLs.
pub(super) fn asks_too_much(headers: &HeaderMap) -> bool {
    headers.keys().map(http::HeaderName::as_str).any(|name| {
        ["x-amz-object-lock-", "x-amz-bypass-", "x-amz-acl", "x-amz-grant-"]
            .iter()
            .any(|front| name.starts_with(front))
    })
}
