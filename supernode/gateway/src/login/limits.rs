//! How often a client, and all of them together, may try to log in. No secret hangs on it: what it protects is the node's
//! time, and the room for nonces.

use std::{collections::BTreeMap, net::IpAddr};

use shared::base::Instant;

/// Clients that are remembered; those that could do all they may again are forgotten first.
const CLIENTS_MAX: usize = 10_000;
/// Tries of one client at once, and how long one more takes.
const CLIENT: Rate = Rate { burst: 20, micros_each: 1_000_000 };
/// The same of all together. Behind a proxy all seem to be one, so there it is this that counts.
const ALL: Rate = Rate { burst: 200, micros_each: 50_000 };

#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u64,
    micros_each: u64,
}

/// When what was tried is forgotten: a bucket as a point in time.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(u64);

impl Bucket {
    fn pass(&mut self, now: u64, rate: Rate) -> bool {
        let after = self.0.max(now) + rate.micros_each;
        let fits = after <= now + rate.burst * rate.micros_each;
        if fits {
            self.0 = after;
        }
        fits
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Limits {
    all: Bucket,
    clients: BTreeMap<[u8; 16], Bucket>,
}

impl Limits {
    /// Whether a client may try now.
    pub(super) fn pass(&mut self, now: Instant, from: IpAddr) -> bool {
        let now = now.as_micros();
        if from.to_canonical().is_loopback() {
            return self.all.pass(now, ALL);
        }
        let client = prefix(from);
        if !self.clients.contains_key(&client) && self.clients.len() >= CLIENTS_MAX {
            self.clients.retain(|_, bucket| bucket.0 > now);
            if self.clients.len() >= CLIENTS_MAX {
                return false;
            }
        }
        self.clients.entry(client).or_default().pass(now, CLIENT) && self.all.pass(now, ALL)
    }
}

/// An address of IPv4, or the 64 bits of IPv6 that a household has.
fn prefix(address: IpAddr) -> [u8; 16] {
    let mut bytes = match address.to_canonical() {
        IpAddr::V4(address) => return address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    bytes[8..].fill(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_held_up_and_others_are_not() {
        let mut limits = Limits::default();
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let mut passes = |at: Instant, from: &str| limits.pass(at, from.parse().unwrap());
        assert!((0..20).all(|_| passes(at(0), "192.0.2.1")));
        assert!(!passes(at(0), "192.0.2.1") && !passes(at(0), "::ffff:192.0.2.1"));
        assert!(passes(at(0), "192.0.2.2"));
        assert!(passes(at(1), "192.0.2.1") && !passes(at(1), "192.0.2.1"));
        assert!((0..20).all(|_| passes(at(1), "2001:db8::1")));
        assert!(!passes(at(1), "2001:db8::ffff:1"), "one household");
        assert!(passes(at(1), "2001:db8:0:1::1"));
    }

    #[test]
    fn all_together_are_held_up_too() {
        let mut limits = Limits::default();
        let tried = (0..40_u8).flat_map(|client| [client; 10]);
        let passed = tried.filter(|client| {
            let address = IpAddr::from([198, 51, 100, *client]);
            limits.pass(Instant::from_micros(0), address)
        });
        assert_eq!(passed.count(), 200);
    }
}
