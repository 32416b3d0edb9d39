//! Handing a site to running nodes, over their edges.
//!
//! The manifest goes first; the node refuses it, or answers with the blobs that it lacks, takes those and no others, and
//! puts the manifest in force once all are there. Interrupted at any point, the site is what it was before,
//! and the next attempt sends only what is still missing.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector},
    rt::TokioExecutor,
};
use runtime::unix_now;
use serde::Deserialize;
use shared::{
    base::{BlobRoot, SiteId},
    cdn::{
        blob::{BlobHasher, TooLong},
        manifest::{Asset, MAX_MANIFEST_BYTES, Manifest, ManifestError, Pin, SitePath},
    },
};
use tokio::io::AsyncReadExt as _;
use url::Url;

use super::{Found, ScanError, Statement, scan};

/// Read at once from a file.
const READ_BYTES: usize = 256 * 1024;
/// A blob of 4 GiB at 10 Mbit/s takes an hour; what takes longer is stuck.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3600);
/// Many times what the loader should ever be.
const LOADER_BYTES: usize = 1024 * 1024;
/// A node's answer: at 70 bytes a blob, those of the largest manifest.
const ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// Why a site was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The directory.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file in it.
    #[error("cannot read {}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file longer than a blob.
    #[error("{}: {source}", .path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// How long it may be.
        source: TooLong,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The node cannot be reached.
    #[error("{edge} cannot be reached: {reason}")]
    Unreachable {
        /// Which node.
        edge: String,
        /// Why.
        reason: String,
    },
    /// The node refused.
    #[error("{edge} refused with {status}: {reason}")]
    Refused {
        /// Which node.
        edge: String,
        /// With what status.
        status: u16,
        /// In its own words.
        reason: String,
    },
    /// A file changed while it was published.
    #[error("{} changed while it was published; publish again", .0.display())]
    Changed(PathBuf),
}

/// What a node answers. Of a refusal, its words.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    missing: Vec<String>,
    #[serde(default)]
    detail: String,
}

/// Where each blob's bytes are.
type Files = BTreeMap<BlobRoot, (PathBuf, u64)>;

/// Hashes `directory`, and hands it to each of `edges` in turn. `progress` hears the bytes hashed and sent.
///
/// # Errors
/// [`UploadError`], with the node concerned.
pub async fn upload(
    edges: &[Url],
    directory: &Path,
    statement: &Statement,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), UploadError> {
    let (assets, files) = hash(directory, progress)?;
    let uploader = Uploader::new(statement);
    let mut last = 0;
    for edge in edges {
        last = last.max(uploader.sequence_at(edge).await?);
    }
    let now = unix_now();
    let signed = Bytes::from(statement.sign(assets, now.0.max(last.saturating_add(1)), now)?);
    for edge in edges {
        uploader.hand_over(edge, &signed, &files, progress).await?;
    }
    Ok(())
}

/// The loader that the node at `edge` hands out; nothing where it has none.
///
/// # Errors
/// [`UploadError::Unreachable`].
pub async fn loader(edge: &Url) -> Result<Option<Bytes>, UploadError> {
    let path = "/blackhole/tab/loader.js";
    let (status, body) = ask(&hyper(), edge, Method::GET, path, empty(), 0, LOADER_BYTES).await?;
    Ok((status == StatusCode::OK).then_some(body))
}

fn hash(
    directory: &Path,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(BTreeMap<SitePath, Asset>, Files), UploadError> {
    let (mut assets, mut files) = (BTreeMap::new(), BTreeMap::new());
    for Found { file: path, paths, content_type, .. } in scan(directory)? {
        let unreadable = |source| UploadError::File { path: path.clone(), source };
        let mut file = File::open(&path).map_err(unreadable)?;
        let mut hasher = BlobHasher::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = file.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            let hashed = hasher.update(&buffer[..read]);
            hashed.map_err(|source| UploadError::TooLong { path: path.clone(), source })?;
            progress(read as u64);
        }
        let tree = hasher.finish();
        let (root, shape) = (tree.root(), tree.shape());
        for site_path in paths {
            assets.insert(site_path, Asset { root, shape, content_type: content_type.clone() });
        }
        files.insert(root, (path, shape.size()));
    }
    Ok((assets, files))
}

type HttpClient = Hyper<HttpsConnector<HttpConnector>, BoxBody<Bytes, io::Error>>;

fn hyper() -> HttpClient {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    Hyper::builder(TokioExecutor::new()).build(connector)
}

struct Uploader {
    hyper: HttpClient,
    pin: Pin,
    site: SiteId,
}

impl Uploader {
    fn new(statement: &Statement) -> Self {
        let pin = Pin { publisher: statement.key.public(), site: statement.site.clone(), min_delegation: 0 };
        Self { hyper: hyper(), site: pin.site_id(), pin }
    }

    /// The sequence that the node has; 0 for none.
    async fn sequence_at(&self, edge: &Url) -> Result<u64, UploadError> {
        let path = format!("/blackhole/v1/sites/{}/manifest", self.site);
        let (status, body) =
            ask(&self.hyper, edge, Method::GET, &path, empty(), 0, MAX_MANIFEST_BYTES).await?;
        let manifest = (status == StatusCode::OK).then(|| Manifest::open(&body, &self.pin, 0, unix_now()));
        Ok(manifest.and_then(Result::ok).map_or(0, |manifest| manifest.sequence))
    }

    async fn hand_over(
        &self,
        edge: &Url,
        signed: &Bytes,
        files: &Files,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), UploadError> {
        let path = format!("/blackhole/v1/sites/{}/manifest", self.site);
        let manifest = || Full::new(signed.clone()).map_err(|never| match never {}).boxed();
        let length = signed.len() as u64;
        let missing = self.put(edge, &path, manifest(), length).await?.missing;
        if missing.is_empty() {
            return Ok(());
        }
        for root in missing {
            let found = root.parse().ok().and_then(|root: BlobRoot| files.get(&root));
            let Some((file, size)) = found else { continue };
            let body = read_file(file.clone()).await?;
            let sent = self.put(edge, &format!("/blackhole/v1/blobs/{root}"), body, *size).await;
            if let Err(UploadError::Unreachable { .. }) = &sent {
                // Hung up on in the middle of a body: the manifest is short enough to be told why.
                self.put(edge, &path, manifest(), length).await?;
            }
            sent?;
            progress(*size);
        }
        let left = self.put(edge, &path, manifest(), length).await?.missing;
        let left =
            left.first().and_then(|root| root.parse().ok()).and_then(|root: BlobRoot| files.get(&root));
        left.map_or(Ok(()), |(file, _)| Err(UploadError::Changed(file.clone())))
    }

    async fn put(
        &self,
        edge: &Url,
        path: &str,
        body: BoxBody<Bytes, io::Error>,
        length: u64,
    ) -> Result<Answer, UploadError> {
        let (status, body) = ask(&self.hyper, edge, Method::PUT, path, body, length, ANSWER_BYTES).await?;
        let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        Err(UploadError::Refused { edge: edge.to_string(), status: status.as_u16(), reason: answer.detail })
    }
}

async fn ask(
    hyper: &HttpClient,
    edge: &Url,
    method: Method,
    path: &str,
    body: BoxBody<Bytes, io::Error>,
    length: u64,
    answer_max: usize,
) -> Result<(StatusCode, Bytes), UploadError> {
    let unreachable = |reason: &dyn ToString| UploadError::Unreachable {
        edge: edge.to_string(),
        reason: reason.to_string(),
    };
    let url = edge.join(path).map_err(|error| unreachable(&error))?;
    let request = Request::builder().method(method).uri(url.as_str());
    let request =
        request.header(header::CONTENT_LENGTH, length).body(body).map_err(|error| unreachable(&error))?;
    let asked = async {
        let response = hyper.request(request).await;
        let response = response.map_err(|error| unreachable(&crate::origin::chain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), answer_max).collect().await;
        Ok((status, body.map_err(|error| unreachable(&error))?.to_bytes()))
    };
    tokio::time::timeout(REQUEST_TIMEOUT, asked).await.map_err(|_| unreachable(&"it took over an hour"))?
}

fn empty() -> BoxBody<Bytes, io::Error> {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

async fn read_file(path: PathBuf) -> Result<BoxBody<Bytes, io::Error>, UploadError> {
    let file = tokio::fs::File::open(&path).await.map_err(|source| UploadError::File { path, source })?;
    let chunks = stream::try_unfold(file, |mut file| async move {
        let mut buffer = vec![0; READ_BYTES];
        let read = file.read(&mut buffer).await?;
        buffer.truncate(read);
        Ok((read > 0).then(|| (Frame::data(Bytes::from(buffer)), file)))
    });
    Ok(StreamBody::new(chunks).boxed())
}
