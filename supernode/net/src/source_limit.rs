//! How many connections one source may have: an IPv4 address, or an IPv6 /64, which is what one
//! household or one rented machine gets.
//!
//! libp2p's own limits know peers and totals; a peer id costs nothing to make, an address does.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, Ipv6Addr},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished, dummy,
    },
};
use prometheus_client::metrics::counter::Counter;

use crate::{ConnectionLimits, address::ip_of};

/// Counts incoming connections by source and refuses those beyond the limits.
pub(crate) struct Behaviour {
    established_max: u32,
    pending_max: u32,
    by_source: BTreeMap<IpAddr, Counts>,
    /// Bounded by the total limits on connections, which stand before this behaviour.
    connections: BTreeMap<ConnectionId, (IpAddr, Stage)>,
    refused: Counter,
}

#[derive(Default)]
struct Counts {
    pending: u32,
    established: u32,
}

#[derive(Clone, Copy)]
enum Stage {
    Pending,
    Established,
}

/// A connection was refused because its source has enough of them.
#[derive(Debug, thiserror::Error)]
#[error("too many connections from one source")]
pub(crate) struct TooManyFromSource;

impl Behaviour {
    pub(crate) fn new(limits: &ConnectionLimits, refused: Counter) -> Self {
        Self {
            established_max: limits.established_per_source,
            pending_max: limits.pending_per_source,
            by_source: BTreeMap::new(),
            connections: BTreeMap::new(),
            refused,
        }
    }

    fn admit(&mut self, connection: ConnectionId, source: IpAddr) -> Result<(), TooManyFromSource> {
        let counts = self.by_source.entry(source).or_default();
        if counts.pending >= self.pending_max || counts.pending + counts.established >= self.established_max {
            self.refused.inc();
            return Err(TooManyFromSource);
        }
        counts.pending += 1;
        self.connections.insert(connection, (source, Stage::Pending));
        Ok(())
    }

    fn establish(&mut self, connection: ConnectionId) {
        let Some((source, stage)) = self.connections.get_mut(&connection) else { return };
        if let (Stage::Pending, Some(counts)) = (*stage, self.by_source.get_mut(source)) {
            *stage = Stage::Established;
            counts.pending -= 1;
            counts.established += 1;
        }
    }

    fn forget(&mut self, connection: ConnectionId) {
        let Some((source, stage)) = self.connections.remove(&connection) else { return };
        let Some(counts) = self.by_source.get_mut(&source) else { return };
        match stage {
            Stage::Pending => counts.pending -= 1,
            Stage::Established => counts.established -= 1,
        }
        if counts.pending == 0 && counts.established == 0 {
            self.by_source.remove(&source);
        }
    }
}

/// What is counted as one source; none for what comes through a relay or from this machine.
fn source_of(address: &Multiaddr) -> Option<IpAddr> {
    match ip_of(address)? {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => {
            let network = u128::from(ip) & !u128::from(u64::MAX);
            Some(Ipv6Addr::from(network).into())
        }
        ip => Some(ip),
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match source_of(remote) {
            Some(source) => self.admit(connection, source).map_err(ConnectionDenied::new),
            None => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. }) => {
                self.establish(connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => self.forget(connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour() -> Behaviour {
        let limits = ConnectionLimits {
            established_per_source: 3,
            pending_per_source: 2,
            ..ConnectionLimits::default()
        };
        Behaviour::new(&limits, Counter::default())
    }

    fn knock(behaviour: &mut Behaviour, number: usize, from: &str) -> bool {
        let local = "/ip4/192.0.2.9/tcp/1".parse().unwrap();
        let connection = ConnectionId::new_unchecked(number);
        behaviour.handle_pending_inbound_connection(connection, &local, &from.parse().unwrap()).is_ok()
    }

    #[test]
    fn one_source_cannot_take_all_places() {
        let mut behaviour = behaviour();
        assert!(knock(&mut behaviour, 1, "/ip4/192.0.2.1/tcp/1"));
        assert!(knock(&mut behaviour, 2, "/ip4/192.0.2.1/tcp/2"));
        assert!(!knock(&mut behaviour, 3, "/ip4/192.0.2.1/tcp/3"), "two are pending");
        assert!(knock(&mut behaviour, 4, "/ip4/192.0.2.2/tcp/1"), "another source has its own places");

        behaviour.establish(ConnectionId::new_unchecked(1));
        behaviour.establish(ConnectionId::new_unchecked(2));
        assert!(knock(&mut behaviour, 5, "/ip4/192.0.2.1/udp/3/quic-v1"));
        assert!(!knock(&mut behaviour, 6, "/ip4/192.0.2.1/tcp/4"), "three in all");
        behaviour.forget(ConnectionId::new_unchecked(1));
        assert!(knock(&mut behaviour, 7, "/ip4/192.0.2.1/tcp/5"));
        assert_eq!(behaviour.refused.get(), 2);
    }

    #[test]
    fn nothing_is_remembered_of_those_that_left() {
        let mut behaviour = behaviour();
        knock(&mut behaviour, 1, "/ip4/192.0.2.1/tcp/1");
        knock(&mut behaviour, 2, "/ip6/2001:db8::1/tcp/1");
        behaviour.establish(ConnectionId::new_unchecked(1));
        behaviour.forget(ConnectionId::new_unchecked(1));
        behaviour.forget(ConnectionId::new_unchecked(2));
        behaviour.forget(ConnectionId::new_unchecked(2));
        assert!(behaviour.by_source.is_empty() && behaviour.connections.is_empty());
    }

    #[test]
    fn a_household_is_one_source_and_loopback_is_none() {
        let source = |address: &str| source_of(&address.parse().unwrap());
        assert_eq!(source("/ip6/2001:db8::1/tcp/1"), source("/ip6/2001:db8::ffff:2/tcp/1"));
        assert_ne!(source("/ip6/2001:db8::1/tcp/1"), source("/ip6/2001:db8:0:1::1/tcp/1"));
        assert_eq!(source("/ip4/127.0.0.1/tcp/1"), None);
        assert_eq!(source("/ip6/::ffff:127.0.0.1/tcp/1"), None);
    }
}
