//! A supernode for the interoperation tests of other libp2p implementations to speak with.
//!
//! Prints one line of JSON when it can be reached, then one a message heard; ends with its standard
//! input. It echoes what it hears: bytes on streams of the CDN's protocol, and messages of a topic.

use std::io::Read as _;

use anyhow::Context as _;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use links::{Event, Events, Stream};
use serde_json::json;
use shared::{coordination::ServiceName, identity::Keypair};
use supernode_net::{Config, Network};
use tokio::sync::oneshot;

const SERVICE: &str = "/blackhole/cdn/1.0.0";
const TOPIC: &str = "/interop/topic/1";

/// Per read of the echo: a Yamux frame.
const CHUNK_BYTES: usize = 16 * 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Standard output is for the tests; what RUST_LOG asks for goes to the other one.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let service: ServiceName = SERVICE.parse()?;
    let mut listen = vec![
        "/ip4/127.0.0.1/tcp/0".parse()?,
        "/ip4/127.0.0.1/tcp/0/ws".parse()?,
        "/ip4/127.0.0.1/udp/0/quic-v1".parse()?,
    ];
    // Further addresses as arguments, such as /ip4/127.0.0.1/udp/0/webrtc-direct.
    for argument in std::env::args().skip(1) {
        listen.push(argument.parse()?);
    }
    let config = Config { listen, local_network: true, ..Config::default() };
    // A key of its own in each run is enough here: nobody remembers this node.
    let keypair = Keypair::from_secret(rand::random());
    let mut metrics = prometheus_client::registry::Registry::default();
    let (network, events) = Network::start(config, &keypair, vec![service.clone()], &mut metrics).await?;

    let key: String = service.key().iter().map(|byte| format!("{byte:02x}")).collect();
    let addresses: Vec<_> = network.listen_addrs().iter().map(ToString::to_string).collect();
    println!(
        "{}",
        json!({ "peer": network.peer_id().to_string(), "addresses": addresses, "serviceKey": key })
    );

    let mut heard = network.subscribe(TOPIC).await?;
    let echo = tokio::spawn(echo_streams(events));
    let mut ended = input_ended();
    loop {
        let message = tokio::select! {
            message = heard.recv() => message.context("the topic ended")?,
            _ = &mut ended => break,
        };
        let text = String::from_utf8_lossy(&message.bytes).into_owned();
        println!(
            "{}",
            json!({ "author": message.author.to_string(), "text": text, "adverts": network.adverts().len() })
        );
        network.publish(TOPIC, format!("heard {text}").into_bytes()).await?;
    }
    network.shutdown().await;
    echo.abort();
    Ok(())
}

async fn echo_streams(mut events: Events) {
    while let Some(event) = events.next().await {
        if let Event::Incoming { stream, .. } = event {
            tokio::spawn(async move {
                if let Err(error) = echo(stream).await {
                    eprintln!("a stream ended early: {error}");
                }
            });
        }
    }
}

async fn echo(mut stream: Stream) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return stream.close().await;
        }
        stream.write_all(&chunk[..read]).await?;
        stream.flush().await?;
    }
}

/// Blocking reads of standard input do not belong on the runtime, nor in the way of its end.
fn input_ended() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut nothing = [0; 64];
        while std::io::stdin().read(&mut nothing).is_ok_and(|read| read > 0) {}
        let _ = sender.send(());
    });
    receiver
}
