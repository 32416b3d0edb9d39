//! The records beside the blobs, in one redb file: which blobs are whole, and what is known of each site.
//!
//! Every change is one durable transaction. Records are JSON with a version, so that a later layout can
//! tell an earlier one.

use std::{collections::BTreeMap, path::Path};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};
use shared::{
    base::{BlobRoot, SiteId},
    cdn::{
        blob::BlobShape,
        manifest::{Asset, SitePath},
    },
};

type Name = [u8; 32];

/// Blob → length in bytes.
const BLOBS: TableDefinition<&Name, u64> = TableDefinition::new("blobs/1");
/// Site → the highest sequence that was ever handed out for signing.
const SEQUENCES: TableDefinition<&Name, u64> = TableDefinition::new("sequences/1");
/// Site → the signed manifest in force.
const MANIFESTS: TableDefinition<&Name, &[u8]> = TableDefinition::new("manifests/1");
/// Site → [`SiteRecord`].
const SITES: TableDefinition<&Name, &[u8]> = TableDefinition::new("sites/1");
/// Site and path → [`AssetRecord`].
const ASSETS: TableDefinition<(&Name, &str), &[u8]> = TableDefinition::new("assets/1");

/// Memory redb may use to cache its pages. The index of a hundred thousand assets is some 20 MiB.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// What is known of a path of a site: its bytes, and how to ask the origin whether they still hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetRecord {
    root: String,
    size: u64,
    /// What the origin served it as.
    pub content_type: String,
    /// The origin's ETag, sent back as If-None-Match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The origin's Last-Modified, sent back as If-Modified-Since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

impl AssetRecord {
    /// A record of an asset and of the validators that its origin gave it.
    pub fn new(asset: &Asset, etag: Option<String>, last_modified: Option<String>) -> Self {
        Self {
            root: asset.root.to_string(),
            size: asset.shape.size(),
            content_type: asset.content_type.clone(),
            etag,
            last_modified,
        }
    }

    /// What a manifest says of it; nothing where the record is damaged.
    pub fn asset(&self) -> Option<Asset> {
        let (root, shape) = (self.root.parse().ok()?, BlobShape::new(self.size)?);
        Some(Asset { root, shape, content_type: self.content_type.clone() })
    }
}

/// What is known of a site's origin between two looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// The publisher's list of assets, as it was last read; none where the origin has no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Vec<String>>,
    /// Whether the origin was asked for a list at all.
    #[serde(default)]
    pub list_sought: bool,
    /// The list's ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_etag: Option<String>,
    /// The list's Last-Modified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_last_modified: Option<String>,
}

/// The index failed. Nothing half-written remains: redb rolls back.
#[derive(Debug, thiserror::Error)]
#[error(
    "the index of the data directory failed: {0}; if it is damaged, move index.redb away and publish again"
)]
pub struct IndexError(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// The records of one data directory.
#[derive(Debug)]
pub struct Index {
    database: Database,
}

impl Index {
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let write = database.begin_write()?;
        write.open_table(BLOBS)?;
        write.open_table(SEQUENCES)?;
        write.open_table(MANIFESTS)?;
        write.open_table(SITES)?;
        write.open_table(ASSETS)?;
        write.commit()?;
        Ok(Self { database })
    }

    /// The length of a whole blob.
    ///
    /// # Errors
    /// [`IndexError`], here and below.
    pub fn blob_size(&self, root: BlobRoot) -> Result<Option<u64>, IndexError> {
        let table = self.database.begin_read()?.open_table(BLOBS)?;
        Ok(table.get(&root.0)?.map(|size| size.value()))
    }

    /// All whole blobs with their lengths.
    pub fn blobs(&self) -> Result<Vec<(BlobRoot, u64)>, IndexError> {
        let table = self.database.begin_read()?.open_table(BLOBS)?;
        let entries =
            table.iter()?.map(|entry| entry.map(|(root, size)| (BlobRoot(*root.value()), size.value())));
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// Enters a blob; true where it is new.
    pub(super) fn insert_blob(&self, root: BlobRoot, size: u64) -> Result<bool, IndexError> {
        self.write(|write| Ok(write.open_table(BLOBS)?.insert(&root.0, size)?.is_none()))
    }

    /// Takes a blob out; its length, where it was there.
    pub(super) fn remove_blob(&self, root: BlobRoot) -> Result<Option<u64>, IndexError> {
        self.write(|write| Ok(write.open_table(BLOBS)?.remove(&root.0)?.map(|size| size.value())))
    }

    /// A number that was never handed out for the site and is at least `floor`. It is durable before this
    /// returns, so a crash can lose a number but never repeat one.
    pub fn next_sequence(&self, site: SiteId, floor: u64) -> Result<u64, IndexError> {
        self.write(|write| {
            let mut table = write.open_table(SEQUENCES)?;
            let last = table.get(&site.0)?.map_or(0, |sequence| sequence.value());
            let next = last.saturating_add(1).max(floor);
            table.insert(&site.0, next)?;
            Ok(next)
        })
    }

    /// The signed manifest in force.
    pub fn manifest(&self, site: SiteId) -> Result<Option<Vec<u8>>, IndexError> {
        let table = self.database.begin_read()?.open_table(MANIFESTS)?;
        Ok(table.get(&site.0)?.map(|bytes| bytes.value().to_vec()))
    }

    /// All manifests in force.
    pub fn manifests(&self) -> Result<Vec<(SiteId, Vec<u8>)>, IndexError> {
        let table = self.database.begin_read()?.open_table(MANIFESTS)?;
        let entries = table
            .iter()?
            .map(|entry| entry.map(|(site, bytes)| (SiteId(*site.value()), bytes.value().to_vec())));
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// Puts a manifest in force: from here on the site is what it says.
    pub fn set_manifest(&self, site: SiteId, sequence: u64, signed: &[u8]) -> Result<(), IndexError> {
        self.write(|write| {
            write.open_table(MANIFESTS)?.insert(&site.0, signed)?;
            let mut sequences = write.open_table(SEQUENCES)?;
            let last = sequences.get(&site.0)?.map_or(0, |sequence| sequence.value());
            sequences.insert(&site.0, last.max(sequence))?;
            Ok(())
        })
    }

    /// What is known of the site's origin.
    pub fn site(&self, site: SiteId) -> Result<SiteRecord, IndexError> {
        let table = self.database.begin_read()?.open_table(SITES)?;
        Ok(table
            .get(&site.0)?
            .and_then(|bytes| serde_json::from_slice(bytes.value()).ok())
            .unwrap_or_default())
    }

    /// What is known of each of the site's paths. Damaged records are left out, and so asked anew.
    pub fn assets(&self, site: SiteId) -> Result<BTreeMap<SitePath, AssetRecord>, IndexError> {
        let table = self.database.begin_read()?.open_table(ASSETS)?;
        let mut assets = BTreeMap::new();
        for entry in table.range((&site.0, "")..)? {
            let (key, value) = entry?;
            let (owner, path) = key.value();
            if *owner != site.0 {
                break;
            }
            if let (Ok(path), Ok(record)) = (path.parse(), serde_json::from_slice(value.value())) {
                assets.insert(path, record);
            }
        }
        Ok(assets)
    }

    /// Keeps what one look at the site's origin found; paths that are not in `assets` are forgotten.
    pub fn set_site(
        &self,
        site: SiteId,
        record: &SiteRecord,
        assets: &BTreeMap<SitePath, AssetRecord>,
    ) -> Result<(), IndexError> {
        self.write(|write| {
            write.open_table(SITES)?.insert(&site.0, json(record).as_slice())?;
            let mut table = write.open_table(ASSETS)?;
            table.retain(|(owner, path), _| {
                *owner != site.0 || path.parse().is_ok_and(|path: SitePath| assets.contains_key(&path))
            })?;
            for (path, record) in assets {
                table.insert((&site.0, path.as_str()), json(record).as_slice())?;
            }
            Ok(())
        })
    }

    /// Keeps one path's record.
    pub fn set_asset(&self, site: SiteId, path: &SitePath, record: &AssetRecord) -> Result<(), IndexError> {
        self.write(|write| {
            write.open_table(ASSETS)?.insert((&site.0, path.as_str()), json(record).as_slice())?;
            Ok(())
        })
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let write = self.database.begin_write()?;
        let value = change(&write)?;
        write.commit()?;
        Ok(value)
    }
}

/// Records are plain structures of texts and numbers, which JSON always holds.
fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}
