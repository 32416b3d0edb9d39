//! What the core asks its shell to do, and how the shell reports it.

use core::fmt;

use crate::{
    base::{BlobRoot, EffectId, LinkId, RequestId},
    cdn::{
        blob::{BlobShape, VerifyError},
        offences::Offence,
        part::{Part, Piece, Run},
    },
    identity::PublicKey,
};

/// A stream of a link, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// The one control stream. The link's dialer opens it.
    Control,
    /// The bulk stream that we opened: our requests go out, answers come in.
    Fetch,
    /// The bulk stream that the remote opened: its requests come in, our answers go out.
    Serve,
}

/// Work for the shell. Those with an effect id are reported exactly once, by `Peer::handle_done` where
/// nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write `frame` (without length prefix) on the stream. On a closed link: drop it.
    Transmit {
        /// Where to.
        link: LinkId,
        /// On which stream.
        stream: Stream,
        /// One message.
        frame: Vec<u8>,
    },
    /// Ask a peer: remember what the request is for, then write `frame` on the link's Fetch stream, opening it
    /// first (with its `Open` frame) if it is not open yet. Each piece that comes is verified, stored and
    /// reported by `Peer::handle_received`; a `BulkEnd` goes to `Peer::handle_frame` on [`Stream::Fetch`].
    Request {
        /// Whom to ask.
        link: LinkId,
        /// The id that answers repeat.
        request: RequestId,
        /// The blob.
        root: BlobRoot,
        /// Its geometry.
        shape: BlobShape,
        /// What of it.
        part: Part,
        /// The message.
        frame: Vec<u8>,
    },
    /// Read the part from the store and write its pieces, in order, on the link's Serve stream. Done: `Served`,
    /// or `Failed` where the store could not deliver; the core then tells the peer.
    Serve {
        /// For the report.
        effect: EffectId,
        /// Whom to serve.
        link: LinkId,
        /// The id to repeat in each `BulkPiece`.
        request: RequestId,
        /// The blob.
        root: BlobRoot,
        /// Its geometry.
        shape: BlobShape,
        /// What of it.
        part: Part,
    },
    /// Stop that `Serve` before its next piece. It is still reported, with the bytes that went out.
    CancelServe {
        /// Which.
        effect: EffectId,
    },
    /// GET the run by one request, of the origin without hashes. Verify, store and report each piece as it comes
    /// by `Peer::handle_received`. Bytes whose hash page is not here yet are held back, at best by not reading
    /// on: the page was asked for before. Done: `HttpFinished` or `Failed`.
    FetchHttp {
        /// For the report.
        effect: EffectId,
        /// From where.
        source: HttpSource,
        /// The blob.
        root: BlobRoot,
        /// Its geometry.
        shape: BlobShape,
        /// What of it; groups may number more than in a request to a peer.
        run: Run,
    },
    /// Abort that fetch. It is still reported, as `Cancelled`, or as finished if it already was.
    CancelHttp {
        /// Which.
        effect: EffectId,
    },
    /// Begin a direct connection, and find out how we are reached on it: by an offer, or by the answer to a remote's
    /// offer. Report `Peer::handle_described`. A connection that answers waits for the remote: report
    /// `Peer::handle_linked` or `Peer::handle_dial_failed` of it too.
    Describe {
        /// For the report, and for what follows.
        effect: EffectId,
        /// Whom it answers, and the remote's description. Untrusted.
        offer: Option<(PublicKey, String)>,
    },
    /// An offer was answered: connect. Report `Peer::handle_linked` or `Peer::handle_dial_failed`.
    Connect {
        /// The `Describe` that made the offer.
        effect: EffectId,
        /// Who answers.
        peer: PublicKey,
        /// The remote's description. Untrusted.
        description: String,
    },
    /// An offer leads nowhere: let go of its connection.
    Forget {
        /// The `Describe` that made the offer.
        effect: EffectId,
    },
    /// Close the link, after what was transmitted before. Report `Peer::handle_unlinked` when it is gone.
    Disconnect {
        /// Which.
        link: LinkId,
        /// Why.
        reason: DisconnectReason,
    },
}

/// How we are reached on a connection that is coming about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// SDP (RFC 8829), with its candidates.
    pub sdp: String,
    /// Whether servers at two places saw us at two addresses: our translator has one for each whom we call.
    pub hard: bool,
}

/// Why we close a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DisconnectReason {
    /// The peer broke the protocol.
    Offence(Offence),
    /// As many links as we may have, and this is not one of the better ones.
    TooMany,
    /// Another link to the same peer is in use.
    Duplicate,
    /// The remote is ourselves.
    Ourselves,
    /// The peer was cut before and its sentence has not ended.
    CutBefore,
}

/// A plain HTTP source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HttpSource {
    /// The supernode's edge.
    Edge,
    /// The publisher's origin.
    Origin,
}

/// How an effect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// A `Serve` ended; so many payload bytes went out. Fewer than asked for where it was cancelled.
    Served {
        /// Payload bytes.
        bytes: u64,
    },
    /// A `FetchHttp` delivered all it was asked for.
    HttpFinished,
    /// It was cancelled.
    Cancelled,
    /// It could not be done.
    Failed,
}

/// A piece came, was verified against its blob's hashes and, where good, stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// From where.
    pub source: Source,
    /// Of which blob.
    pub root: BlobRoot,
    /// Which piece.
    pub piece: Piece,
    /// Payload bytes.
    pub bytes: u64,
    /// What came of it.
    pub verdict: Verdict,
}

/// Where a piece came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A peer, answering a request.
    Link(LinkId, RequestId),
    /// A `FetchHttp`.
    Http(EffectId),
}

/// What the shell found of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Verified and stored.
    Good,
    /// It does not verify. [`VerifyError::Unknown`] is no fault of the sender's; the piece is fetched again.
    Bad(VerifyError),
    /// It could not be stored: disk or quota. The fetch falls back.
    NotStored,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Fetch => "fetch",
            Self::Serve => "serve",
        })
    }
}
