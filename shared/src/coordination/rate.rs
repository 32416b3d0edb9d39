//! How often each of many sources may do something.

use std::collections::BTreeMap;

use crate::base::UnixSeconds;

/// A token bucket's shape: `burst` at once, then `per_second` on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once, after a pause.
    pub burst: u32,
    /// In the long run.
    pub per_second: u32,
}

/// A token bucket for each source, bounded in the number of sources.
///
/// A source with a full bucket needs no entry, so the table holds only those that were active
/// within `burst / per_second` seconds. When more than that are active at once, newcomers wait:
/// a flood of invented sources costs its makers, not those already known.
#[derive(Clone, Debug)]
pub struct RateBySource<Source> {
    rate: Rate,
    sources_max: usize,
    buckets: BTreeMap<Source, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    at: UnixSeconds,
}

impl<Source: Ord + Clone> RateBySource<Source> {
    /// No source seen yet.
    pub fn new(rate: Rate, sources_max: usize) -> Self {
        Self { rate, sources_max, buckets: BTreeMap::new() }
    }

    /// Sources that are remembered.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Takes a token of `source`'s, or says that it has none.
    #[must_use]
    pub fn try_take(&mut self, now: UnixSeconds, source: &Source) -> bool {
        if let Some(bucket) = self.buckets.get_mut(source) {
            bucket.left = refilled(self.rate, *bucket, now);
            // A clock that went back must not refill twice.
            bucket.at = bucket.at.max(now);
            let has = bucket.left > 0;
            bucket.left = bucket.left.saturating_sub(1);
            return has;
        }
        if self.buckets.len() >= self.sources_max {
            self.forget_idle(now);
            if self.buckets.len() >= self.sources_max {
                return false;
            }
        }
        let Some(left) = self.rate.burst.checked_sub(1) else { return false };
        self.buckets.insert(source.clone(), Bucket { left, at: now });
        true
    }

    /// Forgets the sources whose buckets are full again. Called by the shell now and then.
    pub fn forget_idle(&mut self, now: UnixSeconds) {
        let rate = self.rate;
        self.buckets.retain(|_, bucket| refilled(rate, *bucket, now) < rate.burst);
    }
}

fn refilled(rate: Rate, bucket: Bucket, now: UnixSeconds) -> u32 {
    let gained = bucket.at.until(now).saturating_mul(rate.per_second.into());
    u32::try_from(gained).unwrap_or(u32::MAX).saturating_add(bucket.left).min(rate.burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> UnixSeconds {
        UnixSeconds(1_000_000 + second)
    }

    fn taken(rates: &mut RateBySource<u32>, second: u64, source: u32, attempts: usize) -> usize {
        (0..attempts).filter(|_| rates.try_take(at(second), &source)).count()
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let mut rates = RateBySource::new(Rate { burst: 4, per_second: 2 }, 8);
        assert_eq!(taken(&mut rates, 0, 1, 10), 4);
        assert_eq!(taken(&mut rates, 0, 2, 10), 4, "each source has its own");
        assert_eq!(taken(&mut rates, 1, 1, 10), 2);
        assert_eq!(taken(&mut rates, 0, 1, 10), 0, "a clock that goes back gives nothing");
        assert_eq!(taken(&mut rates, 1, 1, 10), 0);
        assert_eq!(taken(&mut rates, 100, 1, 10), 4);
    }

    #[test]
    fn invented_sources_do_not_grow_the_table() {
        let mut rates = RateBySource::new(Rate { burst: 2, per_second: 1 }, 8);
        let admitted = (0..1000).filter(|source| rates.try_take(at(0), source)).count();
        assert_eq!((admitted, rates.len()), (8, 8));
        assert!(rates.try_take(at(0), &3), "those already known are not pushed out");
        assert!(rates.try_take(at(5), &999), "and the idle make room");
        rates.forget_idle(at(50));
        assert!(rates.is_empty());
    }
}
