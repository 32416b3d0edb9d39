//! Where the files of the store lie.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use shared::base::BlobRoot;

/// The store's directories.
#[derive(Debug)]
pub(super) struct Layout {
    blobs: PathBuf,
    incoming: PathBuf,
    quarantine: PathBuf,
    /// Numbers the files in `incoming`.
    next: AtomicU64,
}

impl Layout {
    /// Makes the directories, and empties `incoming`: what is in there was never finished.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let [blobs, incoming, quarantine] =
            ["blobs", "incoming", "quarantine"].map(|name| data_dir.join(name));
        fs::create_dir_all(&blobs)?;
        fs::create_dir_all(&quarantine)?;
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&incoming)?,
        }
        Ok(Self { blobs, incoming, quarantine, next: AtomicU64::new(0) })
    }

    /// A path in `incoming` that nobody else has.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.incoming.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Where the blob's bytes lie, and where its hashes.
    pub(super) fn paths(&self, root: BlobRoot) -> (PathBuf, PathBuf) {
        let name = root.to_string();
        let directory = self.blobs.join(&name[..2]);
        (directory.join(&name), directory.join(name + ".hashes"))
    }

    /// Deletes both files; those that are missing already are fine.
    pub(super) fn remove(&self, root: BlobRoot) -> io::Result<()> {
        let (bytes, hashes) = self.paths(root);
        for path in [bytes, hashes] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves the bytes where an operator can look at them, and deletes the hashes. An earlier corrupt copy
    /// of the same blob is replaced, so that a failing disk cannot fill itself.
    pub(super) fn quarantine(&self, root: BlobRoot) -> io::Result<()> {
        let (bytes, _) = self.paths(root);
        match fs::rename(bytes, self.quarantine.join(root.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.remove(root)
    }
}
