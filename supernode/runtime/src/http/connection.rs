//! One connection: HTTP/1.1 or HTTP/2, with bounds on what a client may make us hold and how long.

use std::{error::Error, net::SocketAddr, pin::pin, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::idle::IdleLimit;

/// Where a request's connection comes from; among the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

/// What a service allows those who connect to it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; further ones wait in the system's queue.
    pub connections: usize,
    /// Connections of one address at a time; further ones are closed at once.
    pub per_source: usize,
    /// A request's head must be here by then.
    pub head_timeout: Duration,
    /// A head's length, in bytes.
    pub head_bytes: usize,
    /// Header fields of a head.
    pub headers: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// No byte either way for this long ends a connection.
    pub idle: Duration,
    /// How long answers under way may take once the node shuts down.
    pub shutdown_grace: Duration,
}

/// Serves requests until the client goes or `shutdown` is called.
pub(super) async fn serve<I, S, B>(
    stream: I,
    from: SocketAddr,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.idle / 2)
        .keep_alive_timeout(limits.head_timeout);
    let io = TokioIo::new(IdleLimit::new(stream, limits.idle));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Client(from));
        service.call(request)
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.shutdown_grace, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        // Clients go away and talk garbage all the time; that is theirs, not ours.
        tracing::debug!(%error, "a connection ended early");
    }
}
