//! What a client sees of the accept loop.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Limits, Listener};

/// Longer than anything here takes on the slowest day.
const PATIENCE: Duration = Duration::from_secs(30);
const LIMITS: Limits = Limits {
    connections: 8,
    per_source: 8,
    head_timeout: PATIENCE,
    head_bytes: 8192,
    headers: 16,
    streams: 4,
    idle: PATIENCE,
    shutdown_grace: PATIENCE,
};

struct World {
    address: SocketAddr,
    /// A request has come.
    begun: Arc<Notify>,
    /// It may be answered.
    go_on: Arc<Notify>,
    open: Gauge,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    async fn new(limits: Limits) -> Self {
        let listener = Listener::bind("test", SocketAddr::from(([127, 0, 0, 1], 0)), None).await.unwrap();
        let (address, shutdown) = (listener.address(), CancellationToken::new());
        let (begun, go_on, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Gauge::default());
        let (begins, goes_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        let service = service_fn(move |_: Request<Incoming>| {
            let (begins, goes_on) = (Arc::clone(&begins), Arc::clone(&goes_on));
            async move {
                begins.notify_one();
                goes_on.notified().await;
                Ok::<_, Infallible>(Response::new("done".to_owned()))
            }
        });
        let running = tokio::spawn(listener.run(service, limits, open.clone(), shutdown.clone()));
        Self { address, begun, go_on, open, shutdown, running }
    }

    async fn ask(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        stream
    }
}

/// All that comes until the other side closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    let _ = read.await.expect("the connection ends");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn what_is_under_way_is_answered_when_the_node_shuts_down() {
    let world = World::new(LIMITS).await;
    let stream = world.ask().await;
    world.begun.notified().await;
    assert_eq!(world.open.get(), 1);
    world.shutdown.cancel();
    world.go_on.notify_one();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    tokio::time::timeout(PATIENCE, world.running).await.unwrap().unwrap();
    assert_eq!(world.open.get(), 0);
}

#[tokio::test]
async fn a_silent_connection_ends() {
    let world = World::new(Limits { idle: Duration::from_millis(100), ..LIMITS }).await;
    assert_eq!(rest(TcpStream::connect(world.address).await.unwrap()).await, "");
    // And one on which a head begins and never goes on.
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    assert_eq!(rest(stream).await, "");
}

#[tokio::test]
async fn one_source_does_not_take_all_places() {
    let world = World::new(Limits { per_source: 1, ..LIMITS }).await;
    let first = world.ask().await;
    world.begun.notified().await;
    assert_eq!(rest(TcpStream::connect(world.address).await.unwrap()).await, "");
    world.go_on.notify_one();
    world.shutdown.cancel();
    assert!(rest(first).await.ends_with("done"));
}
