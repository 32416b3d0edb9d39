//! WebRTC for a tab: a libp2p transport whose connections live on the page.
//!
//! Promises: a tab reaches a server at `/webrtc-direct` and another tab at `/webrtc`, and is reached
//! by any peer that speaks libp2p's WebRTC specifications. Streams have flow control: a writer waits
//! for the path, a reader that pauses loses nothing. A failed attempt has a name and costs nothing
//! else.
//!
//! ```text
//!             Behaviour ── relayed connection, signalling stream
//!                 ▲ │
//!                 │ ▼
//! swarm ───► Transport ──► signalling · direct · arranged ──► Connection ──► Stream
//!                              │                       │             │ Lifecycle, Window, framing
//!                              ▼                       ▼             ▼
//!                             Page (port) ═══════► RTCPeerConnection ┈┈ RTCDataChannel (transferred)
//! ```
//!
//! Non-goals: ICE, DTLS and SCTP, which are the browser's.

mod arranged;
mod behaviour;
mod channel;
mod connection;
mod direct;
mod error;
mod framing;
mod handler;
mod lifecycle;
mod page;
mod signalling;
mod stream;
mod transport;
mod window;

use futures::channel::mpsc;
use libp2p_identity::Keypair;
use web_sys::MessagePort;

pub use arranged::{Arranger, Offered};
pub use behaviour::Behaviour;
pub use connection::Connection;
pub use error::Error;
pub use framing::FrameError;
pub use lifecycle::StreamError;
pub use stream::Stream;
pub use transport::{Transport, Upgrade, arranged_peer};

/// Upgrades that wait between transport and behaviour. Each would become a connection, of which
/// there are at most [`page::CONNECTIONS_MAX`]; whoever comes on top is refused or waits.
const PENDING_MAX: usize = page::CONNECTIONS_MAX;

/// The transport, its companion in the same swarm, and what arranges connections for it. `port` leads to `serveRtc` on
/// the page.
#[must_use]
pub fn new(port: MessagePort, keypair: Keypair) -> (Transport, Behaviour, Arranger) {
    let (request_sender, requests) = mpsc::channel(PENDING_MAX);
    let (notice_sender, notices) = mpsc::channel(PENDING_MAX);
    let (page, accepted) = (page::Page::new(port), arranged::Accepted::default());
    let arranger = Arranger::new(page.clone(), accepted.clone(), notice_sender.clone());
    let transport = Transport::new(page, keypair, request_sender, notices, accepted);
    (transport, Behaviour::new(requests, notice_sender), arranger)
}
