//! Every way to reach this node or to reach out from it, as one libp2p transport.
//!
//! ```text
//!   relay ─┐                          ┌─ Noise or TLS ─ Yamux ─┐
//!   ws(s) ─┼─ byte streams ───────────┘                        ├─► (PeerId, muxer)
//!   tcp   ─┘                                                   │
//!   quic, webrtc-direct: bring security and streams themselves ┘
//! ```

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use either::Either;
use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, global_only},
        upgrade::Version,
    },
    dns,
    identity::Keypair,
    quic, relay, websocket,
};

use crate::{
    Config, ListenKind, SecureWebSocket, multiplex::Multiplex, security::Security, sockets::Sockets,
    webrtc_direct, websocket::Listener,
};

/// A whole handshake: three round trips at the worst distance, with room for a busy machine.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Streams on one connection. A tab has a control stream and a few of bulk; Yamux guarantees each
/// a window of 256 KiB, so this also bounds what one connection can make us buffer: 64.75 MiB.
const STREAMS_PER_CONNECTION: usize = 256;

/// What a stream writes goes in frames of this: others on the same line, perhaps a slow one, wait for one at a time.
const FRAME_BYTES: usize = 16 * 1024;
/// Between nodes, whose lines are quick: one system call takes as much, and four records of TLS hold it.
const LONG_FRAME_BYTES: usize = 64 * 1024;

/// The largest WebSocket frame taken from one that we dialled. Yamux sends 16 KiB; some join a few.
const WEBSOCKET_FRAME_BYTES: usize = 1024 * 1024;

type Output = (PeerId, StreamMuxerBox);

/// Joins all transports; WebRTC Direct only where a listener asks for it.
pub(crate) fn build(
    config: &Config,
    keypair: &Keypair,
    relay: relay::client::Transport,
) -> anyhow::Result<Boxed<Output>> {
    let security = Security::new(keypair)?;

    let certificate = config.secure_websocket.as_ref().map(read_certificate).transpose()?;
    let websocket_listener = Listener::new(tcp(config), certificate);
    let mut websocket_dialer = websocket::Config::new(named(tcp(config))?);
    websocket_dialer.set_max_data_size(WEBSOCKET_FRAME_BYTES);
    // In this order: the listener refuses all dials, and takes all that the dialler would listen on too.
    let websocket = either(
        secured(websocket_listener, &security, FRAME_BYTES),
        secured(websocket_dialer, &security, FRAME_BYTES),
    );

    let mut quic_config = quic::Config::new(keypair);
    quic_config.max_concurrent_stream_limit = u32::try_from(STREAMS_PER_CONNECTION)?;
    let quic = public_only(quic::tokio::Transport::new(quic_config), config)
        .map(|either, _| {
            let (peer, connection) = either.into_inner();
            (peer, StreamMuxerBox::new(connection))
        })
        .boxed();

    // A resolver takes every address there is, so it stands last and once. Secure WebSocket needs a
    // resolver below it, because the name is what the certificate is checked against.
    let named = named(either(secured(tcp(config), &security, LONG_FRAME_BYTES), quic))?;
    let all = either(either(secured(relay, &security, FRAME_BYTES), websocket), named.boxed());
    if config.listen.iter().any(|listen| listen.kind() == ListenKind::WebRtcDirect) {
        Ok(either(webrtc(config, keypair)?, all))
    } else {
        Ok(all)
    }
}

fn webrtc(config: &Config, keypair: &Keypair) -> anyhow::Result<Boxed<Output>> {
    let certificate = match &config.webrtc_certificate {
        Some(path) => webrtc_direct::Certificate::load_or_create(path)
            .with_context(|| format!("the WebRTC certificate {}", path.display()))?,
        None => webrtc_direct::Certificate::generate()?,
    };
    let limits = webrtc_direct::Limits {
        sessions: usize::try_from(config.connections.established)?,
        streams: STREAMS_PER_CONNECTION,
        ..webrtc_direct::Limits::default()
    };
    let transport = webrtc_direct::Transport::new(keypair.clone(), certificate, limits);
    Ok(transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed())
}

/// The first transport that takes the address.
fn either(first: Boxed<Output>, second: Boxed<Output>) -> Boxed<Output> {
    first.or_transport(second).map(|output, _| output.into_inner()).boxed()
}

fn tcp(config: &Config) -> Either<Sockets, global_only::Transport<Sockets>> {
    public_only(Sockets::default(), config)
}

/// A transport that understands names.
fn named<T>(transport: T) -> anyhow::Result<dns::tokio::Transport<T>>
where
    T: Transport + Send + Unpin + 'static,
    T::Error: Send,
    T::Dial: Send,
{
    dns::tokio::Transport::system(transport).context("reading the system's DNS configuration")
}

/// Below the resolver, so that neither an address in a message nor a name that resolves to one can
/// point this node at its own neighbourhood.
fn public_only<T: Transport>(transport: T, config: &Config) -> Either<T, global_only::Transport<T>> {
    if config.local_network {
        Either::Left(transport)
    } else {
        Either::Right(global_only::Transport::new(transport))
    }
}

fn secured<T>(transport: T, security: &Security, frame_bytes: usize) -> Boxed<Output>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    transport
        .upgrade(Version::V1Lazy)
        .authenticate(security.clone())
        .multiplex(Multiplex::new(STREAMS_PER_CONNECTION, frame_bytes))
        .timeout(HANDSHAKE_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

fn read_certificate(files: &SecureWebSocket) -> anyhow::Result<rustls::ServerConfig> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let shown = files.certificate.display();
    let chain = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{shown} is not a PEM file of certificates"))?;
    anyhow::ensure!(!chain.is_empty(), "{shown} holds no certificate");
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .with_context(|| format!("{} holds no private key in PEM", files.key.display()))?;
    // Named, because two are linked.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("the key in {} does not belong to {shown}", files.key.display()))
}
