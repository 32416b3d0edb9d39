//! Where HTTP comes in, for every service that answers it: one accept loop, with bounds on how many connections there
//! are, on how many of them are one source's, on heads, and on how long a connection may be silent.
//!
//! Non-goals: what is answered, and bounds on requests' bodies, which each service knows for itself.

mod connection;
mod idle;
mod listener;
mod sources;
mod tls;

pub use connection::{Client, Limits};
pub use listener::Listener;
pub use tls::Tls;

#[cfg(test)]
mod tests;
