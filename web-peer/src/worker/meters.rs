//! What `status()` shows.

use serde::Serialize;
use shared::peer::AskedBytes;

/// Reasons that are remembered; there are fewer names than this.
const REASONS_MAX: usize = 32;

/// Bytes by where they came from.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Bytes {
    /// Infrastructure: edge and origin together.
    pub(super) http: f64,
    /// From the supernode, by HTTP or over a link.
    pub(super) edge: f64,
    pub(super) origin: f64,
    /// Verified, from other tabs.
    pub(super) peers: f64,
    /// Given to the page from what was here.
    pub(super) cache: f64,
    /// The part of `edge` that came over a link.
    pub(super) supernode: f64,
    /// Given to other tabs.
    pub(super) uploaded: f64,
    /// Received from anyone and thrown away, because it did not verify or was here already.
    pub(super) wasted: f64,
    /// Why plain HTTP was asked for what it was asked for.
    pub(super) asked: Asked,
}

/// Bytes asked of plain HTTP by the reason; see `shared::peer::AskedBytes`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Asked {
    alone: f64,
    share: f64,
    spare: f64,
    late: f64,
    behind: f64,
}

impl Asked {
    #[expect(clippy::cast_precision_loss, reason = "counts for people")]
    pub(super) fn of(asked: AskedBytes) -> Self {
        let AskedBytes { alone, share, spare, late, behind } = asked;
        let [alone, share, spare, late, behind] =
            [alone, share, spare, late, behind].map(|bytes| bytes as f64);
        Self { alone, share, spare, late, behind }
    }
}

/// The whole status, as far as the worker knows it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) bytes: Bytes,
    /// Other tabs linked.
    pub(super) peers: u32,
    /// Other tabs heard of so far.
    pub(super) known: u32,
    /// Whether others can reach us: a relay holds a place for us.
    pub(super) reachable: bool,
    pub(super) supernodes: u32,
    pub(super) site: String,
    pub(super) sequence: f64,
    pub(super) peer_id: String,
    pub(super) leader: bool,
    pub(super) stored_bytes: f64,
    /// Whole blobs that this tab can give to others.
    pub(super) complete: u32,
    pub(super) reasons: Vec<String>,
}

impl Status {
    pub(super) fn add_reason(&mut self, reason: &str) {
        if self.reasons.len() < REASONS_MAX && !self.reasons.iter().any(|known| known == reason) {
            self.reasons.push(reason.to_owned());
        }
    }
}
