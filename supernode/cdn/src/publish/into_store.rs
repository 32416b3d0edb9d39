//! Importing a site into the data directory of a node that is not running.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use runtime::unix_now;
use shared::{
    base::BlobRoot,
    cdn::{
        blob::BlobShape,
        manifest::{Asset, ManifestError, Pin, SitePath},
    },
};

use super::{Found, ScanError, Statement, scan};
use crate::store::{ImportError, IndexError, Store};

/// Read at once from a file.
const READ_BYTES: usize = 256 * 1024;

/// Why a directory was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The directory.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file in it.
    #[error("cannot publish {}: {source}", .path.display())]
    Import {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ImportError,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Imports `directory` and puts its manifest in force; returns that. Interrupted at any point, the site is
/// what it was before. `progress` hears the bytes taken in.
///
/// # Errors
/// [`PublishError`].
pub fn into_store(
    store: &Arc<Store>,
    directory: &Path,
    statement: &Statement,
    progress: &dyn Fn(u64),
) -> Result<Vec<u8>, PublishError> {
    let mut assets: BTreeMap<SitePath, Asset> = BTreeMap::new();
    for Found { file, paths, size, content_type } in scan(directory)? {
        let import = import(store, &file, size, progress);
        let (root, shape) = import.map_err(|source| PublishError::Import { path: file, source })?;
        for path in paths {
            assets.insert(path, Asset { root, shape, content_type: content_type.clone() });
        }
    }
    let publisher = statement.key.public();
    let site = Pin { publisher, site: statement.site.clone(), min_delegation: 0 }.site_id();
    let now = unix_now();
    let sequence = store.index().next_sequence(site, now.0)?;
    let signed = statement.sign(assets, sequence, now)?;
    store.index().set_manifest(site, sequence, &signed)?;
    Ok(signed)
}

fn import(
    store: &Arc<Store>,
    file: &Path,
    size: u64,
    progress: &dyn Fn(u64),
) -> Result<(BlobRoot, BlobShape), ImportError> {
    let mut incoming = store.begin(Some(size))?;
    let mut file = File::open(file)?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return incoming.finish(None);
        }
        incoming.write(&buffer[..read])?;
        progress(read as u64);
    }
}
