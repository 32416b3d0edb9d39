//! The supernode's part in delivering content: what it keeps, where it gets it, and who it gives it to.
//!
//! ```text
//!  publisher's origin ──pull──► Cdn ──► Store ──verified──► gateway (HTTP edge)
//!  publisher's tool ──upload──►  │                     └──► swarm (links to tabs and supernodes)
//!                                └─ signed manifest: which bytes belong at which path
//! ```
//!
//! Promises: a site is what its manifest in force says, which changes only as a whole and only once all
//! of its blobs are here; bytes are checked against their name on every read; an origin that lies or
//! fails is named in the status and never replaces good content.

mod config;
mod meters;
mod origin;
pub mod publish;
mod refresh;
mod signer;
mod site;
mod store;
pub mod swarm;
mod withholding;

mod service;

pub use config::{Config, SiteConfig};
pub use meters::{Meters, SiteBytes, Source};
pub use origin::OriginLimits;
pub use service::{AcceptError, Accepted, Cdn, StartError};
pub use site::{SiteStatus, StatusNote};
pub use store::{
    ImportError, Incoming, Index, IndexError, OpenBlob, ReadError, Store, StoreError, Usage, Writer,
};
pub use withholding::Withheld;
