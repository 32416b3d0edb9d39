//! The handle to a running network.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    multiaddr::Protocol,
    swarm::{Config as SwarmConfig, Swarm},
};
use prometheus_client::registry::Registry;
use shared::{
    coordination::{Advert, AdvertRegistry, RegistryLimits, ServiceName},
    identity::Keypair,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    Config,
    behaviour::Protocols,
    clock::unix_now,
    driver::{Command, DialFailed, Driver, Gossiped, IDLE_TIMEOUT, PublishFailed},
    lean::Lean,
    listen,
    metrics::Metrics,
    transport,
};

pub use crate::metrics::NetworkStatus;

/// Commands waiting for the driver; a caller beyond waits with them.
const COMMANDS: usize = 64;

/// Messages of one gossip topic waiting to be read; later ones are dropped and counted.
const GOSSIP_WAITING: usize = 256;

/// The network is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network is shut down")]
pub struct Stopped;

/// What the driver tells its handles.
#[derive(Default)]
pub(crate) struct Board {
    pub(crate) listening: Vec<Multiaddr>,
    pub(crate) external: Vec<Multiaddr>,
}

/// A running network. Dropping it ends the network at once; [`Network::shutdown`] in good order.
pub struct Network {
    peer: PeerId,
    links: links::Control,
    commands: mpsc::Sender<Command>,
    board: Arc<Mutex<Board>>,
    adverts: Arc<Mutex<AdvertRegistry>>,
    metrics: Metrics,
    task: JoinHandle<()>,
}

impl Network {
    /// Binds the listeners, and then runs until shut down. The links of `services` arrive at the
    /// returned events, with those of [`Config::unadvertised`]; the services are advertised.
    ///
    /// # Errors
    /// Names the line of the configuration that cannot be done, and why.
    pub async fn start(
        config: Config,
        keypair: &Keypair,
        services: Vec<ServiceName>,
        registry: &mut Registry,
    ) -> anyhow::Result<(Self, links::Events)> {
        let metrics = Metrics::register(registry);
        let protocols = services
            .iter()
            .chain(&config.unadvertised)
            .map(|service| StreamProtocol::try_from_owned(service.to_string()))
            .collect::<Result<Vec<_>, _>>()
            .context("a service is named by its protocol id")?;
        let limits = links::Limits {
            links: usize::try_from(config.connections.established)?,
            links_per_peer: usize::try_from(config.connections.established_per_peer)?,
            ..links::Limits::default()
        };
        let (behaviour, links, events) = links::Behaviour::new(links::Config { protocols, limits });
        let mut swarm = build_swarm(&config, keypair, behaviour, &metrics)?;
        let peer = *swarm.local_peer_id();
        let listeners = listen::bind(&mut swarm, &config).await?;

        let limits = RegistryLimits { adverts: config.records.adverts };
        let adverts = Arc::new(Mutex::new(AdvertRegistry::new(limits)));
        let board = Arc::new(Mutex::new(Board::default()));
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let driver = Driver::new(crate::driver::Parts {
            swarm,
            config,
            keypair: keypair.clone(),
            services,
            links: links.clone(),
            listeners,
            commands: receiver,
            board: Arc::clone(&board),
            adverts: Arc::clone(&adverts),
            metrics: metrics.clone(),
            libp2p_metrics: libp2p::metrics::Metrics::new(registry.sub_registry_with_prefix("libp2p")),
        });
        let task = tokio::spawn(driver.run());
        Ok((Self { peer, links, commands, board, adverts, metrics, task }, events))
    }

    /// This node's peer id.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Where this node listens, dialable as they are: each ends in `/p2p/` and the peer id.
    #[must_use]
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.named(|board| board.listening.clone())
    }

    /// Where this node believes to be reachable from outside, in the same form.
    #[must_use]
    pub fn external_addrs(&self) -> Vec<Multiaddr> {
        self.named(|board| board.external.clone())
    }

    fn named(&self, pick: impl FnOnce(&Board) -> Vec<Multiaddr>) -> Vec<Multiaddr> {
        let addresses = pick(&self.board.lock().unwrap_or_else(PoisonError::into_inner));
        let name = |address: Multiaddr| match address.iter().last() {
            Some(Protocol::P2p(peer)) if peer == self.peer => address,
            _ => address.with(Protocol::P2p(self.peer)),
        };
        addresses.into_iter().map(name).collect()
    }

    /// Opens and looks up links.
    #[must_use]
    pub fn links(&self) -> links::Control {
        self.links.clone()
    }

    /// The other nodes that are known, and what they provide.
    #[must_use]
    pub fn adverts(&self) -> Vec<Advert> {
        let adverts = self.adverts.lock().unwrap_or_else(PoisonError::into_inner);
        adverts.current(unix_now()).cloned().collect()
    }

    /// What an operator wants to see.
    #[must_use]
    pub fn status(&self) -> NetworkStatus {
        self.metrics.status(&self.links)
    }

    /// Connects to an address; answers with whom it reached.
    ///
    /// # Errors
    /// [`DialFailed`] says why nobody was reached.
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerId, DialFailed> {
        self.ask(|reply| Command::Dial { address, reply }).await.unwrap_or(Err(DialFailed::Stopped))
    }

    /// Says in the DHT that this node has the content with this key, until [`Network::withdraw`].
    ///
    /// # Errors
    /// [`Stopped`] after shutdown. A full store is logged, since whoever looks still finds us by
    /// our adverts.
    pub async fn provide(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.tell(Command::Provide { key }).await
    }

    /// Takes [`Network::provide`] back; others forget within two hours.
    ///
    /// # Errors
    /// [`Stopped`] after shutdown.
    pub async fn withdraw(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.tell(Command::Withdraw { key }).await
    }

    /// Asks the DHT who has the content with this key. Empty when nobody is found, or when too
    /// many such questions are under way.
    ///
    /// # Errors
    /// [`Stopped`] after shutdown.
    pub async fn providers(&self, key: Vec<u8>) -> Result<Vec<PeerId>, Stopped> {
        self.ask(|reply| Command::Providers { key, reply }).await
    }

    /// Hears a gossip topic until the receiver is dropped.
    ///
    /// # Errors
    /// [`Stopped`] after shutdown.
    pub async fn subscribe(&self, topic: &str) -> Result<mpsc::Receiver<Gossiped>, Stopped> {
        let (sender, receiver) = mpsc::channel(GOSSIP_WAITING);
        self.tell(Command::Subscribe { topic: topic.to_owned(), sender }).await?;
        Ok(receiver)
    }

    /// Tells everybody who hears a gossip topic.
    ///
    /// # Errors
    /// [`PublishFailed`] says why nobody will hear it.
    pub async fn publish(&self, topic: &str, bytes: Vec<u8>) -> Result<(), PublishFailed> {
        let topic = topic.to_owned();
        self.ask(|reply| Command::Publish { topic, bytes, reply })
            .await
            .unwrap_or(Err(PublishFailed::Stopped))
    }

    /// Closes all connections, and returns when they are closed or have had two seconds.
    pub async fn shutdown(self) {
        // Where the driver has ended already, there is nothing left to close.
        let _ = self.commands.send(Command::Shutdown).await;
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            tracing::error!(%error, "the network ended in a panic");
        }
    }

    async fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    async fn ask<Answer>(
        &self,
        command: impl FnOnce(oneshot::Sender<Answer>) -> Command,
    ) -> Result<Answer, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }
}

fn build_swarm(
    config: &Config,
    keypair: &Keypair,
    links: links::Behaviour,
    metrics: &Metrics,
) -> anyhow::Result<Swarm<Lean<Protocols>>> {
    let keypair = keypair.to_libp2p();
    let peer = keypair.public().to_peer_id();
    let (relay_transport, relay_client) = libp2p::relay::client::new(peer);
    let transport = transport::build(config, &keypair, relay_transport)?;
    let protocols = Lean(Protocols::new(config, &keypair, links, relay_client, metrics)?);
    let swarm_config = SwarmConfig::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
    Ok(Swarm::new(transport, protocols, peer, swarm_config))
}
