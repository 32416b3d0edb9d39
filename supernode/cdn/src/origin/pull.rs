//! Pulling one asset: only if it changed, whole or not at all.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use shared::cdn::manifest::{Asset, MAX_CONTENT_TYPE_BYTES, SitePath};
use url::Url;

use super::{Client, OriginError};
use crate::{
    publish::content_type,
    store::{AssetRecord, Store, Writer},
};

/// How often a body that broke off is asked to go on.
const RESUMES: usize = 3;
/// A slow start is forgiven for this long.
const SLOW_GRACE_SECONDS: u64 = 5;

/// What a pull came to, and the body bytes that it cost the origin.
pub(crate) struct Pulled {
    pub(crate) record: AssetRecord,
    pub(crate) origin_bytes: u64,
}

/// Pulls `path` of `origin`, unless the origin says that what is `known`, and in the store, still holds.
pub(crate) async fn pull(
    client: &Client,
    store: &Arc<Store>,
    origin: &Url,
    path: &SitePath,
    known: Option<&AssetRecord>,
) -> Result<Pulled, OriginError> {
    let url = origin.join(path.as_str()).map_err(|_| OriginError::RedirectNowhere)?;
    let known = match known.and_then(|record| Some((record, record.asset()?))) {
        Some((record, asset)) if store.has(asset.root)? => Some(record),
        _ => None,
    };
    let response = client.ask(Method::GET, &url, &conditions(known)).await?;
    match (response.status(), known) {
        (StatusCode::NOT_MODIFIED, Some(record)) => {
            return Ok(Pulled { record: record.clone(), origin_bytes: 0 });
        }
        (StatusCode::OK, _) => {}
        (status, _) => return Err(OriginError::Status(status.as_u16())),
    }
    let head = Head::read(&response, path)?;
    let mut body = Body { client, store, url: &url, head, received: 0 };
    let asset = body.receive(response).await?;
    let Body { head, received, .. } = body;
    let record = AssetRecord::new(&asset, head.etag, head.last_modified);
    Ok(Pulled { record, origin_bytes: received })
}

fn conditions(known: Option<&AssetRecord>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(known) = known else { return headers };
    for (name, value) in
        [(header::IF_NONE_MATCH, &known.etag), (header::IF_MODIFIED_SINCE, &known.last_modified)]
    {
        if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// What an answer says of its body.
struct Head {
    content_type: String,
    length: Option<u64>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Head {
    fn read(response: &Response<Incoming>, path: &SitePath) -> Result<Self, OriginError> {
        let headers = response.headers();
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if let Some(coding) = text(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            return Err(OriginError::Encoded(coding.chars().take(64).collect()));
        }
        for_everybody(headers)?;
        let guess = content_type(path.as_str().as_ref());
        let content_type = text(header::CONTENT_TYPE)
            .filter(|kind| kind.len() <= MAX_CONTENT_TYPE_BYTES)
            .map_or_else(|| guess.clone(), str::to_owned);
        // The usual lie: a page that says "not found" under 200, where a picture was asked for.
        let named = path.as_str().rsplit('/').next().is_some_and(|name| name.contains('.'));
        if named && is_html(&content_type) && !is_html(&guess) && guess != "application/octet-stream" {
            return Err(OriginError::WrongType { expected: guess, found: content_type });
        }
        Ok(Self {
            content_type,
            length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            etag: text(header::ETAG).map(str::to_owned),
            last_modified: text(header::LAST_MODIFIED).map(str::to_owned),
        })
    }
}

fn is_html(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("text/html") || essence.eq_ignore_ascii_case("application/xhtml+xml")
}

/// What an origin makes for one visitor must not reach another (RFC 9111, 5.2.2 and 4.1).
fn for_everybody(headers: &HeaderMap) -> Result<(), OriginError> {
    if headers.contains_key(header::SET_COOKIE) {
        return Err(OriginError::Private("it sets a cookie"));
    }
    let all = |name| {
        let values = headers.get_all(name).into_iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .map(|part| part.trim().to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    let control = all(header::CACHE_CONTROL);
    if control.iter().any(|part| part == "no-store" || part == "private" || part.starts_with("private=")) {
        return Err(OriginError::Private("Cache-Control"));
    }
    if all(header::VARY).iter().any(|part| matches!(part.as_str(), "*" | "cookie" | "authorization")) {
        return Err(OriginError::Private("Vary"));
    }
    Ok(())
}

/// A body on its way to the store.
struct Body<'a> {
    client: &'a Client,
    store: &'a Arc<Store>,
    url: &'a Url,
    head: Head,
    received: u64,
}

impl Body<'_> {
    async fn receive(&mut self, mut response: Response<Incoming>) -> Result<Asset, OriginError> {
        let max = self.client.limits.asset_bytes();
        if self.head.length.is_some_and(|length| length > max) {
            return Err(OriginError::TooLong(max));
        }
        let writer = Writer::start(self.store.begin(self.head.length)?);
        let mut resumes = 0;
        while !self.read(response, &writer).await? {
            let announced = self.head.length.unwrap_or(self.received);
            resumes += 1;
            if resumes > RESUMES || self.received == 0 {
                return Err(OriginError::BrokenOff { announced, received: self.received });
            }
            response = self.go_on(announced).await?;
        }
        let (root, shape) = writer.finish(None).await?;
        if let Some(announced) = self.head.length.filter(|announced| *announced != shape.size()) {
            return Err(OriginError::LengthChanged { before: announced, after: shape.size() });
        }
        Ok(Asset { root, shape, content_type: self.head.content_type.clone() })
    }

    /// Reads to the end; false where the origin broke off.
    async fn read(&mut self, response: Response<Incoming>, writer: &Writer) -> Result<bool, OriginError> {
        let limits = self.client.limits;
        let started = Instant::now();
        let before = self.received;
        let mut body = response.into_body();
        loop {
            let frame = tokio::time::timeout(limits.idle(), body.frame()).await;
            let frame = match frame.map_err(|_| OriginError::Stalled(limits.idle_seconds))? {
                None => return Ok(true),
                Some(Err(_)) => return Ok(false),
                Some(Ok(frame)) => frame,
            };
            let Ok(chunk) = frame.into_data() else { continue };
            self.received += chunk.len() as u64;
            if self.received > limits.asset_bytes() {
                return Err(OriginError::TooLong(limits.asset_bytes()));
            }
            if !writer.write(chunk).await {
                // The disk refused; finishing says why.
                return Ok(true);
            }
            let seconds = started.elapsed().as_secs();
            if seconds > SLOW_GRACE_SECONDS
                && (self.received - before) / seconds < limits.bytes_per_second_min
            {
                return Err(OriginError::Slow(limits.bytes_per_second_min));
            }
        }
    }

    /// Asks for what is missing of the very same bytes.
    async fn go_on(&self, announced: u64) -> Result<Response<Incoming>, OriginError> {
        let broken = OriginError::BrokenOff { announced, received: self.received };
        // Without a strong validator nobody could tell whether the rest belongs to the beginning.
        let Some(etag) = self.head.etag.as_ref().filter(|etag| !etag.starts_with("W/")) else {
            return Err(broken);
        };
        let mut headers = HeaderMap::new();
        let range = format!("bytes={}-", self.received);
        let (Ok(range), Ok(etag)) = (HeaderValue::try_from(range), HeaderValue::from_str(etag)) else {
            return Err(broken);
        };
        headers.insert(header::RANGE, range);
        headers.insert(header::IF_RANGE, etag);
        let response = self.client.ask(Method::GET, self.url, &headers).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(OriginError::RangeIgnored);
        }
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let (first, total) = range.and_then(read_content_range).ok_or(OriginError::RangeIgnored)?;
        if first != self.received {
            return Err(OriginError::RangeIgnored);
        }
        if total != announced {
            return Err(OriginError::LengthChanged { before: announced, after: total });
        }
        Ok(response)
    }
}

/// First byte and whole length of `bytes 5-9/10`.
fn read_content_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}
