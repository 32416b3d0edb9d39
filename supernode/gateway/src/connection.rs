//! One connection: HTTP/1.1 or HTTP/2, with bounds on what a client may make us hold and how long.

use std::{net::SocketAddr, pin::pin, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{idle::IdleLimit, local::Client};

/// A request's head must be here by then: longer than any honest network takes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// No byte either way for this long ends the connection. Above the time an origin may keep us waiting.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A head: sixteen times what a browser sends us.
const HEAD_BYTES: usize = 32 * 1024;
/// Header fields of a head.
const HEADERS: usize = 64;
/// Requests at a time on one HTTP/2 connection; browsers keep to 100.
const STREAMS: u32 = 128;
/// How long answers under way may take once the node shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Serves requests until the client goes or `shutdown` is called.
pub(crate) async fn serve<S>(stream: S, from: SocketAddr, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(IDLE_TIMEOUT / 2)
        .keep_alive_timeout(HEAD_TIMEOUT);
    let io = TokioIo::new(IdleLimit::new(stream, IDLE_TIMEOUT));
    let router = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Client(from));
        request
    });
    let mut connection = pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
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
        // Clients go away and talk garbage all the time; that is theirs, not ours.
        tracing::debug!(%error, "a connection ended early");
    }
}
