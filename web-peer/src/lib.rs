//! The peer that runs in a browser tab.

pub mod net;
