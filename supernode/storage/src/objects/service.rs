//! What a door asks for.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::StreamExt as _;
use rand::TryRngCore as _;
use shared::{
    base::{SegmentId, UnixSeconds},
    storage::{
        erasure::MAX_SEGMENT_BYTES,
        record::{Body, ObjectDraft, ObjectRecord, ObjectSecret, Part, RecordError},
        seal::{ObjectKey, ObjectPath, RecordKey, Sealing, StreamShape},
    },
};

use super::{
    CustomerKey, Keys, Segments, WriteError, Written,
    reader::{self, Source},
    readers::{Readers, Reading},
    writer::{self, PlainStream},
};
use crate::{
    meta::{
        Condition, Found, Meta, MetaError, NewSegment, NewVersion, ObjectRow, PartRow, Retention, UploadRow,
        VersionId,
    },
    store::{ByteStream, StoreError},
};

/// Objects of one node.
#[derive(Clone)]
pub struct Objects {
    pub(super) meta: Meta,
    pub(super) segments: Arc<dyn Segments>,
    pub(super) keys: Keys,
    pub(super) readers: Readers,
    sealing: Sealing,
    /// The last number of a record that was signed.
    sequence: Arc<AtomicU64>,
}

/// What a door says of an object that it writes.
#[derive(Clone, Debug, Default)]
pub struct NewObject {
    /// Without quotes.
    pub etag: String,
    /// How many parts it was uploaded in.
    pub parts: Option<u16>,
    /// The door's own, sealed with the object: at most 16 KiB.
    pub attributes: Vec<u8>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Until when it is kept.
    pub retention: Option<Retention>,
    /// Whether it is kept until somebody says otherwise.
    pub legal_hold: bool,
    /// The door's own: who else is let in.
    pub acl: Option<String>,
}

/// An object that was found, and stays readable while this is held.
pub struct Opened {
    /// What the metadata says.
    pub found: Found,
    /// The door's own.
    pub attributes: Vec<u8>,
    draft: Arc<ObjectDraft>,
    /// As the record has it.
    key: ObjectKey,
    /// What the bytes are sealed with: the same, unless a client has a key of its own.
    opens: ObjectKey,
    reading: Arc<Reading>,
}

impl Opened {
    /// For an object that was written with a client's own key.
    pub fn unlock(&mut self, customer: &CustomerKey) {
        self.opens = customer.mixed(&self.key);
    }

    /// How its bytes are sealed.
    #[must_use]
    pub fn sealing(&self) -> Sealing {
        self.draft.sealing
    }

    /// The lengths of its parts before sealing; one where it came whole.
    pub fn part_bytes(&self) -> impl Iterator<Item = u64> + '_ {
        self.draft.streams().map(StreamShape::plain_bytes)
    }
}

/// An upload in parts, opened.
pub struct Upload {
    /// What the metadata says.
    pub row: UploadRow,
    /// The door's own, of the object to be.
    pub attributes: Vec<u8>,
    /// As the object's record will have it.
    key: ObjectKey,
    /// What its parts are sealed with.
    seals: ObjectKey,
}

impl Upload {
    /// For an upload that was begun with a client's own key.
    pub fn unlock(&mut self, customer: &CustomerKey) {
        self.seals = customer.mixed(&self.key);
    }
}

impl Objects {
    /// Over metadata and segments. `sealing` is how bytes are sealed that nobody wants sealed otherwise.
    #[must_use]
    pub fn new(meta: Meta, segments: Arc<dyn Segments>, keys: Keys, sealing: Sealing) -> Self {
        Self { meta, segments, keys, readers: Readers::default(), sealing, sequence: Arc::default() }
    }

    /// How the bytes of an object are to be sealed, for whoever insists on it or does not.
    #[must_use]
    pub fn sealing(&self, insists: bool) -> Sealing {
        if insists && self.sealing == Sealing::Plain { usual_sealing() } else { self.sealing }
    }

    /// The metadata.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Seals and stores an object's bytes, to be [put](Objects::put) then. With a client's own key, whoever reads them
    /// needs it too.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is left behind then.
    pub async fn write(
        &self,
        bytes: PlainStream,
        sealing: Sealing,
        customer: Option<&CustomerKey>,
    ) -> Result<(ObjectKey, Written), WriteError> {
        let key = ObjectKey::from_bytes(random()?);
        let seals = customer.map_or_else(|| key.clone(), |customer| customer.mixed(&key));
        let written = writer::write(&self.segments, (sealing, &seals), random()?, true, bytes).await?;
        Ok((key, written))
    }

    /// Makes what was written the newest version of an object.
    ///
    /// # Errors
    /// [`WriteError::Meta`], [`WriteError::Record`]; the object is then what it was.
    pub async fn put(
        &self,
        bucket: &str,
        path: &str,
        (key, written): (ObjectKey, Written),
        new: NewObject,
        condition: Condition,
    ) -> Result<Option<VersionId>, WriteError> {
        let Written { plain_bytes, sealing, body, stored } = written;
        let contents = Contents { key, sealing, body, plain_bytes };
        let mut version = self.version(bucket, path, contents, new).await?;
        version.new_segments = new_segments(&stored.done);
        let (meta, bucket, path) = (self.meta.clone(), bucket.to_owned(), path.to_owned());
        // From here on it goes to its end, whether or not anybody waits: segments that are referred to must not go.
        let task = tokio::spawn(async move {
            let put = meta.put_object(&bucket, &path, condition, version).await;
            settle(stored, put)
        });
        task.await.map_err(|error| WriteError::System(error.to_string()))?
    }

    /// Finds an object.
    ///
    /// # Errors
    /// [`WriteError::Meta`], [`WriteError::Record`].
    pub async fn open(
        &self,
        bucket: &str,
        path: &str,
        version: Option<VersionId>,
    ) -> Result<Opened, WriteError> {
        let reading = Arc::new(self.readers.begin(self.meta.sequence().await?));
        let found = self.meta.object(bucket, path, version).await?;
        if found.row.object.is_none() {
            return Err(MetaError::DeleteMarker { version: found.version.unwrap_or(VersionId::Null) }.into());
        }
        let record = ObjectRecord::read(&found.record)?;
        let secret = record.secret(&self.record_key(&found.bucket.account, bucket, path)?)?;
        let ObjectSecret { key, attributes } = secret;
        Ok(Opened { found, attributes, draft: Arc::new(record.public), opens: key.clone(), key, reading })
    }

    /// The plain bytes `range` of an object.
    #[must_use]
    pub fn read(&self, opened: &Opened, range: Range<u64>) -> ByteStream {
        let source = Source {
            draft: Arc::clone(&opened.draft),
            key: opened.opens.clone(),
            meta: self.meta.clone(),
            segments: Arc::clone(&self.segments),
            reading: Arc::clone(&opened.reading),
        };
        reader::read(source, range)
    }

    /// The same, once its first bytes are there: what cannot be read at all is known before anything is said of it.
    ///
    /// # Errors
    /// [`WriteError::Store`], [`WriteError::System`].
    pub async fn read_begun(&self, opened: &Opened, range: Range<u64>) -> Result<ByteStream, WriteError> {
        let mut bytes = self.read(opened, range);
        match bytes.next().await {
            None => Ok(bytes),
            Some(Ok(first)) => Ok(futures::stream::iter([Ok(first)]).chain(bytes).boxed()),
            Some(Err(error)) => Err(match error.downcast::<StoreError>() {
                Ok(error) => WriteError::Store(error),
                Err(error) => WriteError::System(error.to_string()),
            }),
        }
    }

    /// Makes an object of the same bytes elsewhere; none of them moves.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn copy(
        &self,
        from: &Opened,
        bucket: &str,
        path: &str,
        new: NewObject,
        condition: Condition,
    ) -> Result<Option<VersionId>, WriteError> {
        let (body, plain_bytes) = (from.draft.body.clone(), from.draft.plain_bytes());
        let shared = match &body {
            Body::Inline(_) => Vec::new(),
            Body::Parts(parts) => parts.iter().flat_map(|part| part.segments.iter().copied()).collect(),
        };
        let contents = Contents { key: from.key.clone(), sealing: from.draft.sealing, body, plain_bytes };
        let mut version = self.version(bucket, path, contents, new).await?;
        version.shared_segments = shared;
        Ok(self.meta.put_object(bucket, path, condition, version).await?)
    }

    /// Begins an upload in parts.
    ///
    /// # Errors
    /// [`WriteError::Meta`].
    pub async fn begin_upload(
        &self,
        bucket: &str,
        path: &str,
        sealing: Sealing,
        new: NewObject,
    ) -> Result<String, WriteError> {
        let account = self.meta.bucket(bucket).await?.account;
        let upload = hex::encode(random::<16>()?);
        let key = ObjectKey::from_bytes(random()?);
        let secret = [&key.to_bytes()[..], &new.attributes].concat();
        let sealed = self.record_key(&account, bucket, path)?.seal(&random()?, upload.as_bytes(), &secret);
        let row = UploadRow {
            begun: runtime::unix_now().0,
            sealed: hex::encode(sealed),
            sealing,
            tags: new.tags,
            retention: new.retention,
            legal_hold: new.legal_hold,
            acl: new.acl,
        };
        self.meta.begin_upload(bucket, path, &upload, row).await?;
        Ok(upload)
    }

    /// Finds an upload.
    ///
    /// # Errors
    /// [`MetaError::NoSuchUpload`].
    pub async fn upload(&self, bucket: &str, path: &str, upload: &str) -> Result<Upload, WriteError> {
        let (bucket_row, row) = self.meta.upload(bucket, path, upload).await?;
        let sealed = hex::decode(&row.sealed).map_err(|_| RecordError::Secret)?;
        let key = self.record_key(&bucket_row.account, bucket, path)?;
        let secret = key.open(upload.as_bytes(), &sealed).map_err(|_| RecordError::Secret)?;
        let (key, attributes) = secret.split_first_chunk().ok_or(RecordError::Secret)?;
        let key = ObjectKey::from_bytes(*key);
        Ok(Upload { seals: key.clone(), key, attributes: attributes.to_vec(), row })
    }

    /// Seals and stores a part's bytes, to be [put](Objects::put_part) then.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is left behind then.
    pub async fn write_part(&self, upload: &Upload, bytes: PlainStream) -> Result<Written, WriteError> {
        writer::write(&self.segments, (upload.row.sealing, &upload.seals), random()?, false, bytes).await
    }

    /// Enters a part that was written. `row`'s place is filled in here.
    ///
    /// # Errors
    /// [`WriteError::Meta`].
    pub async fn put_part(
        &self,
        (bucket, path, upload): (&str, &str, &str),
        number: u16,
        written: Written,
        mut row: PartRow,
    ) -> Result<(), WriteError> {
        let Written { plain_bytes, sealing: _, body, stored } = written;
        let Body::Parts(parts) = body else {
            return Err(WriteError::System("a part is never kept in a record".into()));
        };
        let part = parts.into_iter().next().ok_or_else(|| WriteError::System("no part".into()))?;
        row.bytes = plain_bytes;
        row.salt = part.salt;
        row.segments = part.segments.iter().map(|id| id.0).collect();
        let new = new_segments(&stored.done);
        let (meta, bucket, path, upload) =
            (self.meta.clone(), bucket.to_owned(), path.to_owned(), upload.to_owned());
        let task = tokio::spawn(async move {
            settle(stored, meta.put_part(&bucket, &path, &upload, number, row, new).await)
        });
        task.await.map_err(|error| WriteError::System(error.to_string()))?
    }

    /// Makes an object of parts that were uploaded.
    ///
    /// # Errors
    /// [`WriteError::Meta`]; the upload goes on then.
    pub async fn complete_upload(
        &self,
        (bucket, path, id): (&str, &str, &str),
        upload: &Upload,
        parts: &[(u16, PartRow)],
        new: NewObject,
        condition: Condition,
    ) -> Result<Option<VersionId>, WriteError> {
        let sealing = upload.row.sealing;
        let mut plain_bytes = 0;
        let mut body = Vec::with_capacity(parts.len());
        for (number, part) in parts {
            let shape = StreamShape::new(sealing, part.bytes);
            let shape = shape.ok_or(MetaError::InvalidPart(*number))?;
            debug_assert_eq!(shape.sealed_bytes().div_ceil(MAX_SEGMENT_BYTES), part.segments.len() as u64);
            plain_bytes += part.bytes;
            let segments = part.segments.iter().map(|id| SegmentId(*id)).collect();
            body.push(Part { shape, salt: part.salt, segments });
        }
        let shared = body.iter().flat_map(|part| part.segments.iter().copied()).collect();
        let kept = parts.iter().map(|(number, part)| (*number, part.salt)).collect();
        let body = Body::Parts(body);
        let contents = Contents { key: upload.key.clone(), sealing, body, plain_bytes };
        let mut version = self.version(bucket, path, contents, new).await?;
        version.shared_segments = shared;
        Ok(self.meta.complete_upload(bucket, path, id, kept, condition, version).await?)
    }

    async fn version(
        &self,
        bucket: &str,
        path: &str,
        contents: Contents,
        new: NewObject,
    ) -> Result<NewVersion, WriteError> {
        let account = self.meta.bucket(bucket).await?.account;
        let now = runtime::unix_now();
        let Contents { key, sealing, body, plain_bytes: bytes } = contents;
        let draft = ObjectDraft { sequence: self.next_sequence(now), modified: now, sealing, body };
        let NewObject { etag, parts, attributes, tags, retention, legal_hold, acl } = new;
        let secret = ObjectSecret { key, attributes };
        let record_key = self.record_key(&account, bucket, path)?;
        let record = draft.sign(&secret, &record_key, &random()?, self.keys.node())?;
        Ok(NewVersion {
            modified: now.0,
            object: ObjectRow { bytes, etag, parts },
            record,
            new_segments: Vec::new(),
            shared_segments: Vec::new(),
            tags,
            retention,
            legal_hold,
            acl,
        })
    }

    fn record_key(&self, account: &str, bucket: &str, path: &str) -> Result<RecordKey, WriteError> {
        let path: ObjectPath = path.parse()?;
        Ok(self.keys.bucket(account, bucket).object(&path).1)
    }

    /// Above all that this process signed, and above those of earlier ones as long as the clock goes on.
    fn next_sequence(&self, now: UnixSeconds) -> u64 {
        let least = now.0 << 20;
        let last = self.sequence.fetch_max(least, Ordering::Relaxed).max(least);
        self.sequence.fetch_add(1, Ordering::Relaxed).max(last) + 1
    }
}

/// An object's bytes, and what opens them.
struct Contents {
    key: ObjectKey,
    sealing: Sealing,
    body: Body,
    plain_bytes: u64,
}

/// What this processor seals by fastest.
#[must_use]
pub fn usual_sealing() -> Sealing {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq") {
        return Sealing::Aes256Gcm;
    }
    Sealing::XChaCha20Poly1305
}

fn new_segments(stored: &[super::StoredSegment]) -> Vec<NewSegment> {
    stored.iter().map(|stored| NewSegment { id: stored.id, record: stored.record.encode().1 }).collect()
}

/// What becomes of segments once it is known whether something refers to them.
fn settle<T>(stored: writer::Stored, done: Result<T, MetaError>) -> Result<T, WriteError> {
    match &done {
        Ok(_) => stored.keep(),
        Err(MetaError::Commit(_) | MetaError::Closed | MetaError::Storage(_)) => stored.leave(),
        Err(_) => drop(stored),
    }
    Ok(done?)
}

fn random<const N: usize>() -> Result<[u8; N], WriteError> {
    let mut bytes = [0; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| WriteError::System(error.to_string()))?;
    Ok(bytes)
}
