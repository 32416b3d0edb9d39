//! The door itself: what is done to a request before and after s3s.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use runtime::http::{Limits, Listener};
use s3s::{
    Body, S3Error,
    config::{S3Config, StaticConfigProvider},
    dto::CORSConfiguration,
    host::MultiDomain,
    service::{S3Service, S3ServiceBuilder},
};
use tokio_util::sync::CancellationToken;

use super::{AccessKeys, Door, Grants, access_keys::Auth, cors, grants::Presented, guard, settings, website};
use crate::{Config, Meters, objects::Objects};

/// A request's head must be here by then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// A head with 2 KiB of metadata, ten tags and a presigned query, eight times over.
const HEAD_BYTES: usize = 64 * 1024;
/// Header fields of a head.
const HEADERS: usize = 128;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// How long requests under way may take once the node shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Longer than enough holders of an upload take to promise, during which nothing moves here. A body that stops coming,
/// or that nobody reads, ends within a minute or so of its own.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// 1,000 deletions with the longest keys, or 10,000 parts.
const XML_BYTES: usize = 4 << 20;
/// A form's file is held in memory by s3s.
const FORM_FILE_BYTES: u64 = 32 << 20;
/// How often lifecycles are looked at; they count in days.
const LIFECYCLE_EVERY: Duration = Duration::from_secs(3600);

/// A bound door that does not answer yet.
pub struct S3Server {
    listener: Listener,
    service: S3Service,
    door: Door,
    limits: Limits,
}

impl S3Server {
    /// Binds the door.
    ///
    /// # Errors
    /// Names the address, the file or the domain that cannot be used.
    pub async fn bind(
        config: &Config,
        objects: Objects,
        keys: AccessKeys,
        grants: Grants,
        meters: Meters,
    ) -> anyhow::Result<Self> {
        let listener = Listener::bind("storage", config.listen, config.tls.as_ref()).await?;
        let keys = Arc::new(keys);
        let website_domains =
            config.website_domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
        let door =
            Door { objects, keys: Arc::clone(&keys), grants: Arc::new(grants), meters, website_domains };
        let mut builder = S3ServiceBuilder::new(door.clone());
        builder.set_auth(Auth(keys));
        builder.set_access(door.clone());
        let mut limits = S3Config::default();
        limits.xml_max_body_size = XML_BYTES;
        limits.post_object_max_file_size = FORM_FILE_BYTES;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits))));
        if !config.domains.is_empty() {
            let domains = MultiDomain::new(&config.domains).context("storage.domains: not a host's name")?;
            builder.set_host(domains);
        }
        let connections = Limits {
            connections: config.connections,
            per_source: config.connections_per_source,
            head_timeout: HEAD_TIMEOUT,
            head_bytes: HEAD_BYTES,
            headers: HEADERS,
            streams: STREAMS,
            idle: IDLE_TIMEOUT,
            shutdown_grace: SHUTDOWN_GRACE,
        };
        Ok(Self { listener, service: builder.build(), door, limits: connections })
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.listener.url()
    }

    /// Answers until `shutdown`, and then as long as requests under way take, within bounds.
    pub async fn run(self, shutdown: CancellationToken) {
        let (service, door) = (self.service, self.door);
        let open = door.meters.connections.clone();
        let upkeep = tokio::spawn(lifecycles(door.clone(), shutdown.clone()));
        let answer = service_fn(move |request: Request<Incoming>| {
            let (service, door) = (service.clone(), door.clone());
            async move { Ok::<_, std::convert::Infallible>(answer(&service, &door, request).await) }
        });
        self.listener.run(answer, self.limits, open, shutdown).await;
        if upkeep.await.is_err() {
            tracing::error!("the lifecycles ended in a panic");
        }
    }
}

async fn lifecycles(door: Door, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(LIFECYCLE_EVERY)).await.is_some() {
        if let Err(error) = door.apply_lifecycles(runtime::unix_now().0).await {
            tracing::warn!(%error, "lifecycle rules could not be applied");
        }
    }
}

async fn answer(service: &S3Service, door: &Door, mut request: Request<Incoming>) -> Response<Body> {
    let origin =
        request.headers().get(header::ORIGIN).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let rules = if origin.is_some() { cors_of(door, &request).await } else { None };
    let (method, version) = (request.method().clone(), request.version());
    // To a request without a body no `100 Continue` is sent, and botocore, which waited for one, takes the answer's status
    // for that of the connection's next answer too. And who is refused before it sent a body sends none: the first bytes
    // of its next request would be taken for it. So there must not be a next one.
    let expects = request.headers().contains_key(header::EXPECT);
    let empty = request.body().is_end_stream();
    let site = website::bucket_of(host(&request), &door.website_domains);
    let mut response = if method == Method::OPTIONS {
        cors::preflight(rules.as_ref(), request.headers())
    } else if let Some(bucket) = site {
        door.site(&request, &bucket).await
    } else {
        let uri = request.uri().clone();
        let checked = guard::check(&uri, request.headers());
        match checked.and_then(|()| door.grants.take(&uri, request.headers_mut())) {
            Err(error) => refusal(error),
            Ok(presented) => match Presented::with(presented, service.call(request.map(Body::from))).await {
                Ok(response) => response,
                Err(error) => {
                    tracing::error!(?error, "a request could not be answered");
                    refusal(s3s::s3_error!(InternalError))
                }
            },
        }
    };
    if let (Some(rules), Some(origin)) = (rules, origin)
        && method != Method::OPTIONS
    {
        cors::decorate(&rules, &origin, &method, response.headers_mut());
    }
    door.meters.answered(response.status().as_u16());
    let id = format!("{:016X}", rand::random::<u64>());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-amz-request-id", id);
    }
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("blackhole"));
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if expects && (empty || refused) && version == http::Version::HTTP_11 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn refusal(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// The host that a request names: in its head, or as HTTP/2 has it.
fn host(request: &Request<Incoming>) -> &str {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| request.uri().authority().map(http::uri::Authority::as_str)).unwrap_or_default()
}

/// What a bucket says to pages of other origins. Its name is looked for where path style has it, and in the host.
async fn cors_of(door: &Door, request: &Request<Incoming>) -> Option<CORSConfiguration> {
    let path = request.uri().path().trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    let host = host(request).split('.').next().unwrap_or_default();
    for name in [first, host] {
        if !name.is_empty()
            && let Ok(row) = door.objects.meta().bucket(name).await
        {
            return settings::document(&row, settings::CORS).ok().flatten();
        }
    }
    None
}
