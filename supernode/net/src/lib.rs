//! The supernode's network: libp2p, and the only crate that speaks to it.
//!
//! ```text
//!   Network (handle) ──commands──► Driver (one task) ── Swarm ── TCP · QUIC · WebSocket · relay
//!        ▲                            │  ▲
//!        └── addresses, adverts ◄─────┘  └─ decisions of `shared::coordination`
//!   links::Events, links::Control ◄──────── streams of the Blackhole protocol
//! ```
//!
//! Promises: every table and queue is bounded (`config`, and constants beside their use); a peer
//! id, an address or a record that a remote invents cannot push out what is there; on the internet
//! this node never dials a private address on a stranger's word.
//!
//! Not here: what is said on the streams (the services'), and who is trusted with what.

mod address;
mod behaviour;
mod clock;
mod config;
mod dht;
mod driver;
mod gossip;
mod lean;
mod listen;
mod metrics;
mod multiplex;
mod network;
mod relay;
mod security;
mod sockets;
mod source_limit;
mod transport;
pub mod webrtc_direct;
mod websocket;

pub use address::{AddressError, DialAddress, ListenAddress, ListenKind, stun_endpoint};
pub use config::{Config, ConnectionLimits, RecordLimits, RelayLimits, SecureWebSocket};
pub use driver::{DialFailed, Gossiped, PublishFailed};
pub use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
pub use network::{Network, NetworkStatus, Stopped};
