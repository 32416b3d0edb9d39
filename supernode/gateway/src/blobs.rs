//! Blobs and their hashes.

use std::{ops::Range, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use cdn::{Cdn, OpenBlob, ReadError, Source, Writer};
use futures::{StreamExt as _, stream};
use shared::base::BlobRoot;

use crate::{
    app::Edge,
    manifests::refused,
    problem::Problem,
    range::{self, Asked},
};

/// A blob's name is its content, so whoever has it need never ask again.
pub(crate) const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// When to come back for a blob that is being fetched again.
const HEALING_SECONDS: u32 = 5;
/// When to come back for one that is not paid for: a voucher may be on its way.
const UNPAID_SECONDS: u32 = 5;

/// `GET` and `HEAD /blackhole/v1/blobs/{root}`.
pub(crate) async fn get(
    State(edge): State<Edge>,
    Path(root): Path<String>,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let root: BlobRoot = root.parse().map_err(Problem::malformed)?;
    let cdn = &edge.inner.cdn;
    refuse_unpaid(cdn, root).await?;
    let etag = format!("\"{root}\"");
    let blob = cdn.blob(root).await.map_err(|error| unreadable(cdn, &error))?;
    let size = blob.shape().size();
    if none_match(&asked, &etag) {
        return Ok(with_headers(StatusCode::NOT_MODIFIED, &etag, Body::empty()));
    }
    let (status, part) = match range::parse(range_header(&asked, &etag), size) {
        Asked::Whole => (StatusCode::OK, 0..size),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::Unsatisfiable => return Ok(unsatisfiable(size)),
    };
    let length = part.end - part.start;
    let content_range = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| format!("bytes {}-{}/{size}", part.start, part.end - 1));
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        stream_from(cdn, blob, Bytes::new(), part).await?
    };
    let mut response = with_headers(status, &etag, body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, BYTES);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(value) = content_range.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// `GET /blackhole/v1/blobs/{root}/runs/{hashes}/{first}-{last}`: the groups from the first to the last one, all
/// under one page, behind what a client needs to verify them. `hashes` is `page`, their hash page, or `top`: the
/// hashes of all pages, and then that one. One answer, because a request more costs a visitor a round trip more.
pub(crate) async fn run(
    State(edge): State<Edge>,
    Path((root, hashes, groups)): Path<(String, String, String)>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let root: BlobRoot = root.parse().map_err(Problem::malformed)?;
    let cdn = &edge.inner.cdn;
    refuse_unpaid(cdn, root).await?;
    let blob = cdn.blob(root).await.map_err(|error| unreadable(cdn, &error))?;
    let shape = blob.shape();
    let number = |text: &str| text.parse::<u32>().ok();
    let ends = groups.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let (first, last) = ends.ok_or_else(|| Problem::malformed("groups are asked for as `first-last`"))?;
    let under_one_page =
        first <= last && last < shape.groups() && shape.page_of(first) == shape.page_of(last);
    if !under_one_page {
        return Err(Problem::not_found(format!(
            "a run is under one page, and the blob has {} groups",
            shape.groups()
        )));
    }
    let top = match hashes.as_str() {
        "page" => Some(Vec::new()),
        "top" => blob.top(),
        _ => return Err(Problem::malformed("the hashes before a run are `page` or `top`")),
    };
    let before = top.zip(blob.page(shape.page_of(first)));
    let (mut before, page) = before.ok_or_else(|| Problem::not_found("this blob has no such hashes"))?;
    before.extend(page);
    let etag = format!("\"{root}-{hashes}-{first}-{last}\"");
    if none_match(&asked, &etag) {
        return Ok(with_headers(StatusCode::NOT_MODIFIED, &etag, Body::empty()));
    }
    let range = shape.groups_bytes(&(first..last + 1));
    let length = before.len() as u64 + (range.end - range.start);
    let body = stream_from(cdn, blob, Bytes::from(before), range).await?;
    let mut response = with_headers(StatusCode::OK, &etag, body);
    response.headers_mut().insert(header::CONTENT_TYPE, BYTES);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// `PUT /blackhole/v1/blobs/{root}`: a blob that an uploaded manifest waits for.
pub(crate) async fn put(
    State(edge): State<Edge>,
    Path(root): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let root: BlobRoot = root.parse().map_err(Problem::malformed)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let incoming = edge.inner.cdn.accept_blob(root, announced).map_err(|error| refused(&edge, &error))?;
    let writer = Writer::start(incoming);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        if !writer.write(chunk.map_err(Problem::malformed)?).await {
            break;
        }
    }
    writer.finish(Some(root)).await.map_err(|error| refused(&edge, &error.into()))?;
    Ok(StatusCode::CREATED.into_response())
}

/// `before`, and then the verified bytes of `range`, read as the client takes them. The first of them are read
/// before the answer begins, so that a corrupt blob is a 503 and not a broken answer wherever that can be.
async fn stream_from(
    cdn: &Cdn,
    blob: Arc<OpenBlob>,
    before: Bytes,
    range: Range<u64>,
) -> Result<Body, Problem> {
    let site = cdn.site_of(blob.root()).map(str::to_owned);
    if let Some(site) = &site {
        cdn.meters().count(site, Source::Edge, before.len() as u64);
    }
    let first = next(cdn, &blob, &range, site.as_deref()).await.map_err(|error| unreadable(cdn, &error))?;
    let rest = range.start + first.len() as u64..range.end;
    let cdn = cdn.clone();
    let later = stream::unfold(Some(rest), move |rest| {
        let (cdn, blob, site) = (cdn.clone(), Arc::clone(&blob), site.clone());
        async move {
            let rest = rest.filter(|rest| !rest.is_empty())?;
            match next(&cdn, &blob, &rest, site.as_deref()).await {
                Ok(bytes) => {
                    let after = rest.start + bytes.len() as u64..rest.end;
                    Some((Ok(bytes), Some(after)))
                }
                // Ends the connection short of the announced length: the client knows, and asks again.
                Err(error) => Some((Err(error), None)),
            }
        }
    });
    Ok(Body::from_stream(stream::iter([Ok::<_, ReadError>(before), Ok(first)]).chain(later)))
}

async fn next(
    cdn: &Cdn,
    blob: &Arc<OpenBlob>,
    range: &Range<u64>,
    site: Option<&str>,
) -> Result<Bytes, ReadError> {
    let read = Arc::clone(blob).read_async(range.clone()).await;
    match &read {
        Ok(bytes) => {
            if let Some(site) = site {
                cdn.meters().count(site, Source::Edge, bytes.len() as u64);
            }
        }
        Err(ReadError::Corrupt { root, .. }) => cdn.corrupt(*root),
        Err(error) => tracing::warn!(%error, "a blob could not be read"),
    }
    read
}

/// Where whoever pays for the blob's site has not: its visitors have it from its origin meanwhile.
async fn refuse_unpaid(cdn: &Cdn, root: BlobRoot) -> Result<(), Problem> {
    if cdn.is_served(root).await {
        return Ok(());
    }
    cdn.meters().refused("unpaid");
    let title = "This site's publisher has not paid this node for what it served";
    let detail =
        "its visitors get it from its origin; its publisher sees in its node's /status/earnings what is owed";
    Err(Problem::new(StatusCode::PAYMENT_REQUIRED, "unpaid", title, detail).retry_after(UNPAID_SECONDS))
}

fn unreadable(cdn: &Cdn, error: &ReadError) -> Problem {
    match error {
        ReadError::Absent(_) => {
            cdn.meters().refused("not_found");
            Problem::not_found(error)
        }
        ReadError::Corrupt { .. } => {
            cdn.meters().refused("corrupt");
            let title = "The blob is damaged on this node's disk and is being fetched again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "corrupt", title, "").retry_after(HEALING_SECONDS)
        }
        ReadError::Io { .. } | ReadError::Index(_) => {
            tracing::warn!(%error, "a blob could not be read");
            Problem::internal("the blob could not be read")
        }
    }
}

fn unsatisfiable(size: u64) -> Response {
    let title = "The blob has no such bytes";
    let mut response =
        Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", title, format!("it has {size}"))
            .into_response();
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

fn with_headers(status: StatusCode, etag: &str, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, IMMUTABLE);
    if let Ok(value) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, value);
    }
    response
}

/// Whether If-None-Match names what we have (RFC 9110, 13.1.2).
pub(crate) fn none_match(asked: &HeaderMap, etag: &str) -> bool {
    let lists = asked.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag)
}

/// The Range header, unless If-Range says that it was meant for other bytes (RFC 9110, 13.1.5).
fn range_header<'a>(asked: &'a HeaderMap, etag: &str) -> Option<&'a str> {
    let fits = asked.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    asked.get(header::RANGE).filter(|_| fits).and_then(|value| value.to_str().ok())
}
