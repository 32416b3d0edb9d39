//! Address translators between tabs, and whether two tabs behind theirs can reach each other.
//!
//! Both sides know each other's *advertised* endpoint, the one a server on the internet saw, and send there at the
//! same time, as ICE does (RFC 8445; the behaviours are those of RFC 4787). One packet that gets through
//! suffices: its receiver learns the true source and answers.

use core::time::Duration;

use shared::base::SeededRng;

/// Which outside endpoint a translator gives to one inside socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// One for all destinations.
    EndpointIndependent,
    /// Another one a destination address.
    AddressDependent,
    /// Another one a destination endpoint: "symmetric".
    AddressAndPortDependent,
}

/// Whom a translator lets in to a mapped endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// Anybody.
    EndpointIndependent,
    /// Addresses that were sent to from that endpoint.
    AddressDependent,
    /// Endpoints that were sent to from that endpoint.
    AddressAndPortDependent,
}

/// A translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// How it maps.
    pub mapping: Mapping,
    /// How it filters.
    pub filtering: Filtering,
    /// After how much silence it forgets a mapping. RFC 4787 asks for two minutes at least; some give 30 s.
    pub expiry: Duration,
}

impl Nat {
    /// What most homes have: one mapping, and only who was called may answer.
    pub const HOME: Self = Self {
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        expiry: Duration::from_secs(120),
    };
    /// A lenient home router.
    pub const OPEN_HOME: Self = Self {
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::EndpointIndependent,
        expiry: Duration::from_secs(120),
    };
    /// Mobile carriers and offices: another endpoint for everyone who is called.
    pub const SYMMETRIC: Self = Self {
        mapping: Mapping::AddressAndPortDependent,
        filtering: Filtering::AddressAndPortDependent,
        expiry: Duration::from_secs(30),
    };

    /// A translator as the mixed internet has them, a `symmetric` share of them symmetric.
    pub fn draw(rng: &mut SeededRng, symmetric: f64) -> Option<Self> {
        if rng.chance(symmetric) {
            return Some(Self::SYMMETRIC);
        }
        match rng.below(10) {
            0 => None,
            1 | 2 => Some(Self::OPEN_HOME),
            3 | 4 => Some(Self { filtering: Filtering::AddressDependent, ..Self::HOME }),
            _ => Some(Self::HOME),
        }
    }

    /// Whether one endpoint serves all destinations.
    pub fn is_cone(self) -> bool {
        self.mapping == Mapping::EndpointIndependent
    }
}

/// Whether a packet from behind `from` to the advertised endpoint of `to` gets in, while both are sending.
fn gets_in(from: Option<Nat>, to: Option<Nat>) -> bool {
    let Some(to) = to else { return true };
    // A translator without one common endpoint advertised the one it gave its server. Nobody else was
    // ever sent to from there.
    if !to.is_cone() {
        return to.filtering == Filtering::EndpointIndependent;
    }
    match to.filtering {
        Filtering::EndpointIndependent | Filtering::AddressDependent => true,
        // The other side was called at its advertised endpoint; it must be calling from just that one.
        Filtering::AddressAndPortDependent => from.is_none_or(Nat::is_cone),
    }
}

/// Whether two tabs can connect without a relay.
pub fn can_connect(a: Option<Nat>, b: Option<Nat>) -> bool {
    gets_in(a, b) || gets_in(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_pairs_only_with_lenient_translators() {
        let address_filter = Nat { filtering: Filtering::AddressDependent, ..Nat::HOME };
        let check = |a, b, expect| {
            assert_eq!(can_connect(a, b), expect, "{a:?} {b:?}");
            assert_eq!(can_connect(b, a), expect, "{b:?} {a:?}");
        };
        check(None, None, true);
        check(None, Some(Nat::SYMMETRIC), true);
        check(Some(Nat::HOME), Some(Nat::HOME), true);
        check(Some(Nat::HOME), Some(Nat::SYMMETRIC), false);
        check(Some(Nat::SYMMETRIC), Some(Nat::SYMMETRIC), false);
        check(Some(address_filter), Some(Nat::SYMMETRIC), true);
        check(Some(Nat::OPEN_HOME), Some(Nat::SYMMETRIC), true);
    }
}
