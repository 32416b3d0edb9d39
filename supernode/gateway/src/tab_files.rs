//! The tab's code, from a directory. Its integrity is the publisher's business: the script tag pins the
//! loader, the loader pins the rest.

use std::{io, path::Path as FilePath};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use shared::cdn::blob::HashTree;

use crate::{app::Edge, blobs::none_match, problem::Problem};

/// Ten times what the tab's largest file should ever be.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Compressed neighbours of a file, the better first.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// `GET /blackhole/tab/{file}`.
pub(crate) async fn get(
    State(edge): State<Edge>,
    Path(file): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("this node has no such file; its operator sets edge.tab_dir");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if file.starts_with('.') || !file.bytes().all(plain) {
        return Err(missing());
    }
    let directory = edge.inner.tab_dir.as_deref().ok_or_else(missing)?;
    let accepted = asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    let takes =
        |coding: &str| accepted.split(',').any(|one| one.split(';').next().map(str::trim) == Some(coding));
    let (mut coding, mut bytes) = (None, None);
    for (name, suffix) in ENCODINGS.into_iter().filter(|(name, _)| takes(name)) {
        if bytes.is_none() {
            bytes = read(directory, &format!("{file}{suffix}")).await.ok();
            coding = bytes.is_some().then_some(name);
        }
    }
    let bytes = match bytes {
        Some(bytes) => bytes,
        None => read(directory, &file).await.map_err(|_| missing())?,
    };
    let etag = HashTree::of(&bytes).map(|tree| format!("\"{}\"", tree.root())).map_err(Problem::internal)?;
    let mut response = if none_match(&asked, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        bytes.into_response()
    };
    let headers = response.headers_mut();
    let kind = mime_guess::from_path(&file).first_or_octet_stream();
    for (name, value) in [
        (header::CONTENT_TYPE, kind.essence_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept-Encoding"),
        (header::ETAG, etag.as_str()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    Ok(response)
}

async fn read(directory: &FilePath, file: &str) -> io::Result<Vec<u8>> {
    let path = directory.join(file);
    let found = tokio::fs::metadata(&path).await?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(io::ErrorKind::NotFound.into());
    }
    tokio::fs::read(&path).await
}
