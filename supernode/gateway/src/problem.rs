//! Refusals as RFC 9457 has them: what is wrong and what to do, for programs and for people.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;

/// A refusal. `kind` is stable; clients may tell by it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A refusal of the kind `name`, which reads well in `urn:blackhole:problem:name`.
    pub(crate) fn new(status: StatusCode, name: &str, title: &'static str, detail: impl ToString) -> Self {
        Self {
            kind: format!("urn:blackhole:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: detail.to_string(),
            retry_after_seconds: None,
        }
    }

    pub(crate) fn not_found(what: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing here", what)
    }

    pub(crate) fn malformed(what: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be understood", what)
    }

    pub(crate) fn busy(retry_after_seconds: u32) -> Self {
        let busy = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "This node has all the work it takes on",
            "come back after Retry-After",
        );
        Self { retry_after_seconds: Some(retry_after_seconds), ..busy }
    }

    /// Our own failure. What exactly failed is for the log.
    pub(crate) fn internal(what: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "This node failed", what)
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
