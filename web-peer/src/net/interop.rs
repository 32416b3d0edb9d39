//! What the interoperation tests call: a tab with two small protocols, driven from JavaScript.
//!
//! `echo` returns what it was sent. `pull` is bulk as the product does it: the receiver asks for
//! ranges and never has more outstanding than it said.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use futures_timer::Delay;
use libp2p_core::multiaddr::Multiaddr;
use libp2p_identity::{Keypair, PeerId};
use libp2p_swarm::{Stream, StreamProtocol};
use wasm_bindgen::prelude::*;
use web_sys::MessagePort;
use web_time::Instant;

use super::{Config, Event, Network};

const ECHO: StreamProtocol = StreamProtocol::new("/interop/echo/1.0.0");
const PULL: StreamProtocol = StreamProtocol::new("/interop/pull/1.0.0");
/// The supernode's own test protocol: a length, then as many bytes.
const SOURCE: StreamProtocol = StreamProtocol::new("/source/1.0.0");
/// What the tests transfer repeats with this period, which no range length divides: a piece in the
/// wrong place changes the hash.
const PERIOD_BYTES: usize = (1 << 20) - 1;
const REQUEST_BYTES: usize = 12;
const RANGE_BYTES: usize = 256 * 1024;
/// An echo is a greeting, not a transfer.
const ECHO_BYTES_MAX: u64 = 1 << 20;

/// A tab under test.
#[wasm_bindgen]
pub struct Tab {
    network: Network,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Default)]
struct Seen {
    addresses: Vec<String>,
    notes: Vec<String>,
}

/// Pieces of one transfer.
#[wasm_bindgen]
pub struct Pulled {
    /// How long it took.
    pub millis: f64,
    hash: String,
}

#[wasm_bindgen]
impl Pulled {
    /// BLAKE3 of what arrived.
    #[wasm_bindgen(getter)]
    pub fn hash(&self) -> String {
        self.hash.clone()
    }
}

#[wasm_bindgen]
impl Tab {
    /// Starts a tab with a fresh key.
    #[wasm_bindgen(constructor)]
    pub fn new(rtc_port: MessagePort) -> Result<Tab, JsError> {
        let config = Config { protocols: vec![ECHO, PULL], ..Config::default() };
        let (network, links, events) = Network::start(&Keypair::generate_ed25519(), rtc_port, config)?;
        let seen = Rc::new(RefCell::new(Seen::default()));
        wasm_bindgen_futures::spawn_local(serve(links, seen.clone()));
        wasm_bindgen_futures::spawn_local(watch(events, seen.clone()));
        Ok(Self { network, seen })
    }

    /// Our peer id.
    pub fn peer(&self) -> String {
        self.network.local_peer().to_string()
    }

    /// Where others reach us now.
    pub fn addresses(&self) -> Vec<String> {
        self.seen.borrow().addresses.clone()
    }

    /// What happened, in words.
    pub fn notes(&self) -> Vec<String> {
        self.seen.borrow().notes.clone()
    }

    /// Reserves at a relay.
    #[wasm_bindgen(js_name = listenVia)]
    pub async fn listen_via(&self, relay: String) -> Result<(), JsError> {
        Ok(self.network.listen_via(relay.parse::<Multiaddr>()?).await?)
    }

    /// Dials; fails with `reason: text`.
    pub async fn dial(&self, peer: String, address: String) -> Result<(), JsError> {
        let result = self.network.dial(peer.parse()?, vec![address.parse()?]).await;
        result.map_err(|failed| JsError::new(&format!("{}: {}", failed.reason, failed.text)))
    }

    /// The kinds of our links to a peer.
    pub fn links(&self, peer: &str) -> Result<Vec<String>, JsError> {
        let peer: PeerId = peer.parse()?;
        Ok(self.network.links().links_of(&peer).iter().map(|link| link.kind.name().to_owned()).collect())
    }

    /// Closes every link of that kind to a peer.
    pub fn unlink(&self, peer: &str, kind: &str) -> Result<(), JsError> {
        for link in self.network.links().links_of(&peer.parse()?) {
            if link.kind.name() == kind {
                self.network.links().close(link.id);
            }
        }
        Ok(())
    }

    /// Sends text over a link of that kind and returns what comes back.
    pub async fn echo(&self, peer: String, kind: String, text: String) -> Result<String, JsError> {
        self.echo_on(peer, kind, ECHO.to_string(), text).await
    }

    /// The same by another name of the protocol. Writes and reads at once: whoever echoes as it
    /// reads has no place for all of it.
    #[wasm_bindgen(js_name = echoOn)]
    pub async fn echo_on(
        &self,
        peer: String,
        kind: String,
        protocol: String,
        text: String,
    ) -> Result<String, JsError> {
        let protocol = StreamProtocol::try_from_owned(protocol)?;
        let (mut reader, mut writer) = open(&self.network, &peer, &kind, protocol).await?.split();
        let write = async {
            writer.write_all(text.as_bytes()).await?;
            writer.close().await
        };
        let mut answer = String::new();
        futures::try_join!(write, reader.read_to_string(&mut answer))?;
        Ok(answer)
    }

    /// Reads `bytes` from a `/source/1.0.0`; returns the milliseconds it took.
    pub async fn source(&self, peer: String, bytes: u32) -> Result<f64, JsError> {
        let mut stream = open(&self.network, &peer, "webrtc-direct", SOURCE).await?;
        let begun = Instant::now();
        stream.write_all(&u64::from(bytes).to_be_bytes()).await?;
        let mut buffer = vec![0; 128 * 1024];
        let mut left = bytes as usize;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => return Err(JsError::new("the source ended early")),
                count => left = left.saturating_sub(count),
            }
        }
        Ok(begun.elapsed().as_secs_f64() * 1_000.0)
    }

    /// Pulls `bytes` with at most `outstanding` asked for; pauses once for `pause_millis` halfway.
    pub async fn pull(
        &self,
        peer: String,
        kind: String,
        bytes: u32,
        outstanding: u32,
        pause_millis: u32,
    ) -> Result<Pulled, JsError> {
        let stream = open(&self.network, &peer, &kind, PULL).await?;
        let begun = Instant::now();
        let hash = pull(stream, bytes as usize, outstanding as usize, pause_millis).await?;
        Ok(Pulled { millis: begun.elapsed().as_secs_f64() * 1_000.0, hash })
    }

    /// Ends the network.
    pub async fn close(&self) {
        self.network.close().await;
    }
}

/// The hash that a pull of `bytes` must have.
#[wasm_bindgen(js_name = expectedHash)]
#[allow(unreachable_pub)] // Its caller is JavaScript.
pub fn expected_hash(bytes: u32) -> String {
    let content = content();
    let mut hasher = blake3::Hasher::new();
    let mut left = bytes as usize;
    while left > 0 {
        let step = left.min(PERIOD_BYTES);
        hasher.update(&content[..step]);
        left -= step;
    }
    hasher.finalize().to_hex().to_string()
}

async fn open(
    network: &Network,
    peer: &str,
    kind: &str,
    protocol: StreamProtocol,
) -> Result<Stream, JsError> {
    let links = network.links().links_of(&peer.parse()?);
    let link = links.iter().find(|link| link.kind.name() == kind);
    let link = link.ok_or_else(|| JsError::new(&format!("no {kind} link")))?;
    Ok(network.links().open(link.id, protocol).await?)
}

async fn pull(
    stream: Stream,
    bytes: usize,
    outstanding: usize,
    pause_millis: u32,
) -> std::io::Result<String> {
    let (mut reader, mut writer) = stream.split();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    let (mut asked, mut received) = (0, 0);
    let mut pause = (pause_millis > 0).then(|| Duration::from_millis(pause_millis.into()));
    while received < bytes {
        while asked < bytes && asked - received + RANGE_BYTES <= outstanding {
            let length = RANGE_BYTES.min(bytes - asked);
            writer.write_all(&request(asked, length)).await?;
            asked += length;
        }
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..count]);
        received += count;
        if received >= bytes / 2
            && let Some(pause) = pause.take()
        {
            Delay::new(pause).await;
        }
    }
    writer.close().await?;
    Ok(hasher.finalize().to_hex().to_string())
}

async fn serve(mut events: links::Events, seen: Rc<RefCell<Seen>>) {
    let content = Rc::new(content());
    while let Some(event) = events.next().await {
        let links::Event::Incoming { protocol, stream, .. } = event else {
            seen.borrow_mut().notes.push(format!("{event:?}"));
            continue;
        };
        let content = content.clone();
        wasm_bindgen_futures::spawn_local(async move {
            let served =
                if protocol == ECHO { echo(stream).await } else { serve_ranges(stream, &content).await };
            if let Err(error) = served {
                tracing::debug!(%error, "a stream ended early");
            }
        });
    }
}

async fn echo(mut stream: Stream) -> std::io::Result<()> {
    let mut heard = Vec::new();
    (&mut stream).take(ECHO_BYTES_MAX).read_to_end(&mut heard).await?;
    stream.write_all(&heard).await?;
    stream.close().await
}

async fn serve_ranges(mut stream: Stream, content: &[u8]) -> std::io::Result<()> {
    let mut request = [0; REQUEST_BYTES];
    while stream.read_exact(&mut request).await.is_ok() {
        let (mut offset, mut left) = parse_request(request);
        while left > 0 {
            let start = offset % PERIOD_BYTES;
            let step = left.min(PERIOD_BYTES - start);
            stream.write_all(&content[start..start + step]).await?;
            offset += step;
            left -= step;
        }
    }
    stream.close().await
}

fn request(offset: usize, length: usize) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    request[..8].copy_from_slice(&(offset as u64).to_be_bytes());
    request[8..].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    request
}

fn parse_request(request: [u8; REQUEST_BYTES]) -> (usize, usize) {
    let number = |bytes: &[u8]| bytes.iter().fold(0usize, |value, byte| value << 8 | usize::from(*byte));
    (number(&request[..8]), number(&request[8..]))
}

fn content() -> Vec<u8> {
    let mut content = vec![0; PERIOD_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    content
}

async fn watch(mut events: super::Events, seen: Rc<RefCell<Seen>>) {
    while let Some(event) = events.next().await {
        let mut seen = seen.borrow_mut();
        seen.notes.push(format!("{event:?}"));
        match event {
            Event::Reachable(address) => seen.addresses.push(address.to_string()),
            Event::Unreachable(address) => seen.addresses.retain(|known| *known != address.to_string()),
            _ => {}
        }
    }
}
