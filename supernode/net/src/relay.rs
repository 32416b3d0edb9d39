//! The operator's limits on the relay, in libp2p's terms.

use std::{num::NonZeroU32, time::Duration};

use libp2p::{PeerId, relay, swarm::behaviour::toggle::Toggle};

use crate::RelayLimits;

/// A renewal while the old reservation is open takes a second place for a moment.
const RESERVATIONS_PER_PEER: usize = 2;

/// A tab renews twice an hour; one that reconnects in a bad network, some times a minute.
const RESERVATIONS_PER_MINUTE_AND_PEER: u32 = 12;

pub(crate) fn server(peer: PeerId, limits: &RelayLimits) -> Toggle<relay::Behaviour> {
    limits.enabled.then(|| relay::Behaviour::new(peer, metered(limits))).into()
}

fn metered(limits: &RelayLimits) -> relay::Config {
    let mut config = relay::Config {
        max_reservations: limits.reservations,
        max_reservations_per_peer: RESERVATIONS_PER_PEER,
        reservation_duration: Duration::from_secs(limits.reservation_seconds.into()),
        reservation_rate_limiters: Vec::new(),
        max_circuits: limits.circuits,
        max_circuits_per_peer: limits.circuits_per_peer,
        max_circuit_duration: Duration::from_secs(limits.circuit_seconds.into()),
        max_circuit_bytes: limits.circuit_bytes,
        circuit_src_rate_limiters: Vec::new(),
    };
    if let Some((burst, interval)) = per_minute(RESERVATIONS_PER_MINUTE_AND_PEER) {
        config = config.reservation_rate_per_peer(burst, interval);
    }
    if let Some((burst, interval)) = per_minute(limits.reservations_per_minute_and_source) {
        config = config.reservation_rate_per_ip(burst, interval);
    }
    if let Some((burst, interval)) = per_minute(limits.circuits_per_minute_and_source) {
        config = config.circuit_src_per_ip(burst, interval);
    }
    if let Some((burst, interval)) = per_minute(limits.circuits_per_minute_and_peer) {
        config = config.circuit_src_per_peer(burst, interval);
    }
    config
}

/// libp2p's limiters hold up to `burst` tokens and regain one an interval. They cannot express "none
/// at all": to refuse everything, disable the relay or set the number of places to 0.
fn per_minute(rate: u32) -> Option<(NonZeroU32, Duration)> {
    NonZeroU32::new(rate).map(|burst| (burst, Duration::from_secs(60) / burst.get()))
}
