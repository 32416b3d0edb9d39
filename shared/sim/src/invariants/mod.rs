//! What must hold in every run, whatever goes wrong. One file each.
//!
//! An invariant sees every fact about every lawful node while faults are on (safety), and speaks once more after the
//! network was healed and had time to finish (liveness).

mod answered;
mod bounded;
mod budget;
mod fallback;
pub(crate) mod quiet;
mod receipts;
mod verified;

use core::fmt;

use shared::{
    base::{BlobRoot, EffectId, Instant},
    cdn::{offences::Offence, part::Piece},
    peer::{Event, FetchId, Verdict},
};

use crate::{node::NodeId, world::World};

/// Something that is true of a node at this moment.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// It began a life.
    Started,
    /// It ended one.
    Stopped,
    /// Its user wants something fetched.
    Commanded(FetchId),
    /// Its user allows so many bytes upwards from now on.
    Budgeted(u64),
    /// Its machine told its user something; of what it said to hold, the store does or does not.
    Told {
        /// What.
        event: &'a Event,
        /// Whether the store bears it out, byte for byte.
        held: bool,
    },
    /// Its machine asked for work that has to be reported.
    Asked(EffectId),
    /// That work was reported.
    Done(EffectId),
    /// A piece was judged.
    Judged {
        /// The peer it came from; nobody for HTTP.
        from: Option<NodeId>,
        /// Whether a supernode's edge gave it.
        edge: bool,
        /// The blob.
        root: BlobRoot,
        /// The piece.
        piece: Piece,
        /// Its length.
        bytes: u64,
        /// The verdict.
        verdict: Verdict,
        /// Whether it was held already.
        again: bool,
    },
    /// A peer broke the rules of a stream.
    Misbehaved {
        /// Which.
        from: NodeId,
        /// How.
        offence: Offence,
    },
    /// Payload left for a peer.
    Sent {
        /// Which.
        to: NodeId,
        /// How much.
        bytes: u64,
    },
    /// Its queues were looked at.
    Looked {
        /// Whether it is a tab.
        is_tab: bool,
        /// Messages waiting for its line.
        backlog: usize,
        /// Links.
        links: usize,
        /// Requests of peers under way.
        serving: usize,
        /// HTTP requests under way.
        fetching: usize,
    },
}

/// A rule that every run keeps.
pub trait Invariant {
    /// Its name, for the report.
    fn name(&self) -> &'static str;

    /// A fact about a lawful node.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn observe(&mut self, now: Instant, node: NodeId, fact: &Fact<'_>) -> Result<(), String>;

    /// The end of a healed run.
    ///
    /// # Errors
    /// What is wrong, and with whom.
    fn conclude(&mut self, world: &World) -> Result<(), (Option<NodeId>, String)>;
}

/// All rules.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(verified::Verified),
        Box::new(answered::Answered::default()),
        Box::new(bounded::Bounded),
        Box::new(quiet::Quiet),
        Box::new(fallback::FallBackCompletes),
        Box::new(budget::UploadBudget::default()),
        Box::new(receipts::Receipts::default()),
    ]
}

/// A rule that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// When.
    pub when: Instant,
    /// With whom, where that can be said.
    pub node: Option<NodeId>,
    /// Which rule.
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.when.as_micros();
        write!(f, "seed {}, {}.{:06} s", self.seed, micros / 1_000_000, micros % 1_000_000)?;
        if let Some(node) = self.node {
            write!(f, ", {node}")?;
        }
        write!(f, ": {}: {}", self.invariant, self.what)
    }
}
