//! TLS 1.3 as libp2p has it, with the cipher first that this machine is quickest at, and buffers that one system call can
//! fill.
//!
//! Source: libp2p specs, `tls/tls.md`. The certificates and their signatures are libp2p-tls's; its configuration puts
//! ChaCha20-Poly1305 first everywhere, for which a processor with AES of its own takes several times as long, and it keeps
//! the order to itself (`docs/adr/0028`).

use std::{io, net::Ipv4Addr, sync::Arc};

use futures::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::{PeerId, identity::Keypair, tls::certificate};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedCipherSuite,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::{
        cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256},
        default_provider,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::buffered::{Gathered, ReadAhead};

/// The protocol's name where peers agree on one.
pub(super) const NAME: &str = "/tls/1.0.0";
/// The protocol within TLS.
const ALPN: &[u8] = b"libp2p";
static VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The upgrade.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// A stream of which the other side is known.
pub(crate) type Stream<Socket> = Gathered<TlsStream<ReadAhead<Socket>>>;

impl Tls {
    /// With a certificate that this key vouches for.
    pub(super) fn new(keypair: &Keypair) -> anyhow::Result<Self> {
        let (certificate, key) = certificate::generate(keypair)?;
        let mut provider = default_provider();
        provider.cipher_suites = ciphers(has_aes()).to_vec();
        let provider = Arc::new(provider);
        let key = provider.key_provider.load_private_key(key)?;
        let shown = Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key)));

        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)?
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(Arc::clone(&shown) as Arc<_>);
        server.alpn_protocols = vec![ALPN.to_vec()];
        // Connections last; who comes back shows its certificate again.
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(shown);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }

    /// The handshake of who was dialled. Returns who dialled.
    pub(super) async fn accept<Socket>(self, socket: Socket) -> io::Result<(PeerId, Stream<Socket>)>
    where
        Socket: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.acceptor.accept(ReadAhead::new(socket)).await?;
        known(stream.into())
    }

    /// The handshake of who dials. Returns who was there.
    pub(super) async fn connect<Socket>(self, socket: Socket) -> io::Result<(PeerId, Stream<Socket>)>
    where
        Socket: AsyncRead + AsyncWrite + Unpin,
    {
        // No name is sent where it is an address: the specification wants none.
        let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        let stream = self.connector.connect(nobody, ReadAhead::new(socket)).await?;
        known(stream.into())
    }
}

fn known<Socket>(stream: TlsStream<ReadAhead<Socket>>) -> io::Result<(PeerId, Stream<Socket>)> {
    let peer = match stream.get_ref().1.peer_certificates() {
        Some([certificate]) => certificate::parse(certificate).map_err(io::Error::other)?.peer_id(),
        _ => return Err(io::Error::other("the peer showed no certificate, or more than one")),
    };
    Ok((peer, Gathered::new(stream)))
}

/// Whether the processor has instructions for AES and for the hash beside it.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// All that TLS 1.3 has for this, the quickest first.
const fn ciphers(has_aes: bool) -> [SupportedCipherSuite; 3] {
    if has_aes {
        [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]
    } else {
        [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384]
    }
}

/// Holds a certificate against itself: it must be the only one, signed by its own key, and that key vouched for by a
/// node's. Whose node's, whoever dialled compares afterwards, as after every other handshake.
#[derive(Debug)]
struct Verifier;

impl Verifier {
    fn verify(certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !others.is_empty() {
            return Err(Error::General("a peer shows one certificate, and no other".to_owned()));
        }
        certificate::parse(certificate)?;
        Ok(())
    }

    fn verify_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        certificate::parse(certificate)?.verify_signature(signed.scheme, message, signed.signature())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn older() -> Error {
        Error::General("only TLS 1.3 is spoken here".to_owned())
    }

    /// What libp2p-tls can verify of that which TLS 1.3 allows in a handshake.
    fn schemes() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
        ]
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::verify(certificate, others)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Self::older())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::verify(certificate, others)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Self::older())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt as _, AsyncWriteExt as _};
    use libp2p::{
        core::upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _},
        tcp::tokio::TcpStream,
        tls,
    };
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::{self, TcpListener};

    use super::*;

    async fn line() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = net::TcpStream::connect(listener.local_addr().unwrap());
        let (dialled, accepted) = tokio::join!(dialled, listener.accept());
        (TcpStream(dialled.unwrap()), TcpStream(accepted.unwrap().0))
    }

    fn node(number: u8) -> (PeerId, Keypair) {
        let keypair = Keypair::ed25519_from_bytes([number; 32]).unwrap();
        (keypair.public().to_peer_id(), keypair)
    }

    /// A MiB there and back.
    async fn exchange(
        mut one: impl AsyncRead + AsyncWrite + Unpin,
        mut other: impl AsyncRead + AsyncWrite + Unpin,
    ) {
        let bytes: Vec<u8> = (0..1 << 20_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let there = async {
            one.write_all(&bytes).await.unwrap();
            one.flush().await.unwrap();
            let mut back = vec![0; bytes.len()];
            one.read_exact(&mut back).await.unwrap();
            one.close().await.unwrap();
            back
        };
        let back = async {
            let mut came = vec![0; bytes.len()];
            other.read_exact(&mut came).await.unwrap();
            other.write_all(&came).await.unwrap();
            other.flush().await.unwrap();
            assert_eq!(other.read(&mut [0; 1]).await.unwrap(), 0, "it was closed properly");
            came
        };
        let (back, came) = tokio::join!(there, back);
        assert!(came == bytes && back == bytes);
    }

    #[tokio::test]
    async fn two_nodes_know_each_other_and_use_the_cipher_of_their_processors() {
        let ((one, one_key), (other, other_key)) = (node(1), node(2));
        let (socket, other_socket) = line().await;
        let dialled = Tls::new(&one_key).unwrap().connect(socket);
        let accepted = Tls::new(&other_key).unwrap().accept(other_socket);
        let ((found, dialled), (found_one, accepted)) = futures::try_join!(dialled, accepted).unwrap();
        assert_eq!((found, found_one), (other, one));
        let state = accepted.get_ref().get_ref().1;
        assert_eq!(state.negotiated_cipher_suite(), Some(ciphers(has_aes())[0]));
        assert_eq!(state.alpn_protocol(), Some(ALPN));
        exchange(dialled, accepted).await;
    }

    #[tokio::test]
    async fn libp2ps_own_understands_ours_whoever_dials() {
        let ((one, one_key), (other, other_key)) = (node(1), node(2));
        let theirs = || tls::Config::new(&other_key).unwrap();
        let ours = || Tls::new(&one_key).unwrap();
        let (socket, other_socket) = line().await;
        let accepted = async { theirs().upgrade_inbound(other_socket, NAME).await.map_err(io::Error::other) };
        let ((found, dialled), (found_one, accepted)) =
            futures::try_join!(ours().connect(socket), accepted).unwrap();
        assert_eq!((found, found_one), (other, one));
        exchange(dialled, accepted).await;
        let (socket, other_socket) = line().await;
        let dialled = async { theirs().upgrade_outbound(socket, NAME).await.map_err(io::Error::other) };
        let ((found, dialled), (found_other, accepted)) =
            futures::try_join!(dialled, ours().accept(other_socket)).unwrap();
        assert_eq!((found, found_other), (one, other));
        exchange(dialled, accepted).await;
    }

    /// A certificate that no node vouches for, one whose voucher was changed, two of them, and none.
    #[tokio::test]
    async fn whoever_shows_no_lawful_certificate_is_refused() {
        let (_, key) = node(1);
        let (good, good_key) = certificate::generate(&key).unwrap();
        let plain = rcgen::generate_simple_self_signed(["node.example".to_owned()]).unwrap();
        let plain_key = || PrivateKeyDer::try_from(plain.signing_key.serialize_der()).unwrap();
        let mut changed = good.to_vec();
        // A byte of the node's public key, which stands in the certificate behind these (libp2p specs, peer-ids).
        let place = changed.windows(4).position(|window| window == [8, 1, 18, 32]).unwrap();
        changed[place + 10] ^= 1;
        let shown: [(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>); 4] = [
            (vec![plain.cert.der().clone()], plain_key()),
            (vec![changed.into()], good_key.clone_key()),
            (vec![good.clone(), good], good_key),
            (Vec::new(), plain_key()),
        ];
        for (certificates, key) in shown {
            let provider = Arc::new(default_provider());
            let builder = || {
                ClientConfig::builder_with_provider(Arc::clone(&provider))
                    .with_protocol_versions(VERSIONS)
                    .unwrap()
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Verifier))
            };
            let number = certificates.len();
            let mut client = if certificates.is_empty() {
                builder().with_no_client_auth()
            } else {
                let key = provider.key_provider.load_private_key(key).unwrap();
                let shown = SingleCertAndKey::from(CertifiedKey::new(certificates, key));
                builder().with_client_cert_resolver(Arc::new(shown))
            };
            client.alpn_protocols = vec![ALPN.to_vec()];
            let (socket, other_socket) = line().await;
            let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            let connector = TlsConnector::from(Arc::new(client));
            let dialled = connector.connect(nobody, socket);
            let accepted = Tls::new(&node(2).1).unwrap().accept(other_socket);
            let (_, accepted) = tokio::join!(dialled, accepted);
            assert!(accepted.is_err(), "{number} certificates");
        }
    }
}
