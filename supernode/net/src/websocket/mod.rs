//! Listening for WebSockets, plain and over TLS.
//!
//! Every visitor holds one, mostly in silence, so what it costs is what it keeps. libp2p's own keeps ten KiB of
//! buffers and state a connection; here a read unmasks in the reader's buffer, a write sends the writer's, and
//! nothing is kept between them. Dialling is left to libp2p's: a node dials few, and there are the names,
//! certificates and redirects.

mod frames;
mod stream;

use std::{
    collections::HashMap,
    future::Pending,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{
    AsyncRead, AsyncWrite, FutureExt as _,
    future::{BoxFuture, Either},
};
use futures_rustls::{TlsAcceptor, server::TlsStream};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
};
use soketto::handshake::{self, server::Response};
use thiserror::Error;

pub(crate) use stream::WebSocket;

/// A connection that a visitor opened. TLS is boxed: most of its state would else be room that a plain one
/// takes too.
type Accepted<S> = WebSocket<Either<Box<TlsStream<S>>, S>>;

/// Takes WebSockets on the addresses that it is told, and dials none.
pub(crate) struct Listener<T> {
    sockets: T,
    tls: Option<TlsAcceptor>,
    forms: HashMap<ListenerId, Form>,
}

/// What an address of ours says after the socket's.
#[derive(Clone)]
struct Form {
    suffix: Multiaddr,
    secure: bool,
}

/// Why somebody did not come in.
#[derive(Debug, Error)]
pub(crate) enum AcceptError<E> {
    #[error("the socket: {0}")]
    Socket(E),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("the WebSocket handshake: {0}")]
    Handshake(handshake::Error),
}

impl<T> Listener<T> {
    /// Over these sockets; secure where there is a certificate.
    pub(crate) fn new(sockets: T, tls: Option<rustls::ServerConfig>) -> Self {
        let tls = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        Self { sockets, tls, forms: HashMap::new() }
    }

    fn form(&self, listener: ListenerId) -> &Form {
        self.forms.get(&listener).expect("a listener's form is kept from its first event to its last")
    }

    /// The address as others are to see it.
    fn shown(&self, listener: ListenerId, socket: Multiaddr) -> Multiaddr {
        self.form(listener).suffix.iter().fold(socket, Multiaddr::with)
    }
}

/// The socket's address and what follows it.
fn parse(mut address: Multiaddr) -> Option<(Multiaddr, Form)> {
    let last = address.pop()?;
    let is_tls = matches!(address.iter().last(), Some(Protocol::Tls));
    let suffix = match &last {
        Protocol::Wss(_) => Multiaddr::from(last),
        Protocol::Ws(_) if is_tls => Multiaddr::from(address.pop()?).with(last),
        Protocol::Ws(_) => Multiaddr::from(last),
        _ => return None,
    };
    let secure = !matches!(suffix.iter().next(), Some(Protocol::Ws(_)));
    Some((address, Form { suffix, secure }))
}

async fn accept<S, E>(socket: S, tls: Option<TlsAcceptor>) -> Result<Accepted<S>, AcceptError<E>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let socket = match tls {
        Some(tls) => Either::Left(Box::new(tls.accept(socket).await.map_err(AcceptError::Tls)?)),
        None => Either::Right(socket),
    };
    let mut server = handshake::Server::new(socket);
    let key = server.receive_request().await.map_err(AcceptError::Handshake)?.key();
    let response = Response::Accept { key, protocol: None };
    server.send_response(&response).await.map_err(AcceptError::Handshake)?;
    Ok(WebSocket::new(server.into_inner()))
}

impl<T> Transport for Listener<T>
where
    T: Transport + Unpin,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Error: Send + 'static,
{
    type Output = Accepted<T::Output>;
    type Error = AcceptError<T::Error>;
    type ListenerUpgrade = BoxFuture<'static, Result<Self::Output, Self::Error>>;
    type Dial = Pending<Result<Self::Output, Self::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        let Some((socket, form)) =
            parse(address.clone()).filter(|(_, form)| !form.secure || self.tls.is_some())
        else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        self.sockets.listen_on(id, socket).map_err(|error| error.map(AcceptError::Socket))?;
        self.forms.insert(id, form);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.sockets.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = self.get_mut();
        Pin::new(&mut this.sockets).poll(context).map(|event| match event {
            TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => {
                let tls = this.tls.clone().filter(|_| this.form(listener_id).secure);
                let upgrade = async move {
                    let socket = upgrade.await.map_err(AcceptError::Socket)?;
                    accept(socket, tls).await
                };
                TransportEvent::Incoming {
                    listener_id,
                    upgrade: upgrade.boxed(),
                    local_addr: this.shown(listener_id, local_addr),
                    send_back_addr: this.shown(listener_id, send_back_addr),
                }
            }
            TransportEvent::NewAddress { listener_id, listen_addr } => {
                let listen_addr = this.shown(listener_id, listen_addr);
                TransportEvent::NewAddress { listener_id, listen_addr }
            }
            TransportEvent::AddressExpired { listener_id, listen_addr } => {
                let listen_addr = this.shown(listener_id, listen_addr);
                TransportEvent::AddressExpired { listener_id, listen_addr }
            }
            TransportEvent::ListenerClosed { listener_id, reason } => {
                this.forms.remove(&listener_id);
                TransportEvent::ListenerClosed { listener_id, reason: reason.map_err(AcceptError::Socket) }
            }
            TransportEvent::ListenerError { listener_id, error } => {
                TransportEvent::ListenerError { listener_id, error: AcceptError::Socket(error) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt as _, future};
    use futures_rustls::TlsConnector;
    use libp2p::{
        core::{Endpoint, transport::PortUse},
        tcp,
    };
    use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
    use soketto::Incoming;

    use super::*;

    const DIAL: DialOpts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };

    /// Both ends of TLS.
    fn tls() -> (ServerConfig, TlsConnector) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![made.cert.der().clone()],
                PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (server, TlsConnector::from(Arc::new(client)))
    }

    /// Sends back all that comes over the first connection, until its end. A socket that is dropped may take
    /// with it what was sent last, so the caller holds it.
    async fn echo(mut listener: Listener<tcp::tokio::Transport>) -> impl Sized {
        loop {
            if let TransportEvent::Incoming { upgrade, .. } = next(&mut listener).await {
                let (reader, mut writer) = upgrade.await.unwrap().split();
                futures::io::copy(reader, &mut writer).await.unwrap();
                return writer;
            }
        }
    }

    async fn next<T: Transport + Unpin>(transport: &mut T) -> TransportEvent<T::ListenerUpgrade, T::Error> {
        future::poll_fn(|context| Pin::new(&mut *transport).poll(context)).await
    }

    async fn check_echo(suffix: &str) {
        let (server, client) = tls();
        let mut listener = Listener::new(tcp::tokio::Transport::default(), Some(server));
        let anywhere = format!("/ip4/127.0.0.1/tcp/0{suffix}").parse().unwrap();
        listener.listen_on(ListenerId::next(), anywhere).unwrap();
        let TransportEvent::NewAddress { listen_addr, .. } = next(&mut listener).await else {
            panic!("it says first where it listens")
        };
        let (address, form) = parse(listen_addr).unwrap();
        assert_eq!(form.suffix.to_string(), suffix);
        let visit = async {
            let dialled = tcp::tokio::Transport::default().dial(address, DIAL).unwrap().await.unwrap();
            let socket = if form.secure {
                Either::Left(client.connect("localhost".try_into().unwrap(), dialled).await.unwrap())
            } else {
                Either::Right(dialled)
            };
            let mut client = handshake::Client::new(socket, "localhost", "/");
            let response = client.handshake().await.unwrap();
            assert!(matches!(response, handshake::ServerResponse::Accepted { .. }), "{response:?}");
            let (mut sender, mut receiver) = client.into_builder().finish();
            for length in [1, 125, 126, 70_000, 150_000] {
                let sent: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
                sender.send_ping(b"there?".as_slice().try_into().unwrap()).await.unwrap();
                sender.send_binary(&sent).await.unwrap();
                sender.flush().await.unwrap();
                let (mut back, mut pongs) = (Vec::new(), 0);
                while back.len() < length || pongs == 0 {
                    let mut message = Vec::new();
                    match receiver.receive(&mut message).await.unwrap() {
                        Incoming::Pong(b"there?") => pongs += 1,
                        _ => back.append(&mut message),
                    }
                }
                assert!(back == sent, "{length} bytes came back");
            }
            sender.close().await.unwrap();
            let ended = receiver.receive(&mut Vec::new()).await;
            // This client closes its TLS as it says goodbye, and then reads no answer.
            assert!(form.secure || matches!(ended, Ok(Incoming::Closed(_))), "{ended:?}");
        };
        future::join(echo(listener), visit).await;
    }

    #[tokio::test]
    async fn a_visitor_gets_back_what_it_sent() {
        check_echo("/ws").await;
    }

    #[tokio::test]
    async fn a_visitor_over_tls_gets_back_what_it_sent() {
        check_echo("/tls/ws").await;
        check_echo("/wss").await;
    }

    fn check_parsed(address: &str, socket: &str, suffix: &str, secure: bool) {
        let (parsed, form) = parse(address.parse().unwrap()).unwrap();
        assert_eq!((parsed.to_string().as_str(), form.suffix.to_string().as_str()), (socket, suffix));
        assert_eq!(form.secure, secure);
    }

    #[test]
    fn addresses_of_all_forms_are_told_apart() {
        let socket = "/ip4/127.0.0.1/tcp/1";
        check_parsed("/ip4/127.0.0.1/tcp/1/ws", socket, "/ws", false);
        check_parsed("/ip4/127.0.0.1/tcp/1/wss", socket, "/wss", true);
        check_parsed("/ip4/127.0.0.1/tcp/1/tls/ws", socket, "/tls/ws", true);
        for other in ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1", "/ws/ip4/127.0.0.1/tcp/1"] {
            assert!(parse(other.parse().unwrap()).is_none(), "{other}");
        }
    }
}
