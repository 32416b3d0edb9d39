//! A node's money, for Prometheus.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::MoneyStatus;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Figure {
    figure: &'static str,
}

/// Gauges, brought up to date by each look at the status.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    settled: Gauge,
    chain_id: Gauge,
    base_units: Family<Figure, Gauge>,
    answered: Gauge,
    claimed: Gauge,
}

impl Meters {
    /// Registers the meters. They stay at zero, which is "unsettled", where no money is configured.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let ours = registry.sub_registry_with_prefix("blackhole_chain");
        ours.register(
            "settled",
            "1 where vouchers are claimed on a chain, 0 where they wait",
            meters.settled.clone(),
        );
        ours.register("id", "The chain that vouchers are for", meters.chain_id.clone());
        ours.register(
            "base_units",
            "Money by the books, in base units of the token",
            meters.base_units.clone(),
        );
        ours.register("answered_unix_seconds", "When the chain last answered", meters.answered.clone());
        ours.register("claimed_unix_seconds", "When vouchers were last claimed", meters.claimed.clone());
        meters
    }

    pub(crate) fn observe(&self, status: &MoneyStatus) {
        self.settled.set(status.settled.into());
        self.chain_id.set(i64::try_from(status.chain_id).unwrap_or(i64::MAX));
        for (figure, units) in status.figures() {
            self.base_units.get_or_create(&Figure { figure }).set(i64::try_from(units).unwrap_or(i64::MAX));
        }
        let seconds = |at: Option<shared::base::UnixSeconds>| {
            i64::try_from(at.map_or(0, |at| at.0)).unwrap_or(i64::MAX)
        };
        self.answered.set(seconds(status.answered));
        self.claimed.set(seconds(status.claimed));
    }
}
