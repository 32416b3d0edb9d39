//! Storage over strangers, wired to the network: whose streams go where, and what of it runs.

use std::{path::Path, sync::Arc};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use net::Network;
use shared::{
    identity::{Keypair, PublicKey},
    storage::messages::{HOLDERS_TOPIC, PROTOCOL},
};
use storage::{
    Config,
    strangers::{self, Incoming, door, hold::Hold, own::Own},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::wire_up::{dial, own_addresses};

/// Streams that wait for the holder; later ones are reset.
const STREAMS: usize = 64;
/// What others store here.
const HELD_DIRECTORY: &str = "held";
/// The part of the data directory that is storage's.
const DIRECTORY: &str = "storage";

/// Takes the streams of storage out of what happens on links.
pub(crate) fn route(
    events: impl Stream<Item = links::Event> + Send + 'static,
    links: links::Control,
) -> (BoxStream<'static, links::Event>, mpsc::Receiver<Incoming>) {
    let (sender, receiver) = mpsc::channel(STREAMS);
    let rest = events.filter_map(move |event| {
        let rest = match event {
            links::Event::Incoming { link, protocol, stream } if protocol.as_ref() == PROTOCOL => {
                let peer = links.link(link).and_then(|link| PublicKey::from_peer_id(&link.peer).ok());
                if let Some(peer) = peer
                    && sender.try_send(Incoming { peer, stream }).is_err()
                {
                    tracing::debug!("a stream was reset: the holder is busy");
                }
                None
            }
            event => Some(event),
        };
        std::future::ready(rest)
    });
    (rest.boxed(), receiver)
}

/// What was started.
#[derive(Default)]
pub(crate) struct Started {
    /// Ends after the shutdown.
    pub(crate) running: Vec<JoinHandle<()>>,
    /// The half that keeps this node's objects with others.
    pub(crate) own: Option<Arc<Own>>,
}

/// Starts the halves that are configured, until `shutdown`.
pub(crate) async fn join(
    config: &Config,
    data_dir: &Path,
    key: &Keypair,
    network: &Arc<Network>,
    shards: mpsc::Receiver<Incoming>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Started> {
    let directory = data_dir.join(DIRECTORY);
    if config.hold.is_none() && config.own.is_none() {
        return Ok(Started::default());
    }
    std::fs::create_dir_all(&directory)?;
    let mut running = Vec::new();
    let strangers = Arc::new(strangers::Network {
        links: network.links(),
        dial: dial(Arc::downgrade(network)),
        addresses: own_addresses(Arc::downgrade(network)),
        publish: {
            let network = Arc::downgrade(network);
            Box::new(move |bytes| {
                let network = network.clone();
                Box::pin(async move {
                    match network.upgrade() {
                        Some(network) => network.publish(HOLDERS_TOPIC, bytes).await.is_ok(),
                        None => false,
                    }
                })
            })
        },
        reached: strangers::Reached::default(),
    });
    // Who holds passes on what others offer, and so hears it too.
    let mut adverts = network.subscribe(HOLDERS_TOPIC).await?;
    if let Some(hold) = config.hold.clone() {
        let hold = Hold::open(hold, &directory.join(HELD_DIRECTORY), key.clone()).await?;
        running.push(hold.run(Arc::clone(&strangers), shards, shutdown.clone()));
    }
    let own = match config.own.clone() {
        Some(own) => Some(Own::open(own, &directory, key.clone(), strangers).await?),
        None => None,
    };
    if let Some(own) = &own {
        running.push(own.run(shutdown.clone()));
        running.push(door::open(Arc::clone(own), data_dir, shutdown.clone())?);
    }
    let (shutdown, hearing) = (shutdown.clone(), own.clone());
    running.push(tokio::spawn(async move {
        while let Some(Some(advert)) = shutdown.run_until_cancelled(adverts.recv()).await {
            if let Some(own) = &hearing {
                own.handle_advert(advert.bytes).await;
            }
        }
    }));
    Ok(Started { running, own })
}
