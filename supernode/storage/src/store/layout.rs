//! Where the files of the store lie.
//!
//! ```text
//! blobs/a5/a5…      payload ‖ hash of each group     one file, so that one sync makes both durable
//! incoming/7        what is being written; emptied at each start
//! rotten/a5…        what a scrub found damaged, for an operator to look at
//! ```

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
    rotten: PathBuf,
    /// Numbers the files in `incoming`.
    next: AtomicU64,
}

impl Layout {
    /// Makes the directories, and empties `incoming`.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let [blobs, incoming, rotten] = ["blobs", "incoming", "rotten"].map(|name| directory.join(name));
        fs::create_dir_all(&rotten)?;
        for first in 0..=u8::MAX {
            fs::create_dir_all(blobs.join(hex::encode([first])))?;
        }
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&incoming)?,
        }
        runtime::sync_directory(&blobs)?;
        runtime::sync_directory(directory)?;
        Ok(Self { blobs, incoming, rotten, next: AtomicU64::new(0) })
    }

    /// A path in `incoming` that nobody else has.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.incoming.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Where the blob lies.
    pub(super) fn path(&self, root: BlobRoot) -> PathBuf {
        let name = root.to_string();
        self.blobs.join(&name[..2]).join(name)
    }

    /// Moves a finished file to its place, where it survives a power cut.
    pub(super) fn settle(&self, unfinished: &Path, root: BlobRoot) -> io::Result<()> {
        let path = self.path(root);
        fs::rename(unfinished, &path)?;
        path.parent().map_or(Ok(()), runtime::sync_directory)
    }

    /// Deletes the file; one that is missing already is fine.
    pub(super) fn remove(&self, root: BlobRoot) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.path(root)))
    }

    /// Moves the file aside. An earlier copy of the same blob is replaced, so that a failing disk cannot fill
    /// itself.
    pub(super) fn set_aside(&self, root: BlobRoot) -> io::Result<()> {
        absent_is_fine(fs::rename(self.path(root), self.rotten.join(root.to_string())))
    }

    /// The blobs that there are files of under the first byte `first`.
    pub(super) fn files(&self, first: u8) -> io::Result<Vec<BlobRoot>> {
        let mut roots = Vec::new();
        for entry in fs::read_dir(self.blobs.join(hex::encode([first])))? {
            roots.extend(entry?.file_name().to_str().and_then(|name| name.parse::<BlobRoot>().ok()));
        }
        Ok(roots)
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
