//! Listens to all that this machine's network carries, and puts streams together again.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketType, eth, recv, socket,
        sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout},
    },
};

/// What waits for a reader that the machine keeps from reading.
const BUFFER_BYTES: usize = 256 << 20;
/// The longest frame on loopback, and a little.
const FRAME_BYTES: usize = 128 * 1024;
/// After so long without a frame it is asked whether to go on.
const PAUSE: Duration = Duration::from_millis(50);

/// The ports of both ends, and all bytes that went from the first to the second.
pub(crate) type Stream = ([u16; 2], Vec<u8>);

/// A running recording.
pub(crate) struct Recorder {
    ended: Arc<AtomicBool>,
    recording: JoinHandle<Vec<Stream>>,
}

impl Recorder {
    /// Listens from now on. Needs the right to, as who made this network namespace has it.
    pub(crate) fn begin() -> Self {
        let raw =
            socket(AddressFamily::PACKET, SocketType::RAW, Some(eth::ALL)).expect("the right to listen");
        set_socket_recv_buffer_size_force(&raw, BUFFER_BYTES).expect("the right to a large buffer");
        set_socket_timeout(&raw, Timeout::Recv, Some(PAUSE)).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        Self { ended, recording: std::thread::spawn(move || record(&raw, &flag)) }
    }

    /// All streams, each without a gap. What is no stream is one by itself, with ports 0.
    pub(crate) fn end(self) -> Vec<Stream> {
        self.ended.store(true, Ordering::Relaxed);
        self.recording.join().unwrap()
    }
}

/// One direction of a connection.
struct Flow {
    /// The number of its first byte.
    first: u32,
    bytes: Vec<u8>,
    /// What came before its turn, by its place.
    early: BTreeMap<usize, Vec<u8>>,
}

impl Flow {
    fn new(first: u32) -> Self {
        Self { first, bytes: Vec::new(), early: BTreeMap::new() }
    }

    /// Takes a segment; each is seen twice on loopback, as it goes out and as it comes in.
    fn take(&mut self, number: u32, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        let place = usize::try_from(number.wrapping_sub(self.first)).unwrap();
        self.early.insert(place, payload.to_vec());
        while let Some(next) = self.early.first_entry().filter(|next| *next.key() <= self.bytes.len()) {
            let (place, payload) = next.remove_entry();
            let known = self.bytes.len() - place;
            self.bytes.extend_from_slice(payload.get(known..).unwrap_or_default());
        }
    }
}

fn record(raw: &OwnedFd, ended: &AtomicBool) -> Vec<Stream> {
    let mut frame = vec![0; FRAME_BYTES];
    let mut flows: BTreeMap<Ends, Flow> = BTreeMap::new();
    let (mut over, mut rest) = (Vec::new(), Vec::new());
    loop {
        match recv(raw, &mut frame[..], RecvFlags::empty()) {
            Ok((_, length)) => match segment(&frame[..length]) {
                Some(Segment { ends, begins, number, payload }) => {
                    let flow = flows.entry(ends).or_insert_with(|| Flow::new(number));
                    if begins && flow.first != number {
                        // The same ports again.
                        over.push((ends, std::mem::replace(flow, Flow::new(number))));
                    }
                    flow.take(number, payload);
                }
                None => rest.extend_from_slice(&frame[..length]),
            },
            Err(Errno::AGAIN | Errno::INTR) if ended.load(Ordering::Relaxed) => break,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => panic!("listening: {error}"),
        }
    }
    let streams = over.into_iter().chain(flows).map(|((.., ports), flow)| {
        assert!(flow.early.is_empty(), "of the wire between {ports:?} something was missed");
        (ports, flow.bytes)
    });
    streams.chain([([0, 0], rest)]).collect()
}

type Ends = (Ipv4Addr, Ipv4Addr, [u16; 2]);

/// Part of a stream of TCP.
struct Segment<'a> {
    ends: Ends,
    /// Whether it begins a stream.
    begins: bool,
    /// Of its first byte of payload.
    number: u32,
    payload: &'a [u8],
}

/// What a frame is, if it is that.
fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    const ETHERNET_BYTES: usize = 14;
    const IPV4: &[u8] = &[0x08, 0x00];
    const TCP: u8 = 6;
    const SYN: u8 = 2;
    let packet = frame.get(ETHERNET_BYTES..).filter(|_| &frame[12..14] == IPV4)?;
    let head = 4 * usize::from(packet.first()? & 15);
    let length = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let packet = packet.get(..length).filter(|packet| packet.len() > head && packet[9] == TCP)?;
    let address =
        |at: usize| packet.get(at..at + 4).map(|bytes| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]));
    let (from, to, tcp) = (address(12)?, address(16)?, packet.get(head..)?);
    let port = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
    let number = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let payload = tcp.get(4 * usize::from(tcp.get(12)? >> 4)..)?;
    let begins = tcp[13] & SYN != 0;
    let number = number.wrapping_add(u32::from(begins));
    Some(Segment { ends: (from, to, [port(0)?, port(2)?]), begins, number, payload })
}
