//! From which network each visitor of late came: what a tab gave counts by where it came from and went to.
//!
//! In memory alone, and for two days at most.

use core::{net::IpAddr, time::Duration};
use std::collections::BTreeMap;

use shared::{base::Instant, economy::earnings::NetworkPrefix, identity::PublicKey};

/// Visitors of a day; at some 60 bytes each, twice 12 MB. With more of them the day is shorter.
const VISITORS_MAX: usize = 200_000;
const DAY: Duration = Duration::from_secs(86_400);

/// Keys as bytes: ready to verify by they would take several times as much.
type Networks = BTreeMap<[u8; 32], NetworkPrefix>;

/// Who came.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    today: Networks,
    before: Networks,
    began: Instant,
}

impl Visitors {
    /// One came, from there. What tells visitors of one network apart is not remembered.
    pub(super) fn arrived(&mut self, now: Instant, visitor: &PublicKey, address: IpAddr) {
        if now.since(self.began) >= DAY || self.today.len() >= VISITORS_MAX {
            self.before = core::mem::take(&mut self.today);
            self.began = now;
        }
        self.today.insert(visitor.to_bytes(), NetworkPrefix::of(address));
    }

    /// From where it came last.
    pub(super) fn network_of(&self, visitor: &PublicKey) -> Option<NetworkPrefix> {
        let key = visitor.to_bytes();
        self.today.get(&key).or_else(|| self.before.get(&key)).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use shared::identity::Keypair;

    use super::*;

    #[test]
    fn a_visitor_is_known_for_a_day_at_least_and_by_where_it_came_from_last() {
        let visitor = |number: u8| Keypair::from_secret([number; 32]).public();
        let mut visitors = Visitors::default();
        let [one, other]: [IpAddr; 2] =
            ["::ffff:192.0.2.77", "2001:db8:1:2::3"].map(|address| address.parse().unwrap());
        let [first, second] =
            ["192.0.2.0", "2001:db8:1::"].map(|address| NetworkPrefix::of(address.parse().unwrap()));
        visitors.arrived(Instant::default(), &visitor(1), one);
        assert_eq!(visitors.network_of(&visitor(1)), Some(first));
        assert_eq!(visitors.network_of(&visitor(2)), None);
        let next = Instant::default() + DAY;
        visitors.arrived(next, &visitor(2), one);
        assert_eq!(visitors.network_of(&visitor(1)), Some(first));
        visitors.arrived(next, &visitor(1), other);
        assert_eq!(visitors.network_of(&visitor(1)), Some(second));
        visitors.arrived(next + DAY, &visitor(3), one);
        visitors.arrived(next + DAY + DAY, &visitor(3), one);
        assert_eq!(visitors.network_of(&visitor(1)), None);
    }
}
