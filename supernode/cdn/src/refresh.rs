//! Keeping sites fresh: from their origins, or from another supernode's edge.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use runtime::unix_now;
use shared::{
    base::BlobRoot,
    cdn::manifest::{MAX_MANIFEST_BYTES, Manifest, SitePath},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    Cdn,
    meters::Source,
    origin::{Look, OriginError, look, pull},
    service::{AcceptError, Accepted},
    signer::Signer,
    site::Site,
};

/// What anybody may claim costs an upstream at most one look in this time. A look at another edge is one
/// question,
const MIRROR_PAUSE: Duration = Duration::from_secs(2);
/// one at an origin is a question an asset.
const ORIGIN_PAUSE: Duration = Duration::from_secs(60);

/// Where a site's content comes from.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// The publisher's own server; we sign.
    Origin(Url, Box<Signer>),
    /// Another supernode's edge; signed already.
    Mirror(Url),
}

/// Why a refresh came to nothing.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error(transparent)]
    Accept(#[from] AcceptError),
    #[error("the manifest would break a bound: {0}")]
    Manifest(#[from] shared::cdn::manifest::ManifestError),
    #[error("the other supernode gave other bytes than blob {0}")]
    OtherBytes(BlobRoot),
    #[error("the origin has no assets that are for everybody; see the other notes")]
    Nothing,
}

impl Cdn {
    /// Looks at every upstream now and then, and when peers know of something newer, until `shutdown`.
    #[must_use]
    pub fn keep_fresh(&self, shutdown: &CancellationToken) -> Vec<JoinHandle<()>> {
        let with_upstream = self.sites().filter(|site| site.upstream.is_some());
        let tasks = with_upstream.map(|site| {
            let (cdn, site, shutdown) = (self.clone(), Arc::clone(site), shutdown.clone());
            tokio::spawn(async move {
                let every = site.config.as_ref().map_or(u64::MAX, |config| config.refresh_seconds);
                let every = Duration::from_secs(every);
                let pause = match site.upstream {
                    Some(Upstream::Mirror(_)) => MIRROR_PAUSE.min(every),
                    _ => ORIGIN_PAUSE.min(every),
                };
                loop {
                    let round = async {
                        cdn.refresh(&site).await;
                        tokio::time::sleep(pause).await;
                        tokio::select! {
                            () = tokio::time::sleep(every - pause) => {}
                            () = site.newer.notified() => {}
                        }
                    };
                    if shutdown.run_until_cancelled(round).await.is_none() {
                        return;
                    }
                }
            })
        });
        tasks.collect()
    }

    /// Fetches a blob again that was lost or damaged. One at a time a site, so that a crowd asks once.
    pub(crate) async fn heal(&self, root: BlobRoot) -> bool {
        let Some(site) = self.site_of_blob(root) else { return false };
        let Some(upstream) = &site.upstream else { return false };
        let _one_at_a_time = site.looking.lock().await;
        if self.store().has(root).unwrap_or(false) {
            return true;
        }
        let in_force = site.in_force();
        let path = in_force.and_then(|it| {
            it.manifest.assets.iter().find(|(_, asset)| asset.root == root).map(|(path, _)| path.clone())
        });
        let healed = match (upstream, path) {
            (Upstream::Origin(origin, _), Some(path)) => self.pull_one(&site, origin, &path, root).await,
            (Upstream::Mirror(edge), _) => self.pull_blob(&site, edge, root).await,
            (Upstream::Origin(..), None) => return false,
        };
        if let Err(error) = &healed {
            site.note(unix_now(), &root.to_string(), error.to_string());
        }
        self.changed().notify_one();
        healed.is_ok()
    }

    async fn refresh(&self, site: &Site) {
        let _one_at_a_time = site.looking.lock().await;
        let refreshed = match &site.upstream {
            Some(Upstream::Origin(origin, signer)) => self.refresh_from_origin(site, origin, signer).await,
            Some(Upstream::Mirror(edge)) => self.refresh_from_edge(site, edge).await,
            None => return,
        };
        match refreshed {
            Ok(()) => site.refreshed(unix_now()),
            Err(error) => {
                tracing::warn!(site = %site.pin.site, %error, "the site could not be refreshed");
                site.note(unix_now(), "the site as a whole", error.to_string());
            }
        }
        self.observe();
    }

    async fn refresh_from_origin(
        &self,
        site: &Site,
        origin: &Url,
        signer: &Signer,
    ) -> Result<(), RefreshError> {
        let Look { record, assets, errors, origin_bytes } =
            look(self.client(), self.store(), site.id, origin).await?;
        self.meters().count(&site.pin.site, Source::Origin, origin_bytes);
        for (path, error) in &errors {
            self.meters().origin_failed(error.name());
            tracing::debug!(site = %site.pin.site, %path, %error, "an asset could not be pulled");
            site.note(unix_now(), path, error.to_string());
        }
        let listed = assets.iter().filter_map(|(path, record)| Some((path.clone(), record.asset()?)));
        let found: std::collections::BTreeMap<_, _> = listed.collect();
        if found.is_empty() {
            return Err(RefreshError::Nothing);
        }
        let index = self.store().index();
        index.set_site(site.id, &record, &assets).map_err(OriginError::from)?;
        let now = unix_now();
        let in_force = site.in_force();
        if in_force.is_some_and(|it| it.manifest.assets == found && !signer.is_due(&it.manifest, now)) {
            return Ok(());
        }
        let manifest = Manifest {
            publisher: site.pin.publisher.clone(),
            site: site.pin.site.clone(),
            // Durable before it is signed: no two statements ever have the same number.
            sequence: index.next_sequence(site.id, now.0).map_err(OriginError::from)?,
            issued: now,
            expires: signer.believed_until(now),
            assets: found,
        };
        let signed = Bytes::from(signer.sign(&manifest)?);
        self.accept_manifest(site.id, signed).await?;
        Ok(())
    }

    async fn refresh_from_edge(&self, site: &Site, edge: &Url) -> Result<(), RefreshError> {
        let Some(signed) = self.ask_manifest(site, edge).await? else { return Ok(()) };
        if let Accepted::Missing(roots) = self.accept_manifest(site.id, signed.clone()).await? {
            for root in roots {
                self.pull_blob(site, edge, root).await?;
            }
            self.accept_manifest(site.id, signed).await?;
        }
        Ok(())
    }

    /// The other edge's manifest, where it is another than ours.
    async fn ask_manifest(&self, site: &Site, edge: &Url) -> Result<Option<Bytes>, RefreshError> {
        let url = edge.join(&format!("/blackhole/v1/sites/{}/manifest", site.id));
        let url = url.map_err(|_| OriginError::RedirectNowhere)?;
        let mut headers = HeaderMap::new();
        if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", site.sequence())) {
            headers.insert(header::IF_NONE_MATCH, etag);
        }
        let answer = self.client().ask(Method::GET, &url, &headers).await?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => return Ok(None),
            StatusCode::OK => {}
            status => return Err(OriginError::Status(status.as_u16()).into()),
        }
        let limits = self.client().limits;
        let body = Limited::new(answer.into_body(), MAX_MANIFEST_BYTES).collect();
        let body = tokio::time::timeout(limits.response(), body).await;
        let body = body.map_err(|_| OriginError::Stalled(limits.response_seconds))?;
        Ok(Some(body.map_err(|error| OriginError::List(error.to_string()))?.to_bytes()))
    }

    async fn pull_blob(&self, site: &Site, edge: &Url, root: BlobRoot) -> Result<(), RefreshError> {
        let path: Result<SitePath, _> = format!("/blackhole/v1/blobs/{root}").parse();
        let path = path.map_err(|_| OriginError::RedirectNowhere)?;
        self.pull_one(site, edge, &path, root).await
    }

    async fn pull_one(
        &self,
        site: &Site,
        from: &Url,
        path: &SitePath,
        root: BlobRoot,
    ) -> Result<(), RefreshError> {
        let pulled = pull(self.client(), self.store(), from, path, None).await?;
        self.meters().count(&site.pin.site, Source::Origin, pulled.origin_bytes);
        if pulled.record.asset().is_some_and(|asset| asset.root == root) {
            Ok(())
        } else {
            Err(RefreshError::OtherBytes(root))
        }
    }
}
