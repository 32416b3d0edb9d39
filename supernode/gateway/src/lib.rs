//! The supernode's HTTP edge.
//!
//! ```text
//! GET  /blackhole/v1/sites/{site}/manifest        what belongs where, signed
//! GET  /blackhole/v1/blobs/{root}                 bytes, by range, verified on their way from the disk
//! GET  /blackhole/v1/blobs/{root}/runs/page/0-63  groups 0 to 63, behind the hashes that verify them
//! GET  /blackhole/v1/peer                         whom a tab dials
//! GET  /blackhole/v1/earners/{account}            what an account's tabs earned, and the proofs to claim it
//! POST /blackhole/v1/login                        and what follows from it: see `login`
//! PUT  /blackhole/v1/sites/{site}/manifest        and /blobs/{root}: a publisher's upload
//! GET  /blackhole/tab/{file}                      the tab's code
//! GET  /status  /metrics  /healthz                for people, Prometheus, and load balancers
//! GET  /status/earnings  /status/earnings.csv     what was served and signed for; for the operator alone
//! GET  /status/payments.csv                       who pays for it, and whom this node pays; likewise
//! ```
//!
//! Promises: no byte leaves that was not verified; no request holds more than a read's worth of memory;
//! a client that is slow, silent or talks garbage is let go after a bounded time; every refusal is
//! problem+json (RFC 9457) and says what to do.

mod app;
mod blobs;
mod config;
mod earners;
mod earnings;
mod lingering;
mod local;
mod login;
mod manifests;
mod meters;
mod payments;
mod problem;
mod range;
mod server;
mod status;
mod tab_files;

pub use app::{
    BilledSite, EarnedDay, EarnedSession, EarnedSums, EarningsStatus, Edge, EpochStatus, ExtraShard,
    HeldStatus, MoneyStatus, NetworkStatus, Node, OwnerWord, PaidNode, PaymentsStatus, PeerAddresses,
    Position, TabsStatus,
};
pub use config::Config;
pub use earners::{EarnerError, EarnerPayout, EarnerShare, EarnerStatus};
pub use login::{Login, LoginConfig};
pub use meters::Meters;
pub use server::Server;
