//! One look at an origin: what there is now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use shared::{base::SiteId, cdn::manifest::SitePath};
use url::Url;

use super::{Client, OriginError, links, pull, pull::Pulled};
use crate::store::{AssetRecord, SiteRecord, Store};

/// Where a publisher lists its assets: `{"assets": ["/a.png", …]}`.
const LIST_PATH: &str = "/.well-known/blackhole.json";
/// A list of as many paths as a manifest holds.
const LIST_BYTES: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct List {
    assets: Vec<String>,
}

/// What a look found.
pub(crate) struct Look {
    pub(crate) record: SiteRecord,
    pub(crate) assets: BTreeMap<SitePath, AssetRecord>,
    /// What went wrong where.
    pub(crate) errors: Vec<(String, OriginError)>,
    /// Body bytes that it cost the origin.
    pub(crate) origin_bytes: u64,
}

/// Looks at `origin`. Each asset is asked for once, and only for what has changed since the last look.
pub(crate) async fn look(
    client: &Client,
    store: &Arc<Store>,
    site: SiteId,
    origin: &Url,
) -> Result<Look, OriginError> {
    let known = store.index().assets(site)?;
    let mut look = Look {
        record: store.index().site(site)?,
        assets: BTreeMap::new(),
        errors: Vec::new(),
        origin_bytes: 0,
    };
    if let Err(error) = seek_list(client, origin, &mut look).await {
        look.errors.push((LIST_PATH.to_owned(), error));
    }
    let listed = look.record.list.clone();
    let mut frontier: BTreeSet<SitePath> = match &listed {
        Some(paths) => paths.iter().filter_map(|path| path.parse().ok()).collect(),
        None => ["/"].iter().filter_map(|path| path.parse().ok()).collect(),
    };
    let mut seen = BTreeSet::new();
    let mut depth = 0;
    loop {
        frontier.retain(|path| !seen.contains(path));
        if frontier.is_empty() && listed.is_none() {
            // What is not linked any more is dropped once the origin says that it is gone.
            frontier.extend(known.keys().filter(|path| !seen.contains(*path)).cloned());
        }
        let room = client.limits.assets_max.saturating_sub(seen.len());
        let now: Vec<_> = std::mem::take(&mut frontier).into_iter().take(room).collect();
        if now.is_empty() {
            return Ok(look);
        }
        seen.extend(now.iter().cloned());
        let pulls = now.into_iter().map(|path| {
            let known = known.get(&path);
            async move {
                let pulled = pull(client, store, origin, &path, known).await;
                (path, pulled)
            }
        });
        let mut pulls = stream::iter(pulls).buffer_unordered(client.limits.requests);
        while let Some((path, pulled)) = pulls.next().await {
            let found = look.take(path, pulled, &known);
            if let Some((path, record)) =
                found.filter(|_| listed.is_none() && depth < client.limits.depth_max)
            {
                frontier.extend(links_of(store, origin, &path, &record).await);
            }
        }
        depth += 1;
    }
}

impl Look {
    fn take(
        &mut self,
        path: SitePath,
        pulled: Result<Pulled, OriginError>,
        known: &BTreeMap<SitePath, AssetRecord>,
    ) -> Option<(SitePath, AssetRecord)> {
        let record = match pulled {
            Ok(pulled) => {
                self.origin_bytes += pulled.origin_bytes;
                pulled.record
            }
            Err(error) => {
                let kept = known.get(&path).filter(|_| !error.is_final()).cloned();
                self.errors.push((path.to_string(), error));
                kept?
            }
        };
        self.assets.insert(path.clone(), record.clone());
        Some((path, record))
    }
}

/// Reads the publisher's list, if there is one and it has changed. Where there was none, only HEAD asks.
async fn seek_list(client: &Client, origin: &Url, look: &mut Look) -> Result<(), OriginError> {
    let url = origin.join(LIST_PATH).map_err(|_| OriginError::RedirectNowhere)?;
    let record = &mut look.record;
    if record.list_sought && record.list.is_none() {
        let answer = client.ask(Method::HEAD, &url, &HeaderMap::new()).await?;
        if answer.status() != StatusCode::OK {
            return Ok(());
        }
    }
    let mut headers = HeaderMap::new();
    let known =
        [(header::IF_NONE_MATCH, &record.list_etag), (header::IF_MODIFIED_SINCE, &record.list_last_modified)];
    for (name, value) in known.into_iter().filter(|_| record.list.is_some()) {
        if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    let answer = client.ask(Method::GET, &url, &headers).await?;
    record.list_sought = true;
    let is_json = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_none_or(|kind| kind.contains("json"));
    match answer.status() {
        StatusCode::NOT_MODIFIED => return Ok(()),
        StatusCode::OK if is_json => {}
        _ => {
            *record = SiteRecord { list_sought: true, ..SiteRecord::default() };
            return Ok(());
        }
    }
    let text = |name| {
        answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned)
    };
    let (etag, last_modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
    let body = Limited::new(answer.into_body(), LIST_BYTES).collect();
    let body = tokio::time::timeout(client.limits.response(), body).await;
    let body = body.map_err(|_| OriginError::Stalled(client.limits.response_seconds))?;
    let body = body.map_err(|error| OriginError::List(error.to_string()))?.to_bytes();
    look.origin_bytes += body.len() as u64;
    let list: List = serde_json::from_slice(&body).map_err(|error| OriginError::List(error.to_string()))?;
    *record = SiteRecord {
        list: Some(list.assets),
        list_sought: true,
        list_etag: etag,
        list_last_modified: last_modified,
    };
    Ok(())
}

/// What a page or style sheet links to; read from the store, where it was verified on the way.
async fn links_of(
    store: &Arc<Store>,
    origin: &Url,
    path: &SitePath,
    record: &AssetRecord,
) -> BTreeSet<SitePath> {
    let kind = record.content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let scan = match kind.as_str() {
        "text/html" | "application/xhtml+xml" => links::of_html,
        "text/css" => links::of_css,
        _ => return BTreeSet::new(),
    };
    let (Some(asset), Ok(base)) = (record.asset(), origin.join(path.as_str())) else {
        return BTreeSet::new();
    };
    let store = Arc::clone(store);
    let read = crate::service::blocking(move || {
        let blob = store.get(asset.root).ok()?;
        let (mut text, end) = (Vec::new(), blob.shape().size().min(links::SCAN_BYTES));
        while (text.len() as u64) < end {
            text.extend_from_slice(&blob.read(text.len() as u64..end).ok()?);
        }
        Some(String::from_utf8_lossy(&text).into_owned())
    });
    read.await.ok().flatten().map_or_else(BTreeSet::new, |text| scan(&text, &base))
}
