//! The S3 door of the owner's own node: buckets and objects for unmodified S3 tools.
//!
//! Signatures, routing and XML are s3s's; what it lets through too easily is caught before (`guard`). Objects are
//! sealed behind the door, with keys that this node holds; a node that serves others sees their plain bytes in passing.
//!
//! What is not here answers `NotImplemented`: SSE-KMS, replication, notifications, inventory, analytics,
//! `SelectObjectContent`, and ACLs that name single accounts.

mod access;
mod access_keys;
mod acl;
mod attributes;
mod body;
mod buckets;
mod copy;
mod cors;
mod customer;
mod error;
mod grants;
mod guard;
mod lifecycle;
mod listing;
mod locks;
mod multipart;
mod operations;
mod policy;
mod read;
mod server;
mod settings;
mod website;
mod whole;
mod write;

use std::sync::Arc;

use s3s::{S3Request, S3Result, s3_error};

use crate::{Meters, meta::VersionId, objects::Objects};

pub(crate) use access_keys::is_account;
pub use access_keys::{AccessKey, AccessKeys};
pub use grants::{Grants, OPERATIONS as GRANT_OPERATIONS, SERVICE as GRANT_SERVICE};
pub use server::S3Server;

/// What the operations work on.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) objects: Objects,
    pub(crate) keys: Arc<AccessKeys>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) meters: Meters,
    /// Hosts below which a bucket's name is a website.
    pub(crate) website_domains: Arc<[String]>,
}

impl Door {
    /// Whose request this is.
    fn account<T>(&self, request: &S3Request<T>) -> S3Result<String> {
        self.caller(request.credentials.as_ref())?.account.ok_or_else(|| s3_error!(AccessDenied))
    }
}

fn version(id: Option<&str>) -> S3Result<Option<VersionId>> {
    id.map(|id| id.parse().map_err(|_| s3_error!(InvalidArgument, "Invalid version id specified")))
        .transpose()
}

/// As S3 has it: 64 hexadecimal digits that name an account.
fn owner_id(account: &str) -> String {
    hex::encode(blake3::hash(account.as_bytes()).as_bytes())
}

fn owner(account: &str) -> s3s::dto::Owner {
    s3s::dto::Owner { display_name: Some(account.to_owned()), id: Some(owner_id(account)) }
}

fn timestamp(unix: u64) -> s3s::dto::Timestamp {
    (std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix)).into()
}

/// Seconds of unix time; what lies before 1970 counts as 1970.
fn unix(timestamp: &s3s::dto::Timestamp) -> u64 {
    let time: std::time::SystemTime = time_of(timestamp);
    time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn time_of(timestamp: &s3s::dto::Timestamp) -> std::time::SystemTime {
    time::OffsetDateTime::from(timestamp.clone()).into()
}

#[cfg(test)]
mod tests;
