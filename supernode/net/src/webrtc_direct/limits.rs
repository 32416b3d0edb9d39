//! The bounds of a transport, each with the reason for its default.

use std::time::Duration;

/// What a transport allows, over all its listeners. Everything a stranger can make grow is bounded here.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions alive, handshakes included. Memory is the reason: a quiet session
    /// costs tens of kilobytes.
    pub sessions: usize,
    /// Handshakes under way: each may cost a signature and a key exchange.
    pub handshakes: usize,
    /// Sessions alive from one source (an IPv4 address, an IPv6 /64). Offices share an address.
    pub sessions_per_source: usize,
    /// Handshakes under way from one source.
    pub handshakes_per_source: usize,
    /// From the first datagram to a proven peer id; no half-open session lives longer.
    pub handshake_timeout: Duration,
    /// A session whose remote is not heard for this long is gone. Browsers check consent by STUN
    /// every few seconds and give up after 30 s themselves (RFC 7675).
    pub idle_timeout: Duration,
    /// Streams open at once in a session, each way. Chromium has 1,024 stream ids in all.
    pub streams: usize,
    /// Bytes that may wait inside SCTP for readers; what the remote sees as our receive window.
    /// 512 KiB carries 60 Mbit/s at 60 ms.
    pub receive_window_bytes: u32,
    /// Smallest and largest number of bytes written but not yet acknowledged, a session.
    pub send_window_bytes: (usize, usize),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 4_096,
            handshakes: 256,
            sessions_per_source: 256,
            handshakes_per_source: 32,
            handshake_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
            streams: 256,
            receive_window_bytes: 512 * 1024,
            // SCTP's cost grows with its queue, so the window starts small and grows by need.
            send_window_bytes: (32 * 1024, 2 * 1024 * 1024),
        }
    }
}
