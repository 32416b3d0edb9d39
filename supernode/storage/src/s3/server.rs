//! The door itself: connections within bounds, and what is done to a request before and after s3s.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use s3s::{
    Body, S3Error,
    config::{S3Config, StaticConfigProvider},
    dto::CORSConfiguration,
    host::MultiDomain,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{AccessKeys, Door, access_keys::Auth, cors, guard, settings};
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
/// After the system refused to accept, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// 1,000 deletions with the longest keys, or 10,000 parts.
const XML_BYTES: usize = 4 << 20;
/// A form's file is held in memory by s3s.
const FORM_FILE_BYTES: u64 = 32 << 20;
/// How often lifecycles are looked at; they count in days.
const LIFECYCLE_EVERY: Duration = Duration::from_secs(3600);

/// A bound door that does not answer yet.
pub struct S3Server {
    listener: TcpListener,
    address: SocketAddr,
    service: S3Service,
    door: Door,
    connections: usize,
}

impl S3Server {
    /// Binds the door.
    ///
    /// # Errors
    /// Names the address or the domain that cannot be used.
    pub async fn bind(
        config: &Config,
        objects: Objects,
        keys: AccessKeys,
        meters: Meters,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!("storage.listen: cannot listen on {}; port 0 takes any free one", config.listen)
        })?;
        let address = listener.local_addr()?;
        let keys = Arc::new(keys);
        let door = Door { objects, keys: Arc::clone(&keys), meters };
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
        Ok(Self { listener, address, service: builder.build(), door, connections: config.connections })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`, and then as long as requests under way take, within bounds.
    pub async fn run(self, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.connections));
        let tasks = TaskTracker::new();
        tasks.spawn(lifecycles(self.door.clone(), shutdown.clone()));
        loop {
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot,
                () = shutdown.cancelled() => break,
            };
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => break,
            };
            let (service, door, shutdown) = (self.service.clone(), self.door.clone(), shutdown.clone());
            tasks.spawn(async move {
                let _slot = slot;
                let _ = stream.set_nodelay(true);
                serve(TokioIo::new(stream), service, door, shutdown).await;
            });
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }
}

async fn lifecycles(door: Door, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(LIFECYCLE_EVERY)).await.is_some() {
        if let Err(error) = door.apply_lifecycles(runtime::unix_now().0).await {
            tracing::warn!(%error, "lifecycle rules could not be applied");
        }
    }
}

async fn serve(
    io: TokioIo<tokio::net::TcpStream>,
    service: S3Service,
    door: Door,
    shutdown: CancellationToken,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    let answer = service_fn(move |request: Request<Incoming>| {
        let (service, door) = (service.clone(), door.clone());
        async move { Ok::<_, std::convert::Infallible>(answer(&service, &door, request).await) }
    });
    let mut connection = pin!(builder.serve_connection(io, answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(SHUTDOWN_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(service: &S3Service, door: &Door, request: Request<Incoming>) -> Response<Body> {
    let origin =
        request.headers().get(header::ORIGIN).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let rules = if origin.is_some() { cors_of(door, &request).await } else { None };
    let (method, version) = (request.method().clone(), request.version());
    // To a request without a body no `100 Continue` is sent, and botocore, which waited for one, takes the answer's status
    // for that of the connection's next answer too. So it must not have a next one.
    let last = request.headers().contains_key(header::EXPECT) && request.body().is_end_stream();
    let mut response = if method == Method::OPTIONS {
        cors::preflight(rules.as_ref(), request.headers())
    } else {
        match guard::check(request.uri(), request.headers()) {
            Err(error) => refusal(error),
            Ok(()) => match service.call(request.map(Body::from)).await {
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
    if last && version == http::Version::HTTP_11 {
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

/// What a bucket says to pages of other origins. Its name is looked for where path style has it, and in the host.
async fn cors_of(door: &Door, request: &Request<Incoming>) -> Option<CORSConfiguration> {
    let path = request.uri().path().trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.split('.').next().unwrap_or_default();
    for name in [first, host] {
        if !name.is_empty()
            && let Ok(row) = door.objects.meta().bucket(name).await
        {
            return settings::document(&row, settings::CORS).ok().flatten();
        }
    }
    None
}
