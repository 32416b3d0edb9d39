//! What a row says. JSON, each kind in a table whose name ends in its version.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use shared::storage::seal::Sealing;

use super::MetaError;

/// Whether a bucket keeps what is overwritten and deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never did.
    #[default]
    Off,
    /// Does.
    Enabled,
    /// Did, and keeps what it has.
    Suspended,
}

/// A bucket.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BucketRow {
    /// Names it in the other tables.
    pub id: u64,
    /// Whose it is.
    pub account: String,
    /// When it was made, in seconds of unix time.
    pub created: u64,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// Whether its versions can be locked.
    pub lock: bool,
    /// Configurations that the door keeps here, by its own names.
    pub documents: BTreeMap<String, String>,
}

/// The name of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionId {
    /// The one that is replaced where versions are not kept.
    Null,
    /// One of its own.
    Own {
        /// Its place in the order of all.
        sequence: u64,
        /// Keeps it from being guessed.
        nonce: u64,
    },
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Own { sequence, nonce } => write!(f, "{sequence:016x}{nonce:016x}"),
        }
    }
}

impl FromStr for VersionId {
    type Err = MetaError;

    fn from_str(text: &str) -> Result<Self, MetaError> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let half = |at| u64::from_str_radix(text.get(at)?, 16).ok();
        match (half(0..16), half(16..32)) {
            (Some(sequence), Some(nonce)) if text.len() == 32 => Ok(Self::Own { sequence, nonce }),
            _ => Err(MetaError::NoSuchVersion),
        }
    }
}

/// How a version is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockMode {
    /// Its owner may end it, saying so.
    Governance,
    /// Nobody may.
    Compliance,
}

/// Until when a version is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// How firmly.
    pub mode: LockMode,
    /// In seconds of unix time.
    pub until: u64,
}

/// What a listing says of an object without opening its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// Its length before sealing.
    pub bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// How many parts it was uploaded in; none for one that came whole.
    pub parts: Option<u16>,
}

/// A version of an object, or a delete marker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionRow {
    /// Second half of its name; nothing for `null`.
    pub nonce: Option<u64>,
    /// When it was written, in seconds of unix time.
    pub modified: u64,
    /// The object; nothing for a delete marker.
    pub object: Option<ObjectRow>,
    /// Its tags, which may change.
    pub tags: Vec<(String, String)>,
    /// Until when it is kept.
    pub retention: Option<Retention>,
    /// Whether it is kept until somebody says otherwise.
    pub legal_hold: bool,
    /// The door's own: the canned ACL that lets others in. Rows of before ACLs have none.
    #[serde(default)]
    pub acl: Option<String>,
}

impl VersionRow {
    /// Its name, at its place in the order of all.
    #[must_use]
    pub fn id(&self, sequence: u64) -> VersionId {
        self.nonce.map_or(VersionId::Null, |nonce| VersionId::Own { sequence, nonce })
    }
}

/// An upload in parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UploadRow {
    /// When it was begun, in seconds of unix time.
    pub begun: u64,
    /// The key that seals its parts and the door's headers of the object to be, both sealed by the object's path, in
    /// hexadecimal digits.
    pub sealed: String,
    /// How its parts are sealed, whatever the node does with other objects by now.
    #[serde(default = "first_sealing")]
    pub sealing: Sealing,
    /// The tags of the object to be.
    pub tags: Vec<(String, String)>,
    /// The retention of the object to be.
    pub retention: Option<Retention>,
    /// The legal hold of the object to be.
    pub legal_hold: bool,
    /// The ACL of the object to be.
    #[serde(default)]
    pub acl: Option<String>,
}

/// What all uploads had before they said so.
fn first_sealing() -> Sealing {
    Sealing::XChaCha20Poly1305
}

/// A part of an upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartRow {
    /// Its length before sealing.
    pub bytes: u64,
    /// Tells its stream's key from others.
    pub salt: [u8; 16],
    /// Where it lies.
    pub segments: Vec<[u8; 32]>,
    /// MD5 of its bytes.
    pub md5: [u8; 16],
    /// When it came, in seconds of unix time.
    pub modified: u64,
    /// The door's own: its checksums by their names.
    pub checksums: BTreeMap<String, String>,
}

pub(super) fn read<T: DeserializeOwned>(row: &[u8]) -> Result<T, MetaError> {
    Ok(serde_json::from_slice(row)?)
}

pub(super) fn write<T: Serialize>(row: &T) -> Result<Vec<u8>, MetaError> {
    Ok(serde_json::to_vec(row)?)
}
