//! The tab's network: libp2p in a dedicated worker.
//!
//! A tab has one supernode or a few by WebSocket (or `/webrtc-direct` where the supernode has no
//! name), is reachable through a reservation there, and has direct WebRTC connections to other tabs.
//! Kademlia and GossipSub stay with the supernode: a tab asks it.

#[cfg(all(feature = "interop", target_family = "wasm"))]
mod interop;
#[cfg(target_family = "wasm")]
mod network;
#[cfg(target_family = "wasm")]
mod ping;
pub mod rtc;
#[cfg(target_family = "wasm")]
mod socket;
#[cfg(target_family = "wasm")]
mod swarm;

#[cfg(target_family = "wasm")]
pub use network::{Config, DialFailed, Event, Events, ListenFailed, Network};
