//! Access keys: a file each, whose name is the key and which says whose it is. The secret half follows from the node's
//! key and is nowhere written down. A key that was made or revoked counts from the next request on.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use s3s::{
    S3Result,
    auth::{S3Auth, SecretKey},
    s3_error,
};
use serde::{Deserialize, Serialize};
use shared::identity::Keypair;

use super::grants::Presented;
use crate::objects::Keys;

/// All access keys begin so, as S3 tools expect.
const PREFIX: &str = "AKIA";
/// Letters of a key in all.
const KEY_LETTERS: usize = 20;
/// What an account may be called: fit for a file, a policy and a log.
const MAX_ACCOUNT_BYTES: usize = 64;
/// A key's file is far shorter.
const MAX_FILE_BYTES: u64 = 4096;

/// What a key's file says.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    version: u32,
    account: String,
    created: u64,
}

/// An access key, without its secret half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Its public half.
    pub id: String,
    /// Whose it is.
    pub account: String,
    /// When it was made, in seconds of unix time.
    pub created: u64,
}

/// The keys of one node.
pub struct AccessKeys {
    directory: PathBuf,
    keys: Keys,
}

impl AccessKeys {
    /// Of the node with this key, kept below its data directory.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn open(data_dir: &Path, node: &Keypair) -> anyhow::Result<Self> {
        let directory = data_dir.join("storage").join("access-keys");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        Ok(Self { directory, keys: Keys::new(node) })
    }

    /// Makes a key for an account, and says both halves. The secret one is said this once.
    ///
    /// # Errors
    /// Where the account's name is none, or the file cannot be written.
    pub fn create(&self, account: &str) -> anyhow::Result<(AccessKey, String)> {
        if !is_account(account) {
            bail!("an account's name has 1 to {MAX_ACCOUNT_BYTES} small letters, digits and hyphens");
        }
        let random = multibase::Base::Base32Upper.encode(runtime::random_seed()?);
        let id = format!("{PREFIX}{}", &random[..KEY_LETTERS - PREFIX.len()]);
        let created = runtime::unix_now().0;
        let row = serde_json::to_vec(&Row { version: 1, account: account.to_owned(), created })?;
        runtime::write_whole(&self.directory.join(&id), &row, true)
            .with_context(|| format!("cannot write into {}", self.directory.display()))?;
        let secret = self.keys.access_secret(&id);
        Ok((AccessKey { id, account: account.to_owned(), created }, secret))
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    /// Where the directory or a file in it cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<AccessKey>> {
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            if let Some(id) = name.to_str().filter(|id| is_key(id))
                && let Some(Row { account, created, .. }) = self.row(id)?
            {
                keys.push(AccessKey { id: id.to_owned(), account, created });
            }
        }
        keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(keys)
    }

    /// Ends a key. It cannot be brought back.
    ///
    /// # Errors
    /// Where there is no such key.
    pub fn revoke(&self, id: &str) -> anyhow::Result<()> {
        if !is_key(id) {
            bail!("{id} is no access key");
        }
        fs::remove_file(self.directory.join(id)).with_context(|| format!("there is no access key {id}"))?;
        runtime::sync_directory(&self.directory)?;
        Ok(())
    }

    /// Whose key this is.
    pub(crate) fn account(&self, id: &str) -> S3Result<String> {
        let row =
            if is_key(id) { self.row(id).map_err(|error| s3_error!(error, InternalError))? } else { None };
        row.map(|row| row.account).ok_or_else(|| {
            s3_error!(InvalidAccessKeyId, "The access key ID you provided does not exist in our records.")
        })
    }

    fn row(&self, id: &str) -> io::Result<Option<Row>> {
        let path = self.directory.join(id);
        let found = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        if found.len() > MAX_FILE_BYTES {
            return Ok(None);
        }
        Ok(serde_json::from_slice(&fs::read(path)?).ok())
    }
}

/// Whether a text may be an account's name.
pub(crate) fn is_account(name: &str) -> bool {
    let lawful = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    !name.is_empty() && name.len() <= MAX_ACCOUNT_BYTES && name.bytes().all(lawful)
}

/// Whether a text may be a file's name here: whatever else somebody sends never reaches the disk.
fn is_key(id: &str) -> bool {
    id.len() == KEY_LETTERS && id.bytes().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit())
}

/// For s3s.
pub(super) struct Auth(pub(super) std::sync::Arc<AccessKeys>);

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if let Some(secret) = Presented::secret(access_key) {
            return Ok(secret.into());
        }
        self.0.account(access_key)?;
        Ok(self.0.keys.access_secret(access_key).into())
    }
}
