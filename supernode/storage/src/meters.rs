//! What the storage service counts.

use bytes::Bytes;
use futures::StreamExt as _;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::store::{ByteStream, ScrubReport, Usage};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    /// The first digit of HTTP's three: more would be a row for every whim of a client.
    class: String,
}

/// The counters of one node.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    received: Counter,
    sent: Counter,
    answers: Family<Status, Counter>,
    pub(crate) connections: Gauge,
    stored_bytes: Gauge,
    incoming_bytes: Gauge,
    quota_bytes: Gauge,
    blobs: Gauge,
    rotten: Counter,
    missing: Counter,
}

impl Meters {
    /// Registers the counters.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let registry = registry.sub_registry_with_prefix("blackhole_storage");
        registry.register("received_bytes", "Objects' bytes taken in", meters.received.clone());
        registry.register("sent_bytes", "Objects' bytes given out", meters.sent.clone());
        registry.register("answers", "S3 requests answered, by class of status", meters.answers.clone());
        registry.register("connections", "Open connections at the S3 door", meters.connections.clone());
        registry.register("stored_bytes", "Bytes in whole blobs", meters.stored_bytes.clone());
        registry.register("incoming_bytes", "Bytes of blobs under way", meters.incoming_bytes.clone());
        registry.register("quota_bytes", "Bytes that blobs may take", meters.quota_bytes.clone());
        registry.register("blobs", "Whole blobs", meters.blobs.clone());
        registry.register("rotten_blobs", "Blobs that a scrub found damaged", meters.rotten.clone());
        registry.register("missing_blobs", "Blobs that a scrub found gone", meters.missing.clone());
        meters
    }

    pub(crate) fn scrubbed(&self, report: &ScrubReport) {
        self.rotten.inc_by(report.rotten.len() as u64);
        self.missing.inc_by(report.missing.len() as u64);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    /// Counts bytes as they leave.
    pub(crate) fn sending(&self, bytes: ByteStream) -> ByteStream {
        let sent = self.sent.clone();
        bytes
            .inspect(move |piece| {
                sent.inc_by(piece.as_ref().map_or(0, Bytes::len) as u64);
            })
            .boxed()
    }

    pub(crate) fn answered(&self, status: u16) {
        self.answers.get_or_create(&Status { class: format!("{}xx", status / 100) }).inc();
    }

    pub(crate) fn usage(&self, usage: Usage) {
        let Usage { stored_bytes, incoming_bytes, quota_bytes, blobs } = usage;
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.stored_bytes, stored_bytes);
        set(&self.incoming_bytes, incoming_bytes);
        set(&self.quota_bytes, quota_bytes);
        set(&self.blobs, blobs);
    }
}
