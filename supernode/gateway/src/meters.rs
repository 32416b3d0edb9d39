//! What the edge counts, for Prometheus and for the status page.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// The latest times to first byte that the status page's percentiles are over.
const RECENT: usize = 1024;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

/// What the edge counts.
#[derive(Clone, Debug)]
pub struct Meters {
    requests: Family<StatusLabel, Counter>,
    first_byte: Histogram,
    pub(crate) connections: Gauge,
    recent: Arc<Mutex<Recent>>,
}

#[derive(Debug, Default)]
struct Recent {
    micros: Vec<u64>,
    next: usize,
}

impl Meters {
    /// Registers the meters.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self {
            requests: Family::default(),
            // 0.25 ms to 8 s.
            first_byte: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            connections: Gauge::default(),
            recent: Arc::default(),
        };
        let ours = registry.sub_registry_with_prefix("blackhole_edge");
        ours.register("requests", "Requests by the status of their answer", meters.requests.clone());
        ours.register_with_unit(
            "first_byte",
            "Time from a request to its answer's first byte",
            Unit::Seconds,
            meters.first_byte.clone(),
        );
        ours.register("connections", "Open connections", meters.connections.clone());
        meters
    }

    pub(crate) fn answered(&self, status: u16, after: Duration) {
        self.requests.get_or_create(&StatusLabel { status }).inc();
        self.first_byte.observe(after.as_secs_f64());
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.micros.len() < RECENT {
            recent.micros.push(micros);
        } else {
            let next = recent.next;
            recent.micros[next] = micros;
            recent.next = (next + 1) % RECENT;
        }
    }

    /// The median and the 95th percentile of the latest times to first byte.
    pub(crate) fn percentiles(&self) -> Option<(Duration, Duration)> {
        let mut micros = self.recent.lock().unwrap_or_else(PoisonError::into_inner).micros.clone();
        micros.sort_unstable();
        let at = |percent: usize| Duration::from_micros(micros[(micros.len() - 1) * percent / 100]);
        (!micros.is_empty()).then(|| (at(50), at(95)))
    }

    /// Answers by their kind of status: good, not changed, refused, failed.
    pub(crate) fn by_kind(&self) -> [u64; 4] {
        let sum = |statuses: &[u16]| {
            statuses.iter().map(|&status| self.requests.get_or_create(&StatusLabel { status }).get()).sum()
        };
        [
            sum(&[200, 201, 202, 206]),
            sum(&[304]),
            sum(&[400, 403, 404, 405, 409, 413, 416, 422, 431]),
            sum(&[500, 502, 503, 504, 507]),
        ]
    }
}
