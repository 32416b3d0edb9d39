//! The edge, the S3 door and the WebSocket by TLS, with a certificate of one's own, to a client that checks it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};

use crate::process::{PATIENCE, World, blackhole, text};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Writes a certificate for `edge.example` and this machine with its key, and who issued it; returns that, which a client
/// trusts.
pub(crate) fn issue(world: &World) -> RootCertStore {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["edge.example".to_owned(), "localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    fs::write(world.path("edge.pem"), leaf.pem()).unwrap();
    fs::write(world.path("edge.key"), key.serialize_pem()).unwrap();
    fs::write(world.path("authority.pem"), root.pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    roots
}

fn connect(address: SocketAddr, roots: &RootCertStore, name: &str, alpn: &[&str]) -> Tls {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots.clone()).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(connection, stream)
}

pub(crate) fn files(world: &World) -> String {
    format!("certificate = {:?}\nkey = {:?}\n", world.path("edge.pem"), world.path("edge.key"))
}

#[test]
fn edge_serves_https_to_clients_that_trust_its_certificate() {
    let world = World::new();
    let roots = issue(&world);
    let node = world.node("data", &format!("[edge.tls]\n{}", files(&world)));
    assert!(node.edge.starts_with("https://"), "{}", node.edge);

    let mut stream = connect(node.address, &roots, "edge.example", &["http/1.1"]);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: edge.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");

    let mut stream = connect(node.address, &roots, "edge.example", &["h2", "http/1.1"]);
    stream.conn.complete_io(&mut stream.sock).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(b"h2".as_slice()), "browsers get HTTP/2");

    // Another name, another authority: the client is right to leave.
    let mut stream = connect(node.address, &roots, "other.example", &[]);
    assert!(stream.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| stream.flush()).is_err());
    let stranger = issue(&World::new());
    let mut stream = connect(node.address, &stranger, "edge.example", &[]);
    assert!(stream.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| stream.flush()).is_err());
    // And without TLS nobody is answered.
    let plain = crate::http::exchange(node.address, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(!plain.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&plain));
}

#[test]
fn s3_door_speaks_tls() {
    let world = World::new();
    let roots = issue(&world);
    let sections = format!("[storage]\nlisten = \"127.0.0.1:0\"\n[storage.tls]\n{}", files(&world));
    let node = world.node("data", &sections);
    let address = node.s3.unwrap();
    let mut stream = connect(address, &roots, "edge.example", &["http/1.1"]);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: edge.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("AccessDenied"), "{answer}");
    let plain = crate::http::exchange(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(!plain.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&plain));
}

#[test]
fn a_source_has_no_more_than_its_connections() {
    let world = World::new();
    let node = world.node("data", "[storage]\nlisten = \"127.0.0.1:0\"\nconnections_per_source = 2\n");
    let address = node.s3.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let held: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request).unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 403");
            stream
        })
        .collect();
    assert!(!crate::http::exchange(address, request).starts_with(b"HTTP"), "the third is closed");
    drop(held);
    node.wait_for("a place that is free again", |_| {
        crate::http::exchange(address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .starts_with(b"HTTP")
            .then_some(())
    });
}

#[test]
fn secure_websocket_carries_libp2p() {
    let world = World::new();
    let roots = issue(&world);
    let network = "[network]\nlocal_network = true\nlisten = [\"/ip4/127.0.0.1/tcp/0/tls/ws\"]\n";
    let network = format!("{network}[network.secure_websocket]\n{}", files(&world));
    let node = world.node("data", &network);
    let port = node.addresses[0].split('/').nth(4).unwrap();
    let address = format!("127.0.0.1:{port}").parse().unwrap();

    let mut stream = connect(address, &roots, "edge.example", &[]);
    let upgrade = "GET / HTTP/1.1\r\nhost: edge.example\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    // The key's answer is that of RFC 6455, 1.3.
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");

    // A binary frame, masked by zeros as clients must, and the one that answers it.
    let multistream = b"\x13/multistream/1.0.0\n";
    stream.write_all(&[0x82, 0x80 | 20, 0, 0, 0, 0]).unwrap();
    stream.write_all(multistream).unwrap();
    let mut frame = [0; 22];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!((&frame[..2], &frame[2..]), ([0x82, 20].as_slice(), multistream.as_slice()));
}

#[test]
fn certificate_that_cannot_be_used_is_named() {
    let world = World::new();
    issue(&world);
    fs::write(world.path("other.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    fs::write(world.path("empty.pem"), "").unwrap();
    let check = |certificate: &str, key: &str, expect: &str| {
        let (certificate, key) = (world.path(certificate), world.path(key));
        let tls = format!("[edge.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
        let config = world.config("data", &tls);
        let output = blackhole(&["node", "run", "--config", config.to_str().unwrap()]).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output).contains(expect), "{:?} lacks {expect:?}", text(&output));
    };
    check("missing.pem", "edge.key", "missing.pem holds no PEM certificate chain");
    check("empty.pem", "edge.key", "empty.pem holds no PEM certificate chain");
    check("edge.pem", "edge.pem", "edge.pem holds no PEM private key");
    check("edge.pem", "other.key", "do not belong together");
}
