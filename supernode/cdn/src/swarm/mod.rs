//! The supernode in the swarm: drives `shared::peer::Peer` over links.
//!
//! ```text
//!  links::Events ─► driver (one task, owns the Peer) ─► effects
//!                     ▲  reports, bounded                  │ jobs, bounded
//!                     └──── one reader and one writer a stream ◄┘
//! ```
//! The driver decides nothing and waits for nobody: a link whose queue is full is closed or refused, and
//! a reader of frames waits until the driver has room. Payload goes from the disk to the stream of the link
//! that asked, verified, at the pace of that link.

mod driver;
mod edge_shares;
mod link;
mod serve;
mod streams;
mod visitors;

use std::time::Duration;

use futures::stream::BoxStream;
use shared::{
    base::SiteId,
    cdn::earner::Earner,
    economy::earnings::NetworkPrefix,
    identity::{Keypair, PublicKey},
    wire::cdn::{SignedEarner, SignedReceipt},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Cdn;

/// Reports of streams waiting for the driver; their readers wait with them.
const REPORTS: usize = 1024;
/// Control frames waiting for a link. One that lags this far behind does not read.
const CONTROL_FRAMES: usize = 256;
/// Answers waiting for a link's Serve stream; the core allows a link fewer requests at a time.
const SERVE_JOBS: usize = 256;
/// The first frame of a stream must be here by then.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A link that takes none of a piece for this long is dead. A reader may pause for seconds.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// What a link may still take to read what was sent before it is closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often our own addresses are looked at.
const ADDRESSES_EVERY: Duration = Duration::from_secs(10);
/// How old the counts on the status page may be.
const METERS_EVERY: Duration = Duration::from_secs(1);

/// Where we can be dialled at the moment, as binary multiaddresses.
pub type OwnAddresses = Box<dyn Fn() -> Vec<Vec<u8>> + Send + Sync>;

/// What receivers sign for, as the core says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// A receiver signed for more of what this session sent.
    Receipt {
        /// Which session.
        session: u64,
        /// Payload bytes that it sent so far.
        sent: u64,
        /// What the edge gave it, as far as it signed for that and is believed.
        edge: u64,
        /// Whose content all of it is, where it is of one site that the receiver took part in.
        site: Option<SiteId>,
        /// What was signed, verified.
        receipt: SignedReceipt,
    },
    /// A tab that is to be paid handed in what others signed for it.
    HandedIn {
        /// Who is paid, verified,
        earner: Box<Earner>,
        /// and as the tab signed it.
        signed: SignedEarner,
        /// From where the tab is linked.
        network: NetworkPrefix,
        /// What it showed, not verified; of receivers that were linked here today or yesterday, and from where.
        receipts: Vec<(SignedReceipt, NetworkPrefix)>,
    },
    /// A session of which there were receipts is over.
    Ended {
        /// With whom.
        receiver: PublicKey,
        /// Which.
        session: u64,
        /// Payload bytes that it sent, and that the edge is believed to have given.
        sent: u64,
    },
}

/// Whoever counts what was served. It is told in the driver's own task, so it does not wait.
pub type Tell = Box<dyn Fn(Served) + Send + Sync>;

/// What the swarm stands on.
pub struct SwarmParts {
    /// The content.
    pub cdn: Cdn,
    /// The node's key.
    pub key: Keypair,
    /// Randomness for the core.
    pub seed: [u8; 32],
    /// Opens streams.
    pub links: links::Control,
    /// What happens on links, apart from streams of other services.
    pub events: BoxStream<'static, links::Event>,
    /// Where we are.
    pub addresses: OwnAddresses,
    /// Who counts what was served.
    pub tell: Tell,
}

/// Joins the swarm until `shutdown`.
#[must_use]
pub fn join(parts: SwarmParts, shutdown: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(driver::Driver::new(parts, shutdown).run())
}
