//! Whom to connect to: who the operator named, who a caller asks for, and relays that vouch for us.

use std::{collections::BTreeMap, time::Duration};

use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{sync::oneshot, time::Instant};

use super::Driver;
use crate::Config;

/// Dials that a caller waits for; the swarm's own limit on pending dials is of this order.
const DIALS_WAITED_FOR: usize = 256;

/// First pause before a bootstrap node or relay that did not answer is tried again,
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// and the longest: a network that comes back is found within five minutes.
const RETRY_LAST: Duration = Duration::from_secs(300);

/// Why nobody was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFailed {
    /// No address answered as the right peer.
    #[error("{0}")]
    Unreachable(String),
    /// Too many dials are under way.
    #[error("too many dials are under way")]
    Busy,
    /// The network is shut down.
    #[error("the network is shut down")]
    Stopped,
}

pub(super) struct Dialing {
    waiting: BTreeMap<ConnectionId, oneshot::Sender<Result<PeerId, DialFailed>>>,
    bootstrap: Vec<Bootstrap>,
    retry: Retry,
}

struct Bootstrap {
    address: Multiaddr,
    /// Stated in the address, or learned when it answered.
    peer: Option<PeerId>,
    dialing: Option<ConnectionId>,
}

struct Retry {
    at: Instant,
    pause: Duration,
}

impl Dialing {
    pub(super) fn new(config: &Config) -> Self {
        let bootstrap = |address: &Multiaddr| {
            let peer = match address.iter().last() {
                Some(Protocol::P2p(peer)) => Some(peer),
                _ => None,
            };
            Bootstrap { address: address.clone(), peer, dialing: None }
        };
        Self {
            waiting: BTreeMap::new(),
            bootstrap: config.bootstrap.iter().map(|dial| bootstrap(dial.address())).collect(),
            retry: Retry { at: Instant::now(), pause: RETRY_FIRST },
        }
    }
}

impl Driver {
    pub(super) fn dial(&mut self, address: Multiaddr, reply: oneshot::Sender<Result<PeerId, DialFailed>>) {
        self.dialing.waiting.retain(|_, reply| !reply.is_closed());
        // A caller that left does not need to know.
        let refuse = |reply: oneshot::Sender<_>, reason| drop(reply.send(Err(reason)));
        if self.dialing.waiting.len() >= DIALS_WAITED_FOR {
            return refuse(reply, DialFailed::Busy);
        }
        let options = DialOpts::from(address);
        let connection = options.connection_id();
        match self.parts.swarm.dial(options) {
            Ok(()) => {
                self.dialing.waiting.insert(connection, reply);
            }
            Err(error) => refuse(reply, DialFailed::Unreachable(error.to_string())),
        }
    }

    pub(super) fn on_dialed(&mut self, connection: ConnectionId, outcome: Result<PeerId, DialFailed>) {
        for bootstrap in self.dialing.bootstrap.iter_mut().filter(|node| node.dialing == Some(connection)) {
            bootstrap.dialing = None;
            match &outcome {
                Ok(peer) => {
                    bootstrap.peer = Some(*peer);
                    tracing::info!(%peer, "reached a bootstrap node");
                }
                Err(error) => {
                    tracing::warn!(address = %bootstrap.address, %error, "a bootstrap node did not answer");
                }
            }
        }
        if let Some(reply) = self.dialing.waiting.remove(&connection) {
            let _ = reply.send(outcome);
        }
    }

    /// Dials the bootstrap nodes that are not connected, and renews reservations that ended.
    pub(super) fn tick_dialing(&mut self, now: Instant) {
        if now < self.dialing.retry.at {
            return;
        }
        let swarm = &mut self.parts.swarm;
        let mut missing = false;
        for bootstrap in &mut self.dialing.bootstrap {
            let connected = bootstrap.peer.is_some_and(|peer| swarm.is_connected(&peer));
            let ourselves = bootstrap.peer == Some(*swarm.local_peer_id());
            if connected || ourselves || bootstrap.dialing.is_some() {
                continue;
            }
            missing = true;
            let options = match bootstrap.peer {
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .addresses(vec![bootstrap.address.clone()])
                    .build(),
                None => DialOpts::unknown_peer_id().address(bootstrap.address.clone()).build(),
            };
            let connection = options.connection_id();
            match swarm.dial(options) {
                Ok(()) => bootstrap.dialing = Some(connection),
                Err(error) => {
                    tracing::debug!(address = %bootstrap.address, %error, "cannot dial a bootstrap node");
                }
            }
        }
        for (relay, listener) in &mut self.parts.listeners.relayed {
            if listener.is_some() {
                continue;
            }
            missing = true;
            match swarm.listen_on(relay.address().clone()) {
                Ok(id) => *listener = Some(id),
                Err(error) => tracing::warn!(%relay, %error, "cannot ask the relay for a reservation"),
            }
        }
        let retry = &mut self.dialing.retry;
        retry.pause = if missing { (retry.pause * 2).min(RETRY_LAST) } else { RETRY_FIRST };
        retry.at = now + retry.pause;
    }
}
