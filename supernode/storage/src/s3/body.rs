//! A request's body as it goes by: counted, hashed, and held against what the client says of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use s3s::{
    S3Error, S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Md5},
    dto::{Checksum, ChecksumAlgorithm, StreamingBlob},
    s3_error,
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use crate::objects::PlainStream;

/// A client that sends nothing for so long does not keep its place.
const PATIENCE: Duration = Duration::from_secs(60);
/// A shorter body is hashed sooner than a thread begins.
const ASIDE_FROM_BYTES: u64 = 1 << 20;
/// Pieces of a body that wait for being hashed, each what one read from its connection brought.
const PIECES_ASIDE: usize = 8;
/// Bodies hashed aside; clients that take their time keep these places, and other bodies are hashed on their way.
static ASIDE: Semaphore = Semaphore::const_new(8);

/// What a client says of a body.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) content_length: Option<i64>,
    pub(super) content_md5: Option<String>,
    /// Checksums in headers.
    pub(super) checksum: Checksum,
    /// The one that is to be computed, or comes behind the body.
    pub(super) algorithm: Option<String>,
    pub(super) trailers: Option<TrailingHeaders>,
}

/// What a body turned out to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests {
    pub(super) md5: [u8; 16],
    pub(super) checksum: Checksum,
}

/// Filled once the body has ended well.
#[derive(Clone, Default)]
pub(super) struct Outcome(Arc<Mutex<Option<Digests>>>);

impl Outcome {
    pub(super) fn take(&self) -> S3Result<Digests> {
        let digests = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        digests.ok_or_else(|| s3_error!(IncompleteBody))
    }
}

struct Inspection {
    body: PlainStream,
    claims: Claims,
    hashing: Hashing,
    bytes: u64,
    outcome: Outcome,
}

/// MD5, which every ETag is made of, and what else the client wants.
struct Hashers {
    md5: Md5,
    checksums: ChecksumHasher,
}

impl Hashers {
    fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.checksums.update(bytes);
    }
}

/// A long body is hashed on a thread of its own while it is sealed and coded: MD5 takes as long as all else together, and
/// no two processors can share it.
enum Hashing {
    Here(Box<Hashers>),
    Aside { pieces: mpsc::Sender<Bytes>, hashed: JoinHandle<Box<Hashers>> },
}

impl Hashing {
    /// The same from here on, on a thread of its own where there is one.
    fn aside(self) -> Self {
        match (self, ASIDE.try_acquire()) {
            (Self::Here(mut hashers), Ok(permit)) => {
                let (pieces, mut queue) = mpsc::channel::<Bytes>(PIECES_ASIDE);
                let hashed = tokio::task::spawn_blocking(move || {
                    let _permit = permit;
                    while let Some(piece) = queue.blocking_recv() {
                        hashers.update(&piece);
                    }
                    hashers
                });
                Self::Aside { pieces, hashed }
            }
            (hashing, _) => hashing,
        }
    }

    async fn update(&mut self, bytes: &Bytes) {
        match self {
            Self::Here(hashers) => hashers.update(bytes),
            // Where the thread is gone, the end says so.
            Self::Aside { pieces, .. } => drop(pieces.send(bytes.clone()).await),
        }
    }

    async fn end(self) -> S3Result<Box<Hashers>> {
        match self {
            Self::Here(hashers) => Ok(hashers),
            Self::Aside { pieces, hashed } => {
                drop(pieces);
                hashed.await.map_err(|_| s3_error!(InternalError, "The body could not be hashed"))
            }
        }
    }
}

/// The body, which ends with an error where a claim does not hold.
pub(super) fn inspect(body: Option<StreamingBlob>, claims: Claims) -> S3Result<(PlainStream, Outcome)> {
    let body = body.map_or_else(|| futures::stream::empty().boxed(), |body| body.boxed());
    inspect_plain(body, claims)
}

/// The same for bytes that come from within.
pub(super) fn inspect_plain(body: PlainStream, claims: Claims) -> S3Result<(PlainStream, Outcome)> {
    let outcome = Outcome::default();
    let hashing = Hashing::Here(Box::new(Hashers { md5: Md5::new(), checksums: hasher(&claims)? }));
    let inspection = Inspection { body, claims, hashing, bytes: 0, outcome: outcome.clone() };
    let stream = futures::stream::unfold(Some(inspection), |inspection| async move {
        let mut inspection = inspection?;
        let Ok(next) = tokio::time::timeout(PATIENCE, inspection.body.next()).await else {
            let error = s3_error!(
                RequestTimeout,
                "Your socket connection to the server was not read from or written to within the timeout period."
            );
            return Some((Err::<Bytes, _>(error.into()), None));
        };
        match next {
            Some(Ok(bytes)) => {
                let before = inspection.bytes;
                inspection.bytes += bytes.len() as u64;
                inspection.hashing.update(&bytes).await;
                if before < ASIDE_FROM_BYTES && inspection.bytes >= ASIDE_FROM_BYTES {
                    inspection.hashing = inspection.hashing.aside();
                }
                Some((Ok(bytes), Some(inspection)))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => match inspection.end().await {
                Ok(()) => None,
                Err(error) => Some((Err::<Bytes, _>(error.into()), None)),
            },
        }
    });
    Ok((stream.boxed(), outcome))
}

fn hasher(claims: &Claims) -> S3Result<ChecksumHasher> {
    let mut hasher = ChecksumHasher::default();
    let given = &claims.checksum;
    let wanted = claims.algorithm.as_deref().map(str::to_ascii_uppercase);
    let wants = |name: &str, given: &Option<String>| given.is_some() || wanted.as_deref() == Some(name);
    if wants("CRC32", &given.checksum_crc32) {
        hasher.crc32 = Some(s3s::crypto::Crc32::new());
    }
    if wants("CRC32C", &given.checksum_crc32c) {
        hasher.crc32c = Some(s3s::crypto::Crc32c::new());
    }
    if wants("CRC64NVME", &given.checksum_crc64nvme) {
        hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new());
    }
    if wants("SHA1", &given.checksum_sha1) {
        hasher.sha1 = Some(s3s::crypto::Sha1::new());
    }
    if wants("SHA256", &given.checksum_sha256) {
        hasher.sha256 = Some(s3s::crypto::Sha256::new());
    }
    let known = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];
    if wanted.as_deref().is_some_and(|wanted| !known.contains(&wanted)) {
        return Err(s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."));
    }
    Ok(hasher)
}

impl Inspection {
    async fn end(self) -> Result<(), S3Error> {
        let Self { claims, hashing, bytes, outcome, .. } = self;
        let Hashers { md5, checksums } = *hashing.end().await?;
        if claims.content_length.is_some_and(|length| u64::try_from(length) != Ok(bytes)) {
            return Err(s3_error!(
                IncompleteBody,
                "You did not provide the number of bytes specified by the Content-Length HTTP header"
            ));
        }
        let md5: [u8; 16] = md5.finalize();
        if let Some(said) = &claims.content_md5 {
            let said = base64(said).filter(|said| said.len() == md5.len());
            let said =
                said.ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid."))?;
            if said != md5 {
                return Err(s3_error!(
                    BadDigest,
                    "The Content-MD5 you specified did not match what we received."
                ));
            }
        }
        let checksum = checksums.finalize();
        let mut said = claims.checksum;
        if let Some(trailers) = claims.trailers.and_then(|trailers| trailers.take()) {
            let trailer = |name: &str| trailers.get(name)?.to_str().ok().map(str::to_owned);
            for (name, slot) in fields(&mut said) {
                *slot = slot.take().or_else(|| trailer(&format!("x-amz-checksum-{name}")));
            }
        }
        let mut computed = checksum.clone();
        for ((name, said), (_, computed)) in fields(&mut said).into_iter().zip(fields(&mut computed)) {
            if said.is_some() && said != computed {
                return Err(s3_error!(
                    BadDigest,
                    "The {} you specified did not match what we received.",
                    name.to_uppercase()
                ));
            }
        }
        *outcome.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Digests { md5, checksum });
        Ok(())
    }
}

/// The checksums by the names that headers have for them.
pub(super) fn fields(checksum: &mut Checksum) -> [(&'static str, &mut Option<String>); 5] {
    [
        ("crc32", &mut checksum.checksum_crc32),
        ("crc32c", &mut checksum.checksum_crc32c),
        ("crc64nvme", &mut checksum.checksum_crc64nvme),
        ("sha1", &mut checksum.checksum_sha1),
        ("sha256", &mut checksum.checksum_sha256),
    ]
}

/// Which algorithm a client names, in a header of its own or as the trailer to come.
pub(super) fn algorithm(named: Option<&ChecksumAlgorithm>, headers: &http::HeaderMap) -> Option<String> {
    let trailer = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok());
    let trailer = trailer.and_then(|name| {
        name.trim().to_ascii_lowercase().strip_prefix("x-amz-checksum-").map(str::to_uppercase)
    });
    // s3s reads the older one of the two names that this header has.
    let said = headers.get("x-amz-sdk-checksum-algorithm").and_then(|value| value.to_str().ok());
    trailer
        .or_else(|| named.map(|named| named.as_str().to_owned()))
        .or_else(|| said.map(|said| said.trim().to_uppercase()))
}

/// The bytes of the standard base 64, with its padding.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    multibase::Base::Base64Pad.decode(text.trim()).ok()
}
