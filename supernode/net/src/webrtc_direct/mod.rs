//! `/webrtc-direct`: browsers reach a supernode that has no name and no TLS certificate.
//!
//! The server half of libp2p's WebRTC Direct, as a libp2p [`Transport`]. One UDP socket carries
//! every session; the listen address names the hash of a self-signed certificate, so whoever knows
//! the address can check it, and Noise binds both certificates to the two peer ids.
//!
//! ```text
//!   datagram ─► Driver ─┬─ STUN ──► answered (ICE-lite), tells which session an address is
//!    (one task a socket)│
//!                       └─ DTLS ──► Session ─► SCTP ─► Channel ─► Substream (AsyncRead/AsyncWrite)
//!                                      ▲                              │
//!                                      └──── the same lock ◄──────────┘
//! ```
//!
//! A session is a state machine behind a lock, without a task and without queues of its own: the
//! driver feeds it datagrams, substreams read and write it directly. What a substream does not
//! read stays inside SCTP, so the receive window the remote sees *is* the reader's pace; what it
//! may write is bounded by a window that follows the path. That is why the session is built on
//! str0m's parts (its STUN, its DTLS, its SCTP crate) and not on its `Rtc`: `Rtc` takes every
//! message out of SCTP as it arrives and can neither pause a sender nor forget the media half,
//! which weighs more than a quiet session may.
//!
//! Promises: hostile datagrams cost little and never panic; every map, queue and wait is bounded
//! (see [`Limits`]); a reader that pauses loses nothing; a session that is refused or cut has a
//! name for it in [`Stats`] or [`CloseReason`].
//!
//! Not here: dialling. Supernodes dial each other by QUIC and TCP; browsers cannot be dialled.

mod admission;
mod allowance;
mod certificate;
mod channel;
mod dcep;
mod driver;
mod framing;
mod limits;
mod muxer;
mod sctp;
mod session;
mod state;
mod stats;
mod stun;
mod substream;
mod transport;
mod upgrade;
mod window;
mod wire;

pub use certificate::{Certificate, CertificateError};
pub use limits::Limits;
pub use muxer::Connection;
pub use session::CloseReason;
pub use stats::Stats;
pub use substream::Substream;
pub use transport::{Error, Transport};
