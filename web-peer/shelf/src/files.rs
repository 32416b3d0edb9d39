//! Where shards lie: a file each, so that what goes gives its room back.

/// The browser did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// It allows no more.
    Quota,
    /// Anything else it said; a read beyond the end, too.
    Failed,
}

/// An open file. Calls are synchronous, as OPFS access handles are in a worker.
pub trait File {
    /// Its length.
    fn size(&self) -> u64;
    /// Fills `into` with what is at `at`.
    ///
    /// # Errors
    /// [`FileError`].
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), FileError>;
    /// Puts `bytes` there.
    ///
    /// # Errors
    /// [`FileError`]; some may have been written.
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), FileError>;
    /// What was written is on the disk, as far as a browser says.
    ///
    /// # Errors
    /// [`FileError`].
    fn flush(&self) -> Result<(), FileError>;
}

/// The files of this origin's shelf.
pub trait Files {
    /// One of them.
    type File: File;
    /// Makes a file, empty whatever was there.
    fn create(&self, name: &str) -> impl Future<Output = Result<Self::File, FileError>>;
    /// Closes it and takes it away.
    fn remove(&self, name: &str, file: Self::File) -> impl Future<Output = ()>;
}
