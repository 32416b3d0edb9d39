//! What a holder shows of itself to Prometheus, looked up when it asks. As many rows however many owners there are.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use super::{Hold, HoldStatus, owners::Repute};

/// In front of each name.
const PREFIX: &str = "blackhole_held";
/// In the order of [`Repute::audits`].
const ENDS: [&str; 5] = ["passed", "late", "lost", "silent", "wrong"];

struct Meters(Weak<Hold>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    end: &'static str,
}

/// Lets `hold` be asked as long as it is there.
pub(super) fn register(hold: &Arc<Hold>, registry: &mut Registry) {
    let meters = Meters(Arc::downgrade(hold));
    registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(meters));
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

impl Collector for Meters {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(hold) = self.0.upgrade() else { return Ok(()) };
        let HoldStatus { leases, stored_bytes, quota_bytes, repute, .. } = hold.status(0);
        let Repute { owners, said, doubted, dismissed, worst, audits } = repute;
        let figures = [
            ("leases", "Promises to keep a shard", number(leases)),
            ("bytes", "Bytes of shards", number(stored_bytes)),
            ("quota_bytes", "Bytes that shards may take", number(quota_bytes)),
            ("owners", "Owners with a lease", number(owners)),
            ("owners_heard", "Owners that said what they think of this node", number(said)),
            ("owners_doubting", "Owners by whose word it is below the line for new shards", number(doubted)),
            ("owners_dismissing", "Owners that say they have dismissed it", number(dismissed)),
            ("worst_reputation", "The worst that an owner says, of 1000", worst.into()),
        ];
        for (name, help, figure) in figures {
            let gauge = ConstGauge::new(figure);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let ended = Family::<End, Gauge>::default();
        for (end, count) in ENDS.into_iter().zip(audits) {
            ended.get_or_create(&End { end }).set(number(count));
        }
        let help = "Audits of this node, by what owners with a lease say of them";
        ended.encode(encoder.encode_descriptor("audits", help, None, ended.metric_type())?)
    }
}

fn number(figure: impl TryInto<i64>) -> i64 {
    figure.try_into().unwrap_or(i64::MAX)
}
