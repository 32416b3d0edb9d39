//! An object store in memory whose requests fail as they are told to, before they are carried out or after.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    memory::InMemory,
    multipart::{MultipartStore, PartId},
    path::Path,
};

/// Which requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// They never reach the server.
    Refused,
    /// They are carried out, and their answer is lost.
    Unanswered,
    /// Deletions are not carried out.
    Undeleted,
    /// No answer comes to a part.
    Parts,
}

#[derive(Clone, Debug)]
pub(super) struct Faulty {
    pub(super) memory: Arc<InMemory>,
    pub(super) fault: Arc<Mutex<Fault>>,
}

impl Faulty {
    pub(super) fn new() -> Self {
        Self { memory: Arc::default(), fault: Arc::new(Mutex::new(Fault::None)) }
    }

    pub(super) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn before(&self) -> Result<()> {
        if self.fault() == Fault::Refused { Err(unavailable()) } else { Ok(()) }
    }

    fn after<T>(&self, done: T) -> Result<T> {
        if self.fault() == Fault::Unanswered { Err(unavailable()) } else { Ok(done) }
    }
}

fn unavailable() -> object_store::Error {
    let source = "Server returned non-2xx status code: 503 Service Unavailable: ";
    object_store::Error::Generic { store: "faulty", source: source.into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.before()?;
        self.after(self.memory.put_opts(path, bytes, options).await?)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.before()?;
        self.memory.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.fault() {
            Fault::Refused | Fault::Undeleted => futures::stream::iter([Err(unavailable())]).boxed(),
            _ => self.memory.delete_stream(paths),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.before()?;
        self.memory.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Faulty {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.before()?;
        self.memory.create_multipart(path).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, part: usize, data: PutPayload) -> Result<PartId> {
        if self.fault() == Fault::Parts {
            return Err(unavailable());
        }
        self.memory.put_part(path, id, part, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.before()?;
        self.after(self.memory.complete_multipart(path, id, parts).await?)
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.before()?;
        // As S3 answers of an upload that is over.
        self.memory
            .abort_multipart(path, id)
            .await
            .map_err(|error| object_store::Error::NotFound { path: path.to_string(), source: error.into() })
    }
}
