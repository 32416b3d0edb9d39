//! The adverts a node currently believes.

use std::collections::BTreeMap;

use super::{
    Advert, AdvertError, ServiceName,
    rate::{Rate, RateBySource},
};
use crate::{
    base::UnixSeconds,
    identity::{PeerId, PublicKey},
};

/// Verifying a signature costs some 50 µs: 16 a second from one neighbour are lost in the noise,
/// and enough for a network of ten thousand that renews every ten minutes.
const ADVERTS_OF_NEIGHBOUR: Rate = Rate { burst: 128, per_second: 16 };

/// More direct neighbours than gossip ever has.
const NEIGHBOURS: usize = 1024;

/// A node that restarts says so at once, and has no other reason to speak twice in this time.
const RENEWAL_SECONDS_MIN: u64 = 2;

/// The bounds of an [`AdvertRegistry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Adverts believed at a time.
    pub adverts: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self { adverts: 4096 }
    }
}

/// The newest advert of each node, until it expires.
#[derive(Clone, Debug)]
pub struct AdvertRegistry {
    limits: RegistryLimits,
    adverts: BTreeMap<PublicKey, Advert>,
    neighbours: RateBySource<PeerId>,
}

/// What became of an advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdvertVerdict {
    /// It says something new: believe it and pass it on.
    Fresh(PublicKey),
    /// It was known already, or a newer one is: nobody's fault.
    Known,
    /// It is not believed.
    Refused(AdvertRefusal),
}

/// Why an advert is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvertRefusal {
    /// No honest node made this or let it through: the neighbour it came from is to blame.
    #[error(transparent)]
    Invalid(#[from] AdvertError),
    /// Past its time, or from the future. Clocks differ and messages are late: nobody is to blame.
    #[error("the advert is past its time, or from the future")]
    NotCurrent,
    /// The node speaks too often.
    #[error("the node renewed its advert too soon")]
    TooSoon,
    /// The neighbour sent too many.
    #[error("too many adverts from one neighbour")]
    TooMany,
    /// The table is full of adverts that are still good.
    #[error("the table of adverts is full")]
    Full,
}

impl AdvertRegistry {
    /// Nobody known yet.
    pub fn new(limits: RegistryLimits) -> Self {
        Self {
            limits,
            adverts: BTreeMap::new(),
            neighbours: RateBySource::new(ADVERTS_OF_NEIGHBOUR, NEIGHBOURS),
        }
    }

    /// All that is believed at `now`, by node.
    pub fn current(&self, now: UnixSeconds) -> impl Iterator<Item = &Advert> {
        self.adverts.values().filter(move |advert| advert.is_current(now))
    }

    /// Who provides a service at `now`.
    pub fn providers<'a>(
        &'a self,
        now: UnixSeconds,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = &'a Advert> {
        self.current(now).filter(move |advert| advert.services.contains(service))
    }

    /// Adverts held, whether current or about to be forgotten.
    pub fn len(&self) -> usize {
        self.adverts.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.adverts.is_empty()
    }

    /// A neighbour passed an advert on.
    pub fn apply(&mut self, now: UnixSeconds, neighbour: &PeerId, bytes: &[u8]) -> AdvertVerdict {
        match self.judge(now, neighbour, bytes) {
            Ok(verdict) => verdict,
            Err(refusal) => AdvertVerdict::Refused(refusal),
        }
    }

    fn judge(
        &mut self,
        now: UnixSeconds,
        neighbour: &PeerId,
        bytes: &[u8],
    ) -> Result<AdvertVerdict, AdvertRefusal> {
        if !self.neighbours.try_take(now, neighbour) {
            return Err(AdvertRefusal::TooMany);
        }
        let advert = Advert::open(bytes)?;
        if !advert.is_current(now) {
            return Err(AdvertRefusal::NotCurrent);
        }
        match self.adverts.get(&advert.node) {
            Some(known) if known.sequence >= advert.sequence => return Ok(AdvertVerdict::Known),
            Some(known) if known.issued.plus(RENEWAL_SECONDS_MIN) > advert.issued => {
                return Err(AdvertRefusal::TooSoon);
            }
            Some(_) => {}
            None if self.adverts.len() >= self.limits.adverts => {
                self.expire(now);
                // Whoever is here stays: identities cost nothing, so newcomers must not push out.
                if self.adverts.len() >= self.limits.adverts {
                    return Err(AdvertRefusal::Full);
                }
            }
            None => {}
        }
        let node = advert.node.clone();
        self.adverts.insert(node.clone(), advert);
        debug_assert!(self.adverts.len() <= self.limits.adverts, "the table is bounded");
        Ok(AdvertVerdict::Fresh(node))
    }

    /// Forgets what is past its time. Called by the shell now and then.
    pub fn expire(&mut self, now: UnixSeconds) {
        self.adverts.retain(|_, advert| now < advert.expires);
        self.neighbours.forget_idle(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Keypair;

    const NOW: u64 = 1_000_000;

    fn node(number: u16) -> Keypair {
        let mut secret = [0; 32];
        secret[..2].copy_from_slice(&number.to_le_bytes());
        Keypair::from_secret(secret)
    }

    fn neighbour(number: u16) -> PeerId {
        node(number).public().to_peer_id()
    }

    fn said(by: &Keypair, sequence: u64, issued: u64) -> Vec<u8> {
        Advert {
            node: by.public(),
            sequence,
            issued: UnixSeconds(issued),
            expires: UnixSeconds(issued + 600),
            services: vec!["/blackhole/cdn/1.0.0".parse().unwrap()],
            addresses: vec![],
        }
        .sign(by)
    }

    fn registry(adverts: usize) -> AdvertRegistry {
        AdvertRegistry::new(RegistryLimits { adverts })
    }

    fn refused(verdict: &AdvertVerdict, expect: &AdvertRefusal) {
        assert_eq!(verdict, &AdvertVerdict::Refused(expect.clone()));
    }

    #[test]
    fn the_newest_statement_of_a_node_wins() {
        let (mut registry, alice) = (registry(8), node(1));
        let mut hear = |sequence, at| {
            let verdict = registry.apply(UnixSeconds(at), &neighbour(9), &said(&alice, sequence, at));
            (verdict, registry.adverts[&alice.public()].sequence)
        };
        assert_eq!(hear(5, NOW), (AdvertVerdict::Fresh(alice.public()), 5));
        assert_eq!(hear(5, NOW + 10), (AdvertVerdict::Known, 5));
        assert_eq!(hear(4, NOW + 20), (AdvertVerdict::Known, 5), "an older one changes nothing");
        assert_eq!(hear(6, NOW + 30), (AdvertVerdict::Fresh(alice.public()), 6));
        let (verdict, kept) = hear(7, NOW + 31);
        refused(&verdict, &AdvertRefusal::TooSoon);
        assert_eq!(kept, 6);
    }

    #[test]
    fn adverts_are_believed_until_they_expire() {
        let (mut registry, alice) = (registry(8), node(1));
        let cdn = "/blackhole/cdn/1.0.0".parse().unwrap();
        let other = "/blackhole/storage/1.0.0".parse().unwrap();
        registry.apply(UnixSeconds(NOW), &neighbour(9), &said(&alice, 1, NOW));
        assert_eq!(registry.providers(UnixSeconds(NOW + 599), &cdn).count(), 1);
        assert_eq!(registry.providers(UnixSeconds(NOW + 599), &other).count(), 0);
        assert_eq!(registry.current(UnixSeconds(NOW + 600)).count(), 0);
        registry.expire(UnixSeconds(NOW + 600));
        assert!(registry.is_empty());
        let late = registry.apply(UnixSeconds(NOW + 600), &neighbour(9), &said(&alice, 1, NOW));
        refused(&late, &AdvertRefusal::NotCurrent);
        let early = registry.apply(UnixSeconds(NOW), &neighbour(9), &said(&alice, 1, NOW + 3600));
        refused(&early, &AdvertRefusal::NotCurrent);
    }

    #[test]
    fn a_full_table_keeps_whom_it_knows() {
        let mut registry = registry(3);
        let mut hear = |number, sequence, at| {
            registry.apply(UnixSeconds(at), &neighbour(number), &said(&node(number), sequence, at))
        };
        for number in 1..=3 {
            assert!(matches!(hear(number, 1, NOW), AdvertVerdict::Fresh(_)));
        }
        refused(&hear(4, 1, NOW), &AdvertRefusal::Full);
        assert!(matches!(hear(2, 2, NOW + 300), AdvertVerdict::Fresh(_)), "a known node renews");
        assert!(matches!(hear(4, 1, NOW + 600), AdvertVerdict::Fresh(_)), "the dead make room");
        assert_eq!(registry.len(), 2);
    }

    #[test]
    fn forged_adverts_are_the_neighbours_fault() {
        let (mut registry, alice) = (registry(8), node(1));
        let mut forged = said(&alice, 1, NOW);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let verdict = registry.apply(UnixSeconds(NOW), &neighbour(9), &forged);
        refused(&verdict, &AdvertError::Signature.into());
        assert!(registry.is_empty());
    }

    #[test]
    fn a_neighbour_that_floods_is_not_listened_to() {
        let mut registry = registry(4096);
        let judged = (0..1000).filter(|_| {
            registry.apply(UnixSeconds(NOW), &neighbour(9), b"rubbish")
                != AdvertVerdict::Refused(AdvertRefusal::TooMany)
        });
        assert_eq!(judged.count(), 128);
        let other = registry.apply(UnixSeconds(NOW), &neighbour(8), &said(&node(1), 1, NOW));
        assert!(matches!(other, AdvertVerdict::Fresh(_)), "others are");
    }
}
