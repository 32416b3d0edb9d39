//! What an operator can watch.

use links::LinkKind;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use shared::coordination::{AdvertRefusal, AdvertVerdict};

/// This crate's own counters; libp2p's are registered beside them.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    links: Family<KindLabel, Gauge>,
    links_refused: Gauge,
    opens_refused: Gauge,
    incoming_reset: Gauge,
    pub(crate) refused_by_source: Counter,
    pub(crate) dht_refused: Counter,
    pub(crate) gossip_dropped: Counter,
    pub(crate) adverts: Gauge,
    adverts_heard: Family<VerdictLabel, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

const KINDS: [LinkKind; 7] = [
    LinkKind::Quic,
    LinkKind::Tcp,
    LinkKind::WebSocket,
    LinkKind::WebRtc,
    LinkKind::WebRtcDirect,
    LinkKind::Other,
    LinkKind::Relayed,
];

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let ours = registry.sub_registry_with_prefix("blackhole_net");
        ours.register("links", "Links by what carries them", metrics.links.clone());
        ours.register(
            "links_refused",
            "Connections refused by the limits on links",
            metrics.links_refused.clone(),
        );
        ours.register(
            "opens_refused",
            "Streams not opened because too many were",
            metrics.opens_refused.clone(),
        );
        ours.register(
            "incoming_reset",
            "Streams of remotes nobody took in time",
            metrics.incoming_reset.clone(),
        );
        ours.register(
            "refused_by_source",
            "Connections refused because their source had enough",
            metrics.refused_by_source.clone(),
        );
        ours.register("dht_refused", "Records of remotes not stored", metrics.dht_refused.clone());
        ours.register("gossip_dropped", "Messages nobody read in time", metrics.gossip_dropped.clone());
        ours.register("adverts", "Nodes whose adverts are believed", metrics.adverts.clone());
        ours.register("adverts_heard", "Adverts by what became of them", metrics.adverts_heard.clone());
        metrics
    }

    pub(crate) fn judged(&self, verdict: &AdvertVerdict) {
        let verdict = match verdict {
            AdvertVerdict::Fresh(_) => "fresh",
            AdvertVerdict::Known => "known",
            AdvertVerdict::Refused(AdvertRefusal::Invalid(_)) => "invalid",
            AdvertVerdict::Refused(AdvertRefusal::NotCurrent) => "not_current",
            AdvertVerdict::Refused(AdvertRefusal::TooSoon) => "too_soon",
            AdvertVerdict::Refused(AdvertRefusal::TooMany) => "too_many",
            AdvertVerdict::Refused(AdvertRefusal::Full) => "full",
        };
        self.adverts_heard.get_or_create(&VerdictLabel { verdict }).inc();
    }

    /// Copies what the links count themselves.
    pub(crate) fn observe(&self, links: &links::Control) {
        let mut by_kind = [0; KINDS.len()];
        for link in links.links() {
            by_kind[KINDS.iter().position(|kind| *kind == link.kind).unwrap_or(0)] += 1;
        }
        for (kind, count) in KINDS.iter().zip(by_kind) {
            self.links.get_or_create(&KindLabel { kind: kind.name() }).set(count);
        }
        let counters = links.counters();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.links_refused.set(gauge(counters.links_refused));
        self.opens_refused.set(gauge(counters.opens_refused));
        self.incoming_reset.set(gauge(counters.incoming_reset));
    }
}
