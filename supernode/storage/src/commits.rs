//! Where something is on the disk from now on. Whoever kills this process to see whether it keeps its word, listens for
//! these events.

/// `what` was committed.
pub(crate) fn committed(what: &'static str) {
    tracing::debug!(target: "blackhole::events::storage", event = "committed", what);
}
