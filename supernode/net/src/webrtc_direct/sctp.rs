//! SCTP over one session, by str0m's own crate, read at the pace of its readers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event, Payload, ServerConfig,
    Stream, StreamId, TransportConfig,
};

use super::framing::FRAME_BYTES_MAX;

/// SCTP's addresses mean nothing inside DTLS; every packet is from here.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// User data in a packet, so that with SCTP's and DTLS's headers (28 and 37 bytes) a datagram
/// stays at the 1,200 bytes that every path carries.
const PAYLOAD_BYTES: u32 = 1_132;

/// DATA, the first chunk type (RFC 9260, 3.2), and where the first chunk begins.
const CHUNK_DATA: u8 = 0;
const FIRST_CHUNK: usize = 12;

/// What all sessions of a listener share: the configuration.
#[derive(Debug, Clone)]
pub(super) struct SctpConfig {
    endpoint: Arc<EndpointConfig>,
    server: Arc<ServerConfig>,
    receive_window_bytes: usize,
}

impl SctpConfig {
    pub(super) fn new(receive_window_bytes: u32) -> Self {
        let mut endpoint = EndpointConfig::default();
        endpoint.max_payload_size(PAYLOAD_BYTES);
        let mut server = ServerConfig::default();
        let message_bytes = u32::try_from(FRAME_BYTES_MAX).unwrap_or(u32::MAX);
        server.transport = Arc::new(
            TransportConfig::default()
                .with_max_receive_buffer_size(receive_window_bytes)
                .with_max_receive_message_size(message_bytes)
                .with_max_send_message_size(message_bytes)
                // Liveness is ICE's business; SCTP gives up when the session does.
                .with_max_init_retransmits(None)
                .with_max_data_retransmits(None)
                .with_rto_initial_ms(1_000)
                .with_rto_min_ms(300)
                .with_rto_max_ms(5_000),
        );
        Self {
            endpoint: Arc::new(endpoint),
            server: Arc::new(server),
            receive_window_bytes: receive_window_bytes as usize,
        }
    }
}

/// The association of a session, once the remote has begun one.
#[derive(Debug)]
pub(super) struct Sctp {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    receive_window_bytes: usize,
    /// Streams with messages that nobody has read yet.
    waiting_streams: usize,
    /// About how many bytes they are; never less than they are.
    waiting_bytes: usize,
    /// The newest packet with data, once the remote may have seen our window close.
    closed_window: Option<Bytes>,
}

impl Sctp {
    pub(super) fn new(config: &SctpConfig) -> Self {
        Self {
            endpoint: Endpoint::new(config.endpoint.clone(), Some(config.server.clone())),
            association: None,
            receive_window_bytes: config.receive_window_bytes,
            waiting_streams: 0,
            waiting_bytes: 0,
            closed_window: None,
        }
    }

    pub(super) fn association(&mut self) -> Option<&mut Association> {
        self.association.as_mut().map(|(_, association)| association)
    }

    pub(super) fn stream(&mut self, id: StreamId) -> Option<Stream<'_>> {
        self.association()?.stream(id).ok()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout())
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, packet: Bytes) {
        if self.waiting_streams > 0 && packet.get(FIRST_CHUNK) == Some(&CHUNK_DATA) {
            self.waiting_bytes += packet.len();
            if self.waiting_bytes > self.receive_window_bytes / 2 {
                self.closed_window = Some(packet.clone());
            }
        }
        match self.endpoint.handle(now, NOWHERE, None, None, packet) {
            // A second association is no part of WebRTC: some resend their first packet.
            Some((handle, DatagramEvent::NewAssociation(association))) if self.association.is_none() => {
                self.association = Some((handle, association));
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((ours, association)) = &mut self.association
                    && *ours == handle
                {
                    association.handle_event(event);
                }
            }
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((handle, association)) = &mut self.association {
            association.handle_timeout(now);
            while let Some(event) = association.poll_endpoint_event() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    association.handle_event(event);
                }
            }
        }
    }

    /// A stream has messages that its reader does not take yet.
    pub(super) fn handle_waiting(&mut self) {
        self.waiting_streams += 1;
    }

    /// A stream that had messages waiting has none any more.
    pub(super) fn handle_caught_up(&mut self, now: Instant) {
        self.waiting_streams = self.waiting_streams.saturating_sub(1);
        if self.waiting_streams == 0 {
            self.waiting_bytes = 0;
            self.open_window(now);
        }
    }

    /// A waiting message was read.
    pub(super) fn handle_read(&mut self, bytes: usize, now: Instant) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        if self.waiting_bytes < self.receive_window_bytes / 4 {
            self.open_window(now);
        }
    }

    /// Tells a remote that saw our window close that it is open again.
    ///
    /// SCTP has no message for that, and the crate none of its own: without it the remote finds
    /// out by probing, after seconds. But a packet that arrives twice is acknowledged at once
    /// (RFC 9260, 6.2), and every acknowledgement carries the window. So it arrives twice.
    fn open_window(&mut self, now: Instant) {
        if let Some(packet) = self.closed_window.take() {
            self.handle_datagram(now, packet);
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.association()?.poll()
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        let transmit = match self.endpoint.poll_transmit() {
            Some(transmit) => transmit,
            None => self.association()?.poll_transmit(now)?,
        };
        match transmit.payload {
            Payload::RawEncode(packets) => Some(packets),
            Payload::PartialDecode(_) => None,
        }
    }
}
