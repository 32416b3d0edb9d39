//! Who may have a session: bounded in all and from one source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::Limits;
use super::stats::Stats;

/// Counts sessions and handshakes, in all and by source.
#[derive(Debug)]
pub(super) struct Admission {
    counts: Mutex<Counts>,
    limits: Limits,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct Counts {
    total: Held,
    by_source: HashMap<IpAddr, Held>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    sessions: usize,
    handshakes: usize,
}

/// Why a session may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Source,
}

impl Admission {
    pub(super) fn new(limits: Limits, stats: Arc<Stats>) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), limits, stats })
    }

    /// Admits a handshake from `address`, or says why not.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Refused> {
        let source = source_of(address);
        let mut counts = self.lock();
        let of_source = counts.by_source.get(&source).copied().unwrap_or_default();
        if counts.total.sessions >= self.limits.sessions || counts.total.handshakes >= self.limits.handshakes
        {
            self.stats.refused_full.one();
            return Err(Refused::Full);
        }
        if of_source.sessions >= self.limits.sessions_per_source
            || of_source.handshakes >= self.limits.handshakes_per_source
        {
            self.stats.refused_source.one();
            return Err(Refused::Source);
        }
        counts.change(source, |held| {
            held.sessions += 1;
            held.handshakes += 1;
        });
        self.publish(&counts);
        Ok(Permit { admission: self.clone(), source, handshaking: true })
    }

    fn publish(&self, counts: &Counts) {
        self.stats.sessions.set(counts.total.sessions as u64);
        self.stats.handshakes.set(counts.total.handshakes as u64);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn change(&mut self, source: IpAddr, change: impl Fn(&mut Held)) {
        change(&mut self.total);
        let held = self.by_source.entry(source).or_default();
        change(held);
        if held.sessions == 0 {
            self.by_source.remove(&source);
        }
    }
}

/// The right to a session; returned when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    source: IpAddr,
    handshaking: bool,
}

impl Permit {
    /// The remote proved who it is: the session counts no longer as a handshake.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.handshaking) {
            let mut counts = self.admission.lock();
            counts.change(self.source, |held| held.handshakes -= 1);
            self.admission.publish(&counts);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.settle();
        let mut counts = self.admission.lock();
        counts.change(self.source, |held| held.sessions -= 1);
        self.admission.publish(&counts);
    }
}

/// An IPv4 address, or the /64 an IPv6 address is in: that is what one party commonly holds.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: Limits) -> Arc<Admission> {
        Admission::new(limits, Arc::default())
    }

    #[test]
    fn one_source_cannot_take_all_handshakes() {
        let admission = admission(Limits { handshakes_per_source: 2, ..Limits::default() });
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let held = [admission.admit(address(1)).unwrap(), admission.admit(address(2)).unwrap()];
        assert_eq!(admission.admit(address(3)).unwrap_err(), Refused::Source);
        assert!(admission.admit(IpAddr::from([192, 0, 2, 1])).is_ok());
        drop(held);
        assert!(admission.admit(address(3)).is_ok());
    }

    #[test]
    fn settled_sessions_leave_room_for_handshakes_up_to_the_total() {
        let admission = admission(Limits { handshakes: 1, sessions: 2, ..Limits::default() });
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut first = admission.admit(address).unwrap();
        assert_eq!(admission.admit(address).unwrap_err(), Refused::Full);
        first.settle();
        let mut second = admission.admit(address).unwrap();
        second.settle();
        assert_eq!(admission.admit(address).unwrap_err(), Refused::Full);
        drop((first, second));
        assert_eq!(admission.stats.sessions.get(), 0);
        assert!(admission.lock().by_source.is_empty());
    }
}
