//! Counters. They count payload that a receiver verified, never what a sender claims.

/// Verified payload bytes by where they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceBytes {
    /// Other tabs.
    pub peers: u64,
    /// Supernodes, over a link.
    pub supernodes: u64,
    /// A supernode's HTTP edge.
    pub edge: u64,
    /// The publisher's origin.
    pub origin: u64,
}

impl SourceBytes {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.peers + self.supernodes + self.edge + self.origin
    }

    /// What infrastructure sent: everything but peers.
    pub const fn infrastructure(self) -> u64 {
        self.supernodes + self.edge + self.origin
    }
}

/// Bytes asked of plain HTTP, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedBytes {
    /// No neighbour shares what is wanted.
    pub alone: u64,
    /// Our share of what a neighbourhood wants.
    pub share: u64,
    /// A neighbour's share that it did not take up.
    pub spare: u64,
    /// Neighbours had it, and nothing came for too long.
    pub late: u64,
    /// Neighbours have it, and deliver less than HTTP does.
    pub behind: u64,
}

/// What a peer moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meters {
    /// Verified bytes received, by source; groups, hash pages and tops.
    pub received: SourceBytes,
    /// Payload asked of plain HTTP, by the reason.
    pub asked: AskedBytes,
    /// Bytes received that did not verify, or that were here already.
    pub wasted: u64,
    /// Payload bytes sent to peers.
    pub sent: u64,
    /// What receivers signed for, of those sent.
    pub receipted: u64,
    /// What we signed for, of those received over links and from a supernode's edge.
    pub signed_for: u64,
    /// Control messages received and sent.
    pub messages_in: u64,
    /// Control messages sent.
    pub messages_out: u64,
    /// Messages of joining: Hello, AskPeers, Peers, Offer and Answer, both ways, those passed on for others too.
    pub signalling: u64,
    /// Requests of others that were refused.
    pub refused: u64,
    /// Peers cut.
    pub cut: u64,
}
