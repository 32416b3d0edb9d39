//! What an operator can watch.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use libp2p::{PeerId, relay};
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
    reservations: Gauge,
    reservations_given: Counter,
    circuits: Gauge,
    circuits_opened: Counter,
    relay_refused: Counter,
    /// Who holds a reservation. Bounded by the relay's own limit.
    reserved: Arc<Mutex<BTreeSet<PeerId>>>,
}

/// What an operator sees of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Links by what carries them; those that there are none of are left out.
    pub links: Vec<(&'static str, u64)>,
    /// Peers that can be reached through this node.
    pub reservations: u64,
    /// Pairs of peers that speak through this node.
    pub circuits: u64,
    /// The same since the start.
    pub circuits_opened: u64,
    /// Other nodes whose adverts are believed.
    pub nodes: u64,
    /// What was refused since the start, and how often; what never was is left out.
    pub refused: Vec<(&'static str, u64)>,
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
        ours.register("reservations", "Peers reachable through this node", metrics.reservations.clone());
        ours.register(
            "reservations_given",
            "Reservations given or renewed since the start",
            metrics.reservations_given.clone(),
        );
        ours.register("circuits", "Circuits relayed at the moment", metrics.circuits.clone());
        ours.register("circuits_opened", "Circuits relayed since the start", metrics.circuits_opened.clone());
        ours.register(
            "relay_refused",
            "Reservations and circuits refused by the relay's limits",
            metrics.relay_refused.clone(),
        );
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

    /// Counts what the relay does.
    pub(crate) fn relayed(&self, event: &relay::Event) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            relay::Event::ReservationReqAccepted { src_peer_id, .. } => {
                reserved.insert(*src_peer_id);
                self.reservations_given.inc();
            }
            // Said of every connection that closes, with or without a reservation.
            relay::Event::ReservationClosed { src_peer_id }
            | relay::Event::ReservationTimedOut { src_peer_id } => {
                reserved.remove(src_peer_id);
            }
            relay::Event::CircuitReqAccepted { .. } => {
                self.circuits.inc();
                self.circuits_opened.inc();
            }
            relay::Event::CircuitClosed { .. } => {
                self.circuits.dec();
            }
            relay::Event::ReservationReqDenied { .. } | relay::Event::CircuitReqDenied { .. } => {
                self.relay_refused.inc();
            }
            _ => {}
        }
        self.reservations.set(i64::try_from(reserved.len()).unwrap_or(i64::MAX));
    }

    /// For the status page.
    pub(crate) fn status(&self, links: &links::Control) -> NetworkStatus {
        self.observe(links);
        let read = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        let by_kind = KINDS
            .iter()
            .map(|kind| (kind.name(), read(&self.links.get_or_create(&KindLabel { kind: kind.name() }))));
        let refused = [
            ("connections, by the number from one source", self.refused_by_source.get()),
            ("connections, by the number of links", read(&self.links_refused)),
            ("streams that nobody took in time", read(&self.incoming_reset)),
            ("reservations and circuits, by the relay's limits", self.relay_refused.get()),
            ("records of the DHT", self.dht_refused.get()),
        ];
        NetworkStatus {
            links: by_kind.filter(|(_, count)| *count > 0).collect(),
            reservations: read(&self.reservations),
            circuits: read(&self.circuits),
            circuits_opened: self.circuits_opened.get(),
            nodes: read(&self.adverts),
            refused: refused.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
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
