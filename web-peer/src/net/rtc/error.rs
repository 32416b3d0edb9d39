//! Why a connection to another peer did not come about, or ended.

/// Every way in which reaching a peer over WebRTC fails. [`Error::reason`] is stable, for counting;
/// the text is for people.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Neither `…/webrtc-direct/certhash/…` nor `…/p2p-circuit/webrtc/p2p/…`.
    #[error("the address is not complete: {0}")]
    Address(&'static str),
    /// As many neighbours as a tab keeps are connected already.
    #[error("the tab has as many connections as it keeps")]
    TooManyConnections,
    /// The peer could not be reached through the relay.
    #[error("no relayed connection to the peer: {0}")]
    RelayUnreachable(String),
    /// The peer answers, but does not speak `/webrtc-signaling`.
    #[error("the peer does not speak the signalling protocol")]
    SignallingRefused,
    /// The signalling stream or its connection ended early.
    #[error("the signalling stream ended early: {0}")]
    SignallingLost(String),
    /// The peer broke the signalling protocol or one of its bounds.
    #[error("the peer broke the signalling protocol: {0}")]
    SignallingMalformed(&'static str),
    /// The one deadline of the whole upgrade passed.
    #[error("no connection within the deadline")]
    Timeout,
    /// Both sides tried every pair of addresses; none carried a packet.
    #[error("no path between the two peers")]
    IceFailed,
    /// The browser refused; its own words.
    #[error("the browser refused: {0}")]
    Browser(String),
    /// The remote's certificate or key is not the one its address promised.
    #[error("the remote could not prove who it is: {0}")]
    Handshake(String),
    /// The connection, or the page that owned it, is gone.
    #[error("the connection was closed")]
    Closed,
}

impl Error {
    /// A short stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::TooManyConnections => "too-many-connections",
            Self::RelayUnreachable(_) => "relay-unreachable",
            Self::SignallingRefused => "signalling-refused",
            Self::SignallingLost(_) => "signalling-lost",
            Self::SignallingMalformed(_) => "signalling-malformed",
            Self::Timeout => "timeout",
            Self::IceFailed => "ice-failed",
            Self::Browser(_) => "browser",
            Self::Handshake(_) => "handshake",
            Self::Closed => "closed",
        }
    }

    /// The page's word for a failure.
    pub(super) fn from_page(reason: &str) -> Self {
        match reason {
            "too-many-connections" => Self::TooManyConnections,
            "ice-failed" => Self::IceFailed,
            "closed" => Self::Closed,
            other => Self::Browser(other.to_owned()),
        }
    }
}
