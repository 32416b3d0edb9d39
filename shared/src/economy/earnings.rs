//! What tabs earn of a supernode: their part of what its customers paid for bytes that receivers verified.
//!
//! A receipt is cheap to make, and a tab can be anybody's ten thousandth. So a receipt counts only as far as honest
//! visitors could have made it:
//! - a receiver, as the supernode that introduced it knows it, verifies at most what the site's content has, once an
//!   epoch;
//! - all receivers of one network (/24, /48) count for at most a household's or an office's number of visits;
//! - what a network delivers to itself counts for nothing;
//! - and the pot of an epoch is what the customer pays for: more claims make each worth less, never the pot larger.
//!
//! Ten thousand tabs that deal with themselves from k networks thus earn at most what k networks of honest visitors
//! would have, and nothing from within their own.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::{Amount, price::Price};
use crate::identity::{Account, PublicKey};

/// A network by its prefix, as the supernode sees the connection: 24 bits of IPv4 or 48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkPrefix(pub [u8; 8]);

impl NetworkPrefix {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        let mut prefix = [0; 8];
        match address.to_canonical() {
            IpAddr::V4(four) => prefix[..3].copy_from_slice(&four.octets()[..3]),
            // Not taken for one of the others: those end in zeros.
            IpAddr::V6(six) => {
                prefix[..6].copy_from_slice(&six.octets()[..6]);
                prefix[7] = 6;
            }
        }
        Self(prefix)
    }

    /// A network that is one visitor's alone, for a node whose operator knows all of them.
    pub fn of_visitor(visitor: &PublicKey) -> Self {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&visitor.to_bytes()[..8]);
        Self(prefix)
    }
}

/// Receivers that are remembered in an epoch: a supernode's visitors of a day; some 100 MB.
pub const RECEIVERS_MAX: usize = 1_000_000;

/// What an epoch's receipts may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of content that a visitor can want: the site's.
    pub content_bytes: u64,
    /// Visits that count from one network.
    pub visits_per_network: u32,
    /// What tabs get for verified bytes.
    pub price: Price,
    /// What the customer pays for the epoch at most.
    pub pot: Amount,
}

/// A receipt's parties, as the supernode knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who is to be paid.
    pub earner: Account,
    /// From where it delivered.
    pub earner_network: NetworkPrefix,
    /// Who verified.
    pub receiver: PublicKey,
    /// From where.
    pub receiver_network: NetworkPrefix,
    /// How much more than by its receipt before.
    pub bytes: u64,
}

/// One epoch of one customer's site.
#[derive(Clone, Debug)]
pub struct Earnings {
    terms: Terms,
    by_receiver: BTreeMap<PublicKey, u64>,
    by_network: BTreeMap<NetworkPrefix, u64>,
    by_earner: BTreeMap<Account, u64>,
}

impl Earnings {
    /// An epoch begins.
    pub fn new(terms: Terms) -> Self {
        Self { terms, by_receiver: BTreeMap::new(), by_network: BTreeMap::new(), by_earner: BTreeMap::new() }
    }

    /// Goes on with an epoch, by what each receiver and network has verified in it.
    pub fn resume(
        terms: Terms,
        by_receiver: BTreeMap<PublicKey, u64>,
        by_network: BTreeMap<NetworkPrefix, u64>,
    ) -> Self {
        Self { terms, by_receiver, by_network, by_earner: BTreeMap::new() }
    }

    /// What a receiver verified so far, of what counts.
    pub fn verified_by(&self, receiver: &PublicKey) -> u64 {
        self.by_receiver.get(receiver).copied().unwrap_or(0)
    }

    /// And all of its network together.
    pub fn verified_in(&self, network: &NetworkPrefix) -> u64 {
        self.by_network.get(network).copied().unwrap_or(0)
    }

    /// The site has another content.
    pub fn set_content_bytes(&mut self, bytes: u64) {
        self.terms.content_bytes = bytes;
    }

    /// Bytes that count so far.
    pub fn counted(&self) -> u64 {
        self.by_earner.values().sum()
    }

    /// A receipt was verified; says how many of its bytes count.
    pub fn handle_delivery(&mut self, delivery: &Delivery) -> u64 {
        let new = !self.by_receiver.contains_key(&delivery.receiver);
        if delivery.earner_network == delivery.receiver_network
            || (new && self.by_receiver.len() >= RECEIVERS_MAX)
        {
            return 0;
        }
        let network_max = self.terms.content_bytes.saturating_mul(self.terms.visits_per_network.into());
        let room = self.terms.content_bytes.saturating_sub(self.verified_by(&delivery.receiver));
        let network_room = network_max.saturating_sub(self.verified_in(&delivery.receiver_network));
        let counts = delivery.bytes.min(room).min(network_room);
        if counts == 0 {
            return 0;
        }
        *self.by_receiver.entry(delivery.receiver.clone()).or_default() += counts;
        *self.by_network.entry(delivery.receiver_network).or_default() += counts;
        let earner = self.by_earner.entry(delivery.earner).or_default();
        *earner = earner.saturating_add(counts);
        counts
    }

    /// The epoch is over: who is owed what. Where the pot does not suffice, each gets its part of it.
    pub fn close(self) -> BTreeMap<Account, Amount> {
        let asked: BTreeMap<Account, Amount> = self
            .by_earner
            .iter()
            .map(|(earner, bytes)| (*earner, self.terms.price.cost(*bytes)))
            .filter(|(_, amount)| !amount.is_zero())
            .collect();
        let sum: Amount = asked.values().copied().sum();
        let pot = self.terms.pot;
        if sum <= pot {
            return asked;
        }
        let total: u64 = self.by_earner.values().fold(0, |sum, bytes| sum.saturating_add(*bytes));
        let shares = self.by_earner.iter().map(|(earner, bytes)| (*earner, pot.share(*bytes, total)));
        let shares: BTreeMap<_, _> = shares.filter(|(_, amount)| !amount.is_zero()).collect();
        assert!(shares.values().copied().sum::<Amount>() <= pot, "shares are rounded down");
        shares
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;

    use super::*;
    use crate::identity::Keypair;

    const TERMS: Terms = Terms {
        content_bytes: 1000,
        visits_per_network: 4,
        price: Price { amount: 1, per: NonZeroU64::MIN },
        pot: Amount::of(100_000),
    };

    fn delivery(earner: (u8, u8), receiver: (u16, u8), bytes: u64) -> Delivery {
        let mut secret = [1; 32];
        secret[..2].copy_from_slice(&receiver.0.to_le_bytes());
        Delivery {
            earner: Account([earner.0; 20]),
            earner_network: NetworkPrefix([earner.1; 8]),
            receiver: Keypair::from_secret(secret).public(),
            receiver_network: NetworkPrefix([receiver.1; 8]),
            bytes,
        }
    }

    #[test]
    fn a_receipt_counts_as_far_as_an_honest_visitor_could_have_made_it() {
        let mut earnings = Earnings::new(TERMS);
        assert_eq!(earnings.handle_delivery(&delivery((1, 1), (1, 2), 600)), 600);
        // No more than the site has.
        assert_eq!(earnings.handle_delivery(&delivery((2, 1), (1, 2), 600)), 400);
        // Not from one's own network.
        assert_eq!(earnings.handle_delivery(&delivery((1, 1), (2, 1), 600)), 0);
        // No more visits than a network has.
        let counted: u64 = (10..30).map(|n| earnings.handle_delivery(&delivery((1, 1), (n, 2), 1000))).sum();
        assert_eq!(counted, 3000);
        let owed = earnings.close();
        assert_eq!(owed[&Account([1; 20])], Amount::of(3600));
        assert_eq!(owed[&Account([2; 20])], Amount::of(400));
    }

    #[test]
    fn an_epoch_goes_on_where_it_stood() {
        let mut earnings = Earnings::new(TERMS);
        let first = delivery((1, 1), (1, 2), 700);
        earnings.handle_delivery(&first);
        let (receiver, network) = (first.receiver.clone(), first.receiver_network);
        let known = (earnings.verified_by(&receiver), earnings.verified_in(&network));
        assert_eq!(known, (700, 700));
        let mut earnings = Earnings::resume(TERMS, [(receiver, known.0)].into(), [(network, known.1)].into());
        assert_eq!(earnings.handle_delivery(&first), 300);
        earnings.set_content_bytes(1100);
        assert_eq!(earnings.handle_delivery(&first), 100);
    }

    #[test]
    fn neighbours_in_an_address_block_are_one_network() {
        let of = |address: &str| NetworkPrefix::of(address.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("192.0.2.200"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.9"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:1:ffff::2"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
    }

    #[test]
    fn a_pot_is_divided_and_never_exceeded() {
        let mut earnings = Earnings::new(Terms { pot: Amount::of(1000), ..TERMS });
        for network in 2..7 {
            for receiver in 0..4 {
                let receiver = (u16::from(network) * 10 + receiver, network);
                earnings.handle_delivery(&delivery((network % 3, 1), receiver, 1000));
            }
        }
        assert_eq!(earnings.counted(), 20_000);
        let owed = earnings.close();
        assert_eq!(owed.values().copied().sum::<Amount>(), Amount::of(1000));
    }
}
