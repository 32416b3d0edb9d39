//! Signed manifests: handed out to tabs, and taken from publishers.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cdn::{AcceptError, Accepted, ImportError};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;
use shared::{
    base::SiteId,
    cdn::manifest::{MAX_MANIFEST_BYTES, ManifestError},
};

use crate::{app::Edge, blobs::none_match, problem::Problem};

/// `GET /blackhole/v1/sites/{site}/manifest`.
pub(crate) async fn get(
    State(edge): State<Edge>,
    Path(site): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let site: SiteId = site.parse().map_err(Problem::malformed)?;
    let Some((sequence, signed)) = edge.inner.cdn.manifest(site) else {
        edge.inner.cdn.meters().refused("not_found");
        return Err(Problem::not_found("this node has no manifest of that site"));
    };
    let etag = format!("\"{sequence}\"");
    let mut response = if none_match(&asked, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/octet-stream")], signed).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(value) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, value);
    }
    Ok(response)
}

/// `PUT /blackhole/v1/sites/{site}/manifest`: 200 where it is in force, 202 with the blobs it waits for.
pub(crate) async fn put(
    State(edge): State<Edge>,
    Path(site): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let site: SiteId = site.parse().map_err(Problem::malformed)?;
    let signed = Limited::new(body, MAX_MANIFEST_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { too_long() } else { Problem::malformed(error) }
    })?;
    let signed = signed.to_bytes();
    let accepted = edge.inner.cdn.accept_manifest(site, signed).await;
    Ok(match accepted.map_err(|error| refused(&edge, &error))? {
        Accepted::InForce => (StatusCode::OK, Json(json!({ "missing": [] }))).into_response(),
        Accepted::Missing(roots) => {
            let missing: Vec<String> = roots.iter().map(ToString::to_string).collect();
            (StatusCode::ACCEPTED, Json(json!({ "missing": missing }))).into_response()
        }
    })
}

fn too_long() -> Problem {
    let title = "The upload was refused";
    let detail = format!("a manifest has at most {MAX_MANIFEST_BYTES} bytes; publish the site as several");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", title, detail)
}

/// The one mapping of refused uploads.
pub(crate) fn refused(edge: &Edge, error: &AcceptError) -> Problem {
    edge.inner.cdn.meters().refused("upload");
    let (status, name) = match error {
        AcceptError::UnknownSite(_) => (StatusCode::FORBIDDEN, "unknown-site"),
        AcceptError::Manifest(ManifestError::Older { .. }) => (StatusCode::CONFLICT, "superseded"),
        AcceptError::Manifest(_) => (StatusCode::UNPROCESSABLE_ENTITY, "manifest"),
        AcceptError::NotAwaited(_) => (StatusCode::CONFLICT, "not-awaited"),
        AcceptError::Import(ImportError::Quota { .. }) => (StatusCode::INSUFFICIENT_STORAGE, "quota"),
        AcceptError::Import(
            ImportError::OtherBlob { .. } | ImportError::OtherLength { .. } | ImportError::TooLong(_),
        ) => (StatusCode::UNPROCESSABLE_ENTITY, "blob"),
        AcceptError::Import(ImportError::Io(cause)) if is_full(cause) => {
            tracing::warn!(%error, "an upload failed");
            (StatusCode::INSUFFICIENT_STORAGE, "disk-full")
        }
        AcceptError::Import(ImportError::Io(_) | ImportError::Index(_)) | AcceptError::Index(_) => {
            tracing::warn!(%error, "an upload failed");
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    };
    Problem::new(status, name, "The upload was refused", error)
}

/// Whether the disk, or what the system allows us of it, is used up.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
