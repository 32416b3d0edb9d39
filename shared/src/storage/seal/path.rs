//! An object's path, and the chain of keys that seals it.
//!
//! ```text
//! bucket ─ folder "a" ─► key of a/ ─ folder "b" ─► key of a/b/ ─ object "c" ─► record key of a/b/c
//!                          └─ seals the names in a/    └─ seals the names in a/b/
//! ```
//!
//! Each key follows from the one before by HMAC, so the key of `a/b/` opens all that is below `a/b/`, and says
//! nothing of what is beside or above. An object and a folder of the same name have unrelated keys. Prefixes that
//! end inside a segment have no key; a grant for one needs the listing door.

use core::{fmt, str::FromStr};

use zeroize::Zeroize as _;

use super::{
    RecordKey,
    keys::{derive, open_box, seal_box, secret_key},
};

/// What S3 allows a key.
pub const MAX_OBJECT_PATH_BYTES: usize = 1024;

/// The path of an object within its bucket: any text of 1 to [`MAX_OBJECT_PATH_BYTES`] bytes, cut at slashes.
/// Empty segments count, so that `a//b`, `a/` and `/a` are paths of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectPath(String);

/// A text that is no object's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object's path has 1 to {MAX_OBJECT_PATH_BYTES} bytes, and this has {found}")]
pub struct ObjectPathError {
    /// Its length.
    pub found: usize,
}

impl ObjectPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders on the way, and the object's own name.
    fn split(&self) -> (impl Iterator<Item = &str>, &str) {
        let (folders, name) = match self.0.rsplit_once('/') {
            Some((folders, name)) => (Some(folders), name),
            None => (None, self.0.as_str()),
        };
        (folders.into_iter().flat_map(|folders| folders.split('/')), name)
    }
}

impl FromStr for ObjectPath {
    type Err = ObjectPathError;

    fn from_str(text: &str) -> Result<Self, ObjectPathError> {
        let lawful = (1..=MAX_OBJECT_PATH_BYTES).contains(&text.len());
        if lawful { Ok(Self(text.to_owned())) } else { Err(ObjectPathError { found: text.len() }) }
    }
}

secret_key! {
    /// The key of one folder, or of a whole bucket.
    PathKey
}

/// Why a sealed path does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a row of sealed names.
    #[error("the sealed path is cut short or too long")]
    Malformed,
    /// Another folder's, or changed.
    #[error("the name was not sealed in this folder")]
    Forged,
}

/// A length in front of each sealed name: two bytes hold what 1,024 bytes of name become.
const LENGTH_BYTES: usize = 2;

impl PathKey {
    /// The key of a bucket under its owner's secret.
    pub fn bucket(owner: &[u8; 32], bucket: &str) -> Self {
        Self(derive(owner, "bucket", bucket.as_bytes()))
    }

    /// The key of 32 secret bytes, as a grant carries them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 secret bytes, for a grant.
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The key of the folder `name` in this one.
    #[must_use]
    pub fn folder(&self, name: &str) -> Self {
        Self(derive(&self.0, "folder", name.as_bytes()))
    }

    /// The key of the folder that `path`, seen from here, lies in, and the key of the object's record.
    pub fn object(&self, path: &ObjectPath) -> (Self, RecordKey) {
        let (folders, name) = path.split();
        let folder = folders.fold(self.clone(), |key, folder| key.folder(folder));
        let record = RecordKey(derive(&folder.0, "record", name.as_bytes()));
        (folder, record)
    }

    /// Seals one name of this folder. The same name always becomes the same bytes, 40 longer: its nonce follows
    /// from it (as in SIV: Rogaway and Shrimpton, EUROCRYPT 2006), so that a name can be looked up sealed.
    pub fn seal_name(&self, name: &str) -> Vec<u8> {
        let mac = derive(&self.0, "name nonce", name.as_bytes());
        let nonce = mac.first_chunk().expect("24 of 32 bytes");
        seal_box(&self.name_key(), nonce, b"name", name.as_bytes())
    }

    /// Opens one name of this folder.
    ///
    /// # Errors
    /// [`NameError::Forged`].
    pub fn open_name(&self, sealed: &[u8]) -> Result<String, NameError> {
        let name = open_box(&self.name_key(), b"name", sealed).map_err(|_| NameError::Forged)?;
        String::from_utf8(name).map_err(|_| NameError::Forged)
    }

    /// Seals a path as seen from this folder: each name with its length in front. Of two paths in one folder the
    /// sealed forms begin alike up to that folder, so a sealed listing can be asked for by prefix. Its order is
    /// not that of the names.
    pub fn seal_path(&self, path: &ObjectPath) -> Vec<u8> {
        let (folders, name) = path.split();
        let (mut key, mut sealed) = (self.clone(), Vec::new());
        for folder in folders {
            key.append_name(folder, &mut sealed);
            key = key.folder(folder);
        }
        key.append_name(name, &mut sealed);
        sealed
    }

    /// Opens what [`PathKey::seal_path`] of this folder made.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn open_path(&self, mut sealed: &[u8]) -> Result<ObjectPath, NameError> {
        let (mut key, mut path) = (self.clone(), String::new());
        loop {
            let (length, rest) = sealed.split_first_chunk::<LENGTH_BYTES>().ok_or(NameError::Malformed)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (name, rest) = rest.split_at_checked(length).ok_or(NameError::Malformed)?;
            let name = key.open_name(name)?;
            path.push_str(&name);
            if path.len() > MAX_OBJECT_PATH_BYTES {
                return Err(NameError::Malformed);
            }
            if rest.is_empty() {
                return path.parse().map_err(|_| NameError::Malformed);
            }
            path.push('/');
            key = key.folder(&name);
            sealed = rest;
        }
    }

    fn name_key(&self) -> [u8; 32] {
        derive(&self.0, "name key", b"")
    }

    fn append_name(&self, name: &str, sealed: &mut Vec<u8>) {
        let name = self.seal_name(name);
        let length = u16::try_from(name.len()).expect("a path has at most 1,024 bytes");
        sealed.extend_from_slice(&length.to_be_bytes());
        sealed.extend_from_slice(&name);
    }
}
