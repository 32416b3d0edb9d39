//! Pulling a publisher's origin: what there is, what has changed, and what is wrong with it.
//!
//! An origin is not trusted to be well: it may be slow, lie about lengths and types, redirect in circles or
//! never end. Each of that is an [`OriginError`] with a name, bounded by [`OriginLimits`], shown in the status;
//! what was good before stays in force.

mod client;
mod error;
mod limits;
mod links;
mod look;
mod pull;

pub(crate) use client::{Client, chain};
pub(crate) use error::OriginError;
pub use limits::OriginLimits;
pub(crate) use look::{Look, look};
pub(crate) use pull::pull;
