//! Storage over strangers, wired to the network: whose streams go where, and what of it runs.

use std::{
    path::Path,
    sync::{Arc, Weak},
};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use net::{Multiaddr, Network};
use prometheus_client::registry::Registry;
use shared::{
    coordination::ServiceName,
    identity::{Keypair, PublicKey},
    storage::messages::{HOLDERS_TOPIC, PROTOCOL},
    wire::TAB_STORAGE_PROTOCOL,
};
use storage::{
    Config,
    strangers::{
        self, Heard, Incoming,
        door::{self, Halves},
        hold::Hold,
        own::Own,
    },
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::wire_up::own_addresses;

/// Streams that wait for the holder; later ones are reset.
const STREAMS: usize = 64;
/// Holders dialled of those that the DHT names.
const FOUND_DIALED: usize = 8;
/// What others store here.
const HELD_DIRECTORY: &str = "held";
/// The part of the data directory that is storage's.
const DIRECTORY: &str = "storage";

/// Streams of storage, by whom they are from.
pub(crate) struct Streams {
    /// Owners', auditors' and readers'.
    shards: mpsc::Receiver<Incoming>,
    /// Tabs'.
    tabs: mpsc::Receiver<Incoming>,
}

/// Takes the streams of storage out of what happens on links.
pub(crate) fn route(
    events: impl Stream<Item = links::Event> + Send + 'static,
    links: links::Control,
) -> (BoxStream<'static, links::Event>, Streams) {
    let (rest, shards) = take(events, links.clone(), PROTOCOL);
    let (rest, tabs) = take(rest, links, TAB_STORAGE_PROTOCOL);
    (rest, Streams { shards, tabs })
}

fn take(
    events: impl Stream<Item = links::Event> + Send + 'static,
    links: links::Control,
    name: &'static str,
) -> (BoxStream<'static, links::Event>, mpsc::Receiver<Incoming>) {
    let (sender, receiver) = mpsc::channel(STREAMS);
    let rest = events.filter_map(move |event| {
        let rest = match event {
            links::Event::Incoming { link, protocol, stream } if protocol.as_ref() == name => {
                let peer = links.link(link).and_then(|link| PublicKey::from_peer_id(&link.peer).ok());
                if let Some(peer) = peer
                    && sender.try_send(Incoming { peer, stream }).is_err()
                {
                    tracing::debug!(name, "a stream was reset: nobody takes it in time");
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
    /// The half that keeps others' shards.
    pub(crate) hold: Option<Arc<Hold>>,
}

/// Starts the halves that are configured, until `shutdown`.
pub(crate) async fn join(
    config: &Config,
    data_dir: &Path,
    key: &Keypair,
    network: &Arc<Network>,
    Streams { shards, tabs }: Streams,
    registry: &mut Registry,
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
        find: find(Arc::downgrade(network)),
        reached: strangers::Reached::default(),
    });
    let heard = Arc::new(Heard::default());
    // Who holds passes on what others offer, and so hears it too.
    let mut adverts = network.subscribe(HOLDERS_TOPIC).await?;
    let hold = match config.hold.clone() {
        Some(hold) => {
            let (directory, bucket) = (directory.join(HELD_DIRECTORY), config.bucket.as_ref());
            Some(Hold::open(hold, &directory, bucket, key.clone(), Arc::clone(&heard)).await?)
        }
        None => None,
    };
    if let Some(hold) = &hold {
        hold.register(registry);
        running.push(hold.run(Arc::clone(&strangers), shards, shutdown.clone()));
    }
    let own = match config.own.clone() {
        Some(own) => {
            let (network, heard) = (Arc::clone(&strangers), Arc::clone(&heard));
            Some(Own::open(own, &directory, key.clone(), network, heard).await?)
        }
        None => None,
    };
    if let Some(own) = &own {
        running.push(own.run(shutdown.clone()));
        if own.wants_tabs() {
            running.push(own.tend_tabs(tabs, shutdown.clone()));
        }
    }
    let halves = Halves { own: own.clone(), hold: hold.clone() };
    running.push(door::open(halves, data_dir, shutdown.clone())?);
    running.push(strangers::ask_around(strangers, Arc::clone(&heard), own.clone(), shutdown.clone()));
    let (shutdown, hearing) = (shutdown.clone(), own.clone());
    running.push(tokio::spawn(async move {
        while let Some(Some(advert)) = shutdown.run_until_cancelled(adverts.recv()).await {
            strangers::hear(&heard, hearing.as_ref(), advert.bytes).await;
        }
    }));
    Ok(Started { running, own, hold })
}

/// Lets the core connect: to the first of a peer's addresses that answers.
fn dial(network: Weak<Network>) -> strangers::Dial {
    Box::new(move |peer, addresses| {
        let network = network.clone();
        Box::pin(async move {
            for address in addresses {
                let (Some(network), Ok(address)) = (network.upgrade(), Multiaddr::try_from(address)) else {
                    continue;
                };
                if network.dial(address).await.is_ok_and(|reached| reached == peer.to_peer_id()) {
                    return true;
                }
            }
            false
        })
    })
}

/// Asks the DHT who holds shards, and connects to a few of them.
fn find(network: Weak<Network>) -> strangers::Find {
    Box::new(move || {
        let network = network.clone();
        Box::pin(async move {
            let (Some(network), Ok(service)) = (network.upgrade(), PROTOCOL.parse::<ServiceName>()) else {
                return;
            };
            let found = network.providers(service.key()).await.unwrap_or_default();
            for peer in found.into_iter().filter(|peer| *peer != network.peer_id()).take(FOUND_DIALED) {
                // The DHT told its addresses too.
                let Ok(address) = format!("/p2p/{peer}").parse() else { continue };
                if let Err(error) = network.dial(address).await {
                    tracing::debug!(%peer, %error, "a holder that the DHT names cannot be reached");
                }
            }
        })
    })
}
