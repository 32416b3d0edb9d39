//! How many connections each source has, so that none takes the place of all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections by whom they come from. Never more rows than there are connections.
#[derive(Clone)]
pub(super) struct Sources {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// One connection's place. It is free again once this is dropped.
pub(super) struct Place {
    source: IpAddr,
    sources: Sources,
}

impl Sources {
    pub(super) fn new(most: usize) -> Self {
        Self { counts: Arc::default(), most }
    }

    /// A place for a connection from `address`; none where its source has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let source = source(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { source, sources: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sources.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// Whoever has one address of IPv6 has the other 2^64 of its network as well.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_so_many_places_and_gets_them_back() {
        let sources = Sources::new(2);
        let enter = |address: &str| sources.enter(address.parse().unwrap());
        let first = enter("192.0.2.1");
        let _second = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none(), "the same address, however it is written");
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        let _one = enter("2001:db8::1").unwrap();
        let _other = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "one network is one source");
        assert!(enter("2001:db8:0:1::3").is_some());
        drop((_one, _other));
        assert_eq!(sources.counts.lock().unwrap().len(), 1, "who has none leaves no row");
    }
}
