//! The tab's code, from a directory or from this program itself. Its integrity is the publisher's business:
//! the script tag pins the loader, the loader pins the rest.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use axum::{
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shared::cdn::blob::HashTree;

use crate::{
    app::Edge,
    blobs::{IMMUTABLE, none_match},
    problem::Problem,
};

/// What to do where there is no tab.
pub(crate) const REMEDY: &str = "This program carries no tab: set edge.tab_dir to a directory with one, or run the program that `cargo \
     xtask dist` builds";
/// Ten times what the tab's largest file should ever be.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Files kept compressed; a tab has a dozen.
const KEPT_MAX: usize = 64;

/// The files that were there when this program was built.
#[cfg(feature = "embedded-tab")]
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/tab_files"));
#[cfg(not(feature = "embedded-tab"))]
const EMBEDDED: &[(&str, &[u8])] = &[];

/// Where the tab's files are, and what was made of those that were asked for.
#[derive(Debug, Default)]
pub(crate) struct TabFiles {
    directory: Option<PathBuf>,
    kept: Mutex<BTreeMap<String, Arc<File>>>,
}

/// A file, ready to be sent.
#[derive(Debug)]
struct File {
    /// When it was last written; none where it is a part of this program.
    written: Option<SystemTime>,
    root: String,
    /// SHA-256 in Base64, as the loader names it.
    version: String,
    plain: Bytes,
    /// None where it would not be shorter.
    gzip: Option<Bytes>,
    /// Made where the tab was built.
    brotli: Option<Bytes>,
}

impl TabFiles {
    /// From `directory`, or else from this program.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, kept: Mutex::default() }
    }

    /// Whether there is a tab to hand out.
    pub(crate) fn is_there(&self) -> bool {
        self.directory.is_some() || !EMBEDDED.is_empty()
    }

    /// What was compressed when the tab was built; not what is older than the file.
    fn brotli(&self, name: &str, written: Option<SystemTime>) -> Option<Bytes> {
        let name = format!("{name}.br");
        let Some(directory) = &self.directory else {
            let embedded = EMBEDDED.iter().find(|(embedded, _)| *embedded == name);
            return embedded.map(|(_, bytes)| Bytes::from_static(bytes));
        };
        let found = std::fs::metadata(directory.join(&name)).ok()?;
        let fresh = found.len() <= FILE_BYTES_MAX && found.modified().ok() >= written;
        if fresh { std::fs::read(directory.join(name)).ok().map(Bytes::from) } else { None }
    }

    /// The file, read and compressed where that was not done before or it has changed. Blocks on the disk.
    fn get(&self, name: &str) -> io::Result<Arc<File>> {
        let written = match &self.directory {
            Some(directory) => {
                let found = std::fs::metadata(directory.join(name))?;
                if !found.is_file() || found.len() > FILE_BYTES_MAX {
                    return Err(io::ErrorKind::NotFound.into());
                }
                Some(found.modified()?)
            }
            None => None,
        };
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(kept) = kept.filter(|kept| kept.written == written) {
            return Ok(kept);
        }
        let plain = match &self.directory {
            Some(directory) => Bytes::from(std::fs::read(directory.join(name))?),
            None => {
                let embedded = EMBEDDED.iter().find(|(embedded, _)| *embedded == name);
                Bytes::from_static(embedded.ok_or(io::ErrorKind::NotFound)?.1)
            }
        };
        let root = HashTree::of(&plain).map_err(io::Error::other)?.root().to_string();
        // The first character names the base.
        let version = multibase::encode(multibase::Base::Base64Pad, Sha256::digest(&plain)).split_off(1);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain)?;
        let gzip = Some(Bytes::from(encoder.finish()?)).filter(|gzip| gzip.len() < plain.len());
        let brotli = self.brotli(name, written);
        let file = Arc::new(File { written, root, version, plain, gzip, brotli });
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT_MAX {
            all.clear();
        }
        all.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

/// What a loader asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    /// The version that it was built with.
    v: Option<String>,
}

/// `GET /blackhole/tab/{file}`. Who names the version that we have need never ask for it again.
pub(crate) async fn get(
    State(edge): State<Edge>,
    Path(name): Path<String>,
    Query(Asked { v }): Query<Asked>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    if !edge.inner.tab.is_there() {
        return Err(Problem::not_found(REMEDY));
    }
    let missing = || Problem::not_found("the tab has no such file");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.starts_with('.') || !name.bytes().all(plain) {
        return Err(missing());
    }
    let kind = mime_guess::from_path(&name).first_or_octet_stream();
    let reading = tokio::task::spawn_blocking(move || edge.inner.tab.get(&name)).await;
    let file = reading.map_err(Problem::internal)?.map_err(|_| missing())?;
    let brotli = file.brotli.as_ref().filter(|_| takes(&asked, "br")).map(|bytes| ("br", bytes));
    let gzip = file.gzip.as_ref().filter(|_| takes(&asked, "gzip")).map(|bytes| ("gzip", bytes));
    let encoded = brotli.or(gzip);
    let etag = match encoded {
        Some((encoding, _)) => format!("\"{}-{encoding}\"", file.root),
        None => format!("\"{}\"", file.root),
    };
    let mut response = if none_match(&asked, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        encoded.map_or(&file.plain, |(_, bytes)| bytes).clone().into_response()
    };
    let headers = response.headers_mut();
    let lasting = v.is_some_and(|asked| asked == file.version);
    let kept = if lasting { IMMUTABLE } else { HeaderValue::from_static("no-cache") };
    headers.insert(header::CACHE_CONTROL, kept);
    for (name, value) in [
        (header::CONTENT_TYPE, kind.essence_str()),
        (header::VARY, "Accept-Encoding"),
        (header::ETAG, etag.as_str()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    if let Some((encoding, _)) = encoded {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(response)
}

/// Whether the asker takes this encoding (RFC 9110, section 12.5.3).
fn takes(asked: &HeaderMap, encoding: &str) -> bool {
    let lists = asked.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        parts.next() == Some(encoding) && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn files_are_compressed_once_and_again_when_they_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.js");
        std::fs::write(&path, "x".repeat(10_000)).unwrap();
        let files = TabFiles::new(Some(directory.path().to_owned()));
        let first = files.get("a.js").unwrap();
        assert!(Arc::ptr_eq(&first, &files.get("a.js").unwrap()));
        let mut plain = Vec::new();
        let gzip = first.gzip.clone().unwrap();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, first.plain);
        std::fs::write(&path, "y").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(2);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        let second = files.get("a.js").unwrap();
        assert_eq!((&second.plain[..], &second.gzip), (b"y".as_slice(), &None));
        assert!(files.get("b.js").is_err() && files.get("..").is_err());
    }

    #[test]
    fn brotli_from_the_build_counts_unless_it_is_older_than_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let [plain, compressed] = ["a.js", "a.js.br"].map(|name| directory.path().join(name));
        std::fs::write(&plain, "x").unwrap();
        std::fs::write(&compressed, "shorter").unwrap();
        let files = TabFiles::new(Some(directory.path().to_owned()));
        assert_eq!(files.get("a.js").unwrap().brotli.as_deref(), Some(b"shorter".as_slice()));
        let later = SystemTime::now() + std::time::Duration::from_secs(2);
        std::fs::File::options().write(true).open(&plain).unwrap().set_modified(later).unwrap();
        assert_eq!(files.get("a.js").unwrap().brotli, None);
    }

    #[test]
    fn an_encoding_is_sent_to_those_who_take_it() {
        let takes = |value: &'static str, encoding| {
            let asked = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            takes(&asked, encoding)
        };
        assert!(takes("gzip, deflate, br, zstd", "gzip") && takes("br;q=1.0, gzip;q=0.8", "br"));
        assert!(!takes("br", "gzip") && !takes("gzip;q=0", "gzip") && !takes("", "br"));
    }
}
