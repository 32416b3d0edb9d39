//! What a listener counts, for whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that anyone may read while the listener counts on.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn one(&self) {
        self.add(1);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a transport, over all its listeners. All but `sessions` and `handshakes`
        /// only grow.
        #[derive(Debug, Default)]
        pub struct Stats { $($(#[$doc])* pub $name: Count,)* }

        impl Stats {
            /// Every counter with its name, for a metrics page.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

stats! {
    /// Sessions alive, handshakes included.
    sessions,
    /// Handshakes under way.
    handshakes,
    /// Sessions whose remote proved its peer id.
    sessions_established,
    /// Sessions closed, for whatever reason.
    sessions_closed,
    /// Handshakes that ran into their deadline.
    handshakes_timed_out,
    /// Sessions refused because the listener is full.
    refused_full,
    /// Sessions refused because their source has its share.
    refused_source,
    /// Streams the remote opened beyond the limit.
    streams_refused,
    /// Streams reset because their remote broke the framing.
    streams_malformed,
    /// Sessions cut because a library failed inside; each is a bug worth a report.
    sessions_faulted,
    /// Datagrams taken in.
    datagrams_in,
    /// Bytes of those.
    bytes_in,
    /// Datagrams sent.
    datagrams_out,
    /// Bytes of those.
    bytes_out,
    /// Requests answered of those who only asked for their own address.
    answered_strangers,
    /// Datagrams dropped: neither STUN nor DTLS, or too long.
    dropped_garbage,
    /// Datagrams dropped: STUN that is malformed, not for us, or fails its check.
    dropped_stun,
    /// Datagrams dropped: DTLS from an address no session is known at.
    dropped_unknown_source,
    /// Datagrams dropped: DTLS that a session could not make sense of.
    dropped_dtls,
    /// Times the socket took no more and a session had to wait.
    socket_full,
}
