//! A `/webrtc-direct` listener to test other implementations against: ping, identify, echo, source.
//!
//! Prints `listening <multiaddr>` for each address, then one line of counters each second in which
//! they changed. Ends when its standard input does.
//!
//! - `/echo/1.0.0` sends back what it gets, by a reader that pauses a second in the middle.
//! - `/source/1.0.0` reads eight bytes, a big-endian length, and sends as many.

use std::error::Error;
use std::io::Read as _;
use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Stream, StreamProtocol, SwarmBuilder, Transport as _, identify, identity, ping};
use supernode_net::webrtc_direct::{Certificate, Limits, Stats, Transport};

const ECHO: StreamProtocol = StreamProtocol::new("/echo/1.0.0");
const SOURCE: StreamProtocol = StreamProtocol::new("/source/1.0.0");

/// Where the echo's reader pauses, and for how long.
const PAUSE_AFTER_BYTES: usize = 1_000_000;
const PAUSE: Duration = Duration::from_secs(1);

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    streams: libp2p_stream::Behaviour,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keypair = identity::Keypair::generate_ed25519();
    let limits = Limits { sessions_per_source: 4_096, ..Limits::default() };
    let transport = Transport::new(keypair.clone(), Certificate::generate()?, limits);
    let stats = transport.stats();
    let mut swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|_| transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))))?
        .with_behaviour(|keypair| Behaviour {
            ping: ping::Behaviour::default(),
            identify: identify::Behaviour::new(identify::Config::new("/test/1".into(), keypair.public())),
            streams: libp2p_stream::Behaviour::new(),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/udp/0/webrtc-direct".parse()?)?;

    let mut control = swarm.behaviour().streams.new_control();
    serve(control.accept(ECHO)?, echo);
    serve(control.accept(SOURCE)?, source);

    let (ended, mut end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut last = String::new();
    loop {
        tokio::select! {
            _ = &mut end => return Ok(()),
            _ = tick.tick() => {
                let now = line(&stats);
                if now != last {
                    println!("stats {now}");
                    last = now;
                }
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => {
                    println!("listening {address}/p2p/{}", swarm.local_peer_id());
                }
                SwarmEvent::IncomingConnectionError { error, .. } => println!("refused {error}"),
                SwarmEvent::ConnectionClosed { cause: Some(cause), .. } => println!("closed {cause}"),
                _ => {}
            }
        }
    }
}

fn line(stats: &Stats) -> String {
    let memory = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = memory.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let ticks = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 = ticks
        .rsplit(')')
        .next()
        .map(|rest| rest.split(' ').skip(12).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
        .unwrap_or(0);
    let counters: Vec<String> = stats
        .entries()
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("rss_kib={} cpu_ms={} {}", pages * 4, ticks * 10, counters.join(" "))
}

fn serve<F>(mut incoming: libp2p_stream::IncomingStreams, handle: fn(Stream) -> F)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            tokio::spawn(async move {
                if let Err(error) = handle(stream).await {
                    println!("stream {error}");
                }
            });
        }
    });
}

async fn echo(mut stream: Stream) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut seen = 0;
    loop {
        let bytes = stream.read(&mut buffer).await?;
        if bytes == 0 {
            return stream.close().await;
        }
        let paused = seen >= PAUSE_AFTER_BYTES;
        seen += bytes;
        if !paused && seen >= PAUSE_AFTER_BYTES {
            tokio::time::sleep(PAUSE).await;
        }
        stream.write_all(&buffer[..bytes]).await?;
    }
}

async fn source(mut stream: Stream) -> std::io::Result<()> {
    let mut length = [0; 8];
    stream.read_exact(&mut length).await?;
    let mut left = u64::from_be_bytes(length);
    let buffer = vec![7; 64 * 1024];
    while left > 0 {
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        stream.write_all(&buffer[..bytes]).await?;
        left -= bytes as u64;
    }
    stream.close().await
}
