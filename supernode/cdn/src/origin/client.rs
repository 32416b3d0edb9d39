//! Requests to an origin: redirects within it, bounded in number and time.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector},
    rt::TokioExecutor,
};
use url::Url;

use super::{OriginError, OriginLimits};

/// More hops than any site needs for one asset.
const REDIRECTS: usize = 5;

/// Asks origins. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    hyper: Hyper<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    pub(crate) limits: OriginLimits,
}

impl Client {
    pub(crate) fn new(limits: OriginLimits) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(limits.connect()));
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let hyper =
            Hyper::builder(TokioExecutor::new()).pool_max_idle_per_host(limits.requests).build(connector);
        Self { hyper, limits }
    }

    /// Asks for a URL and follows redirects within its origin.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, OriginError> {
        let mut at = url.clone();
        let mut seen = BTreeSet::from([at.clone()]);
        loop {
            let response = self.ask_once(method.clone(), &at, headers).await?;
            if !response.status().is_redirection() || response.status() == http::StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            let to = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let to = to.and_then(|to| at.join(to).ok()).ok_or(OriginError::RedirectNowhere)?;
            if to.origin() != url.origin() {
                return Err(OriginError::RedirectElsewhere(to.origin().ascii_serialization()));
            }
            if !seen.insert(to.clone()) || seen.len() > REDIRECTS + 1 {
                return Err(OriginError::RedirectLoop(REDIRECTS));
            }
            at = to;
        }
    }

    async fn ask_once(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, OriginError> {
        let unreachable = |error: &dyn std::error::Error| OriginError::Unreachable(chain(error));
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .body(Empty::new())
            .map_err(|error| unreachable(&error))?;
        *request.headers_mut() = headers.clone();
        let fixed = [
            (header::ACCEPT_ENCODING, "identity"),
            (header::USER_AGENT, concat!("blackhole/", env!("CARGO_PKG_VERSION"))),
        ];
        for (name, value) in fixed {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let answer = tokio::time::timeout(self.limits.response(), self.hyper.request(request)).await;
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unreachable(&error)),
            Err(_) => Err(OriginError::Silent(self.limits.response_seconds)),
        }
    }
}

/// An error with what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
