//! Garbage on every port of the network: it is dropped, others are served, and nothing grows.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
};

use crate::{
    process::{Node, PATIENCE, World},
    publishing::bytes,
};

/// What multistream-select opens with, both ways.
const MULTISTREAM: &[u8] = b"\x13/multistream/1.0.0\n";
/// Connections, or datagrams, of each kind of garbage.
const TIMES: usize = 40;
/// Garbage leaves nothing behind; this is what handling it may have touched of the process's memory.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

const NETWORK: &str = "[network]
local_network = true
listen = [
    \"/ip4/127.0.0.1/tcp/0\",
    \"/ip4/127.0.0.1/tcp/0/ws\",
    \"/ip4/127.0.0.1/udp/0/quic-v1\",
    \"/ip4/127.0.0.1/udp/0/webrtc-direct\",
]
";

impl Node {
    /// The socket address of the listener whose multiaddress holds `part`.
    fn listener(&self, part: &str) -> SocketAddr {
        let address = self.addresses.iter().find(|address| address.contains(part)).expect(part);
        let port = address.split('/').nth(4).unwrap();
        format!("127.0.0.1:{port}").parse().unwrap()
    }

    fn plain_tcp(&self) -> SocketAddr {
        let is_plain = |address: &&String| address.contains("/tcp/") && !address.contains("/ws");
        let address = self.addresses.iter().find(is_plain).unwrap();
        format!("127.0.0.1:{}", address.split('/').nth(4).unwrap()).parse().unwrap()
    }
}

fn garbage() -> Vec<Vec<u8>> {
    let mut random = bytes(9, 70_000);
    // No accidental beginning of anything.
    random[0] = 0xff;
    let mut endless = MULTISTREAM.to_vec();
    endless.extend_from_slice(&[0xff; 60_000]);
    let mut noise = MULTISTREAM.to_vec();
    noise.extend_from_slice(b"\x07/noise\n");
    noise.extend_from_slice(&[0xff; 65_537]);
    let mut tls = MULTISTREAM.to_vec();
    tls.extend_from_slice(b"\x0b/tls/1.0.0\n");
    // A handshake's record that says it has 16 KiB.
    tls.extend_from_slice(b"\x16\x03\x01\x40\x00");
    tls.extend_from_slice(&[0xff; 70_000]);
    let upgrade = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // A frame that says it has 2^63 - 1 bytes.
    let huge_frame = [upgrade.as_slice(), b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"].concat();
    vec![
        random,
        endless,
        noise,
        tls,
        huge_frame,
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100),
        // A STUN request without anything in it, and one whose length is a lie.
        [b"\x00\x01\x00\x00\x21\x12\xa4\x42".as_slice(), &[7; 12]].concat(),
        [b"\x00\x01\xff\xff\x21\x12\xa4\x42".as_slice(), &[7; 12]].concat(),
        // A QUIC initial of a version nobody has.
        [b"\xc0\xba\xba\xba\xba\x08".as_slice(), &[1; 1194]].concat(),
        [b"\xc0\x00\x00\x00\x01\x08".as_slice(), &[1; 1194]].concat(),
        Vec::new(),
    ]
}

fn speaks_multistream(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(MULTISTREAM).unwrap();
    let mut answer = [0; MULTISTREAM.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, MULTISTREAM);
}

#[test]
fn garbage_on_every_port_is_dropped_and_others_are_served() {
    let world = World::new();
    let node = world.node("data", NETWORK);
    let web = node.listener("/ws");
    let datagrams = [node.listener("/quic-v1"), node.listener("/webrtc-direct")];
    let before = node.resident_kib();
    for garbage in garbage() {
        for _ in 0..TIMES {
            for address in [node.plain_tcp(), web, node.address] {
                let mut stream = TcpStream::connect(address).unwrap();
                // The other side may have heard enough before the end.
                let _ = stream.write_all(&garbage);
            }
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            for address in datagrams {
                for datagram in garbage.chunks(1400) {
                    let _ = socket.send_to(datagram, address);
                }
            }
        }
        assert_eq!(node.get("/healthz").text(), "ok\n");
        speaks_multistream(node.plain_tcp());
    }
    let grown = node.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more after garbage");
}
