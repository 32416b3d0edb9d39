//! Which bytes came from where, counted once and shown both to a person and to Prometheus.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Where bytes came from, as a visitor's tab sees it, and what the origin gave for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Source {
    /// This supernode's HTTP edge.
    Edge,
    /// This supernode over a link.
    Link,
    /// Another tab, by the signed receipts that tabs handed in to this supernode.
    Peer,
    /// The publisher's origin, pulled by this supernode.
    Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BytesLabel {
    site: String,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SiteLabel {
    site: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Why requests are refused; more reasons would not be shown.
const REASONS: [&str; 6] = ["busy", "not_found", "corrupt", "upload", "offence", "unpaid"];

/// What content delivery counts.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    bytes: Family<BytesLabel, Counter>,
    swarm: Family<SiteLabel, Gauge>,
    refusals: Family<ReasonLabel, Counter>,
    origin_errors: Family<ReasonLabel, Counter>,
    pub(crate) stored_bytes: Gauge,
    pub(crate) quarantined: Gauge,
}

/// A site's bytes by source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteBytes {
    /// From the HTTP edge.
    pub edge: u64,
    /// Over links.
    pub link: u64,
    /// From tab to tab.
    pub peer: u64,
    /// Pulled from the origin.
    pub origin: u64,
    /// Tabs that are listed at the moment.
    pub tabs: u64,
}

impl SiteBytes {
    /// The share of useful bytes that no infrastructure had to send; nothing before there were any.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a percentage for reading")]
    pub fn offload(&self) -> Option<f64> {
        let useful = self.edge + self.link + self.peer;
        (useful > 0).then(|| self.peer as f64 / useful as f64)
    }
}

impl Meters {
    /// Registers the meters.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let ours = registry.sub_registry_with_prefix("blackhole_cdn");
        ours.register("bytes", "Payload bytes by site and source", meters.bytes.clone());
        ours.register("swarm", "Tabs listed at the moment, by site", meters.swarm.clone());
        ours.register("refusals", "Requests refused, by reason", meters.refusals.clone());
        ours.register("origin_errors", "What origins did wrong, by kind", meters.origin_errors.clone());
        ours.register("stored_bytes", "Bytes of blobs on disk", meters.stored_bytes.clone());
        ours.register("quarantined", "Blobs found corrupt on disk since start", meters.quarantined.clone());
        meters
    }

    /// Payload went by. `site` is one that this node serves, so that labels stay few.
    pub fn count(&self, site: &str, source: Source, bytes: u64) {
        self.bytes.get_or_create(&BytesLabel { site: site.to_owned(), source }).inc_by(bytes);
    }

    /// What the edge sent of a site since the start.
    pub(crate) fn edge_bytes(&self, site: &str) -> u64 {
        self.bytes.get_or_create(&BytesLabel { site: site.to_owned(), source: Source::Edge }).get()
    }

    /// What the core knows of a site's tabs: how many there are, and what they delivered to each other so far.
    pub(crate) fn observe_swarm(&self, site: &str, tabs: usize, delivered: u64) {
        self.swarm
            .get_or_create(&SiteLabel { site: site.to_owned() })
            .set(i64::try_from(tabs).unwrap_or(i64::MAX));
        let peer = self.bytes.get_or_create(&BytesLabel { site: site.to_owned(), source: Source::Peer });
        peer.inc_by(delivered.saturating_sub(peer.get()));
    }

    /// Refusals by their reason.
    #[must_use]
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let read = |reason| (reason, self.refusals.get_or_create(&ReasonLabel { reason }).get());
        REASONS.into_iter().map(read).filter(|(_, count)| *count > 0).collect()
    }

    /// A request was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// An origin misbehaved or failed.
    pub(crate) fn origin_failed(&self, reason: &'static str) {
        self.origin_errors.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A site's bytes so far.
    #[must_use]
    pub fn site(&self, site: &str) -> SiteBytes {
        let read = |source| self.bytes.get_or_create(&BytesLabel { site: site.to_owned(), source }).get();
        let tabs = self.swarm.get_or_create(&SiteLabel { site: site.to_owned() }).get();
        SiteBytes {
            edge: read(Source::Edge),
            link: read(Source::Link),
            peer: read(Source::Peer),
            origin: read(Source::Origin),
            tabs: u64::try_from(tabs).unwrap_or(0),
        }
    }
}
