//! The protocols of a supernode, as one behaviour.

use libp2p::{
    autonat, connection_limits, dcutr, identify,
    identity::Keypair,
    memory_connection_limits, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use crate::{Config, ConnectionLimits, dht, gossip, metrics::Metrics, source_limit};

/// What identification says of us: the product's name and version, as the swarm of others shows it.
const AGENT: &str = concat!("blackhole/", env!("CARGO_PKG_VERSION"));

/// The family of protocols; informative only.
const PROTOCOL_FAMILY: &str = "/blackhole/1.0.0";

/// Four fifths: the rest is for the page cache and for the operator's other processes.
const MEMORY_SHARE: f64 = 0.8;

/// The limits stand first: a connection they refuse never reaches the protocols.
#[derive(NetworkBehaviour)]
pub(crate) struct Protocols {
    totals: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    sources: source_limit::Behaviour,
    pub(crate) links: links::Behaviour,
    pub(crate) identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) dht: dht::Dht,
    pub(crate) gossip: gossip::Gossip,
    relay: Toggle<relay::Behaviour>,
    relay_client: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    autonat_client: autonat::v2::client::Behaviour,
    autonat_server: autonat::v2::server::Behaviour,
}

impl Protocols {
    pub(crate) fn new(
        config: &Config,
        keypair: &Keypair,
        links: links::Behaviour,
        relay_client: relay::client::Behaviour,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let peer = keypair.public().to_peer_id();
        let identify = identify::Config::new(PROTOCOL_FAMILY.to_owned(), keypair.public())
            .with_agent_version(AGENT.to_owned())
            .with_push_listen_addr_updates(true);
        Ok(Self {
            totals: connection_limits::Behaviour::new(totals(&config.connections)),
            memory: memory(&config.connections)?,
            sources: source_limit::Behaviour::new(&config.connections, metrics.refused_by_source.clone()),
            links,
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::default(),
            dht: dht::server(peer, &config.records),
            gossip: gossip::new(keypair)?,
            relay: crate::relay::server(peer, &config.relay),
            relay_client,
            dcutr: dcutr::Behaviour::new(peer),
            autonat_client: autonat::v2::client::Behaviour::default(),
            autonat_server: autonat::v2::server::Behaviour::default(),
        })
    }
}

fn totals(limits: &ConnectionLimits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_incoming))
        .with_max_pending_outgoing(Some(limits.pending_outgoing))
        .with_max_established(Some(limits.established))
        .with_max_established_per_peer(Some(limits.established_per_peer))
}

fn memory(limits: &ConnectionLimits) -> anyhow::Result<memory_connection_limits::Behaviour> {
    Ok(if limits.memory_mib == 0 {
        memory_connection_limits::Behaviour::with_max_percentage(MEMORY_SHARE)
    } else {
        let bytes = usize::try_from(limits.memory_mib.saturating_mul(1 << 20))?;
        memory_connection_limits::Behaviour::with_max_bytes(bytes)
    })
}
