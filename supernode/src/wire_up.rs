//! How a node is put together, from top to bottom, and taken apart in reverse.

use std::{
    io::Write as _,
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::Context as _;
use cdn::{
    Cdn,
    swarm::{self, SwarmParts},
};
use chain::{Earnings, Money, News, Teller};
use gateway::{Edge, Login, PeerAddresses, Server};
use net::{Multiaddr, Network};
use prometheus_client::registry::Registry;
use runtime::DataDir;
use serde_json::json;
use shared::{cdn::bulk::PROTOCOL, storage::messages, wire::TAB_STORAGE_PROTOCOL};
use storage::Storage;
use tokio_util::sync::CancellationToken;

use crate::{about::About, config::Config, ipfs, payments, revocations, strangers};

/// The node's own key, in its data directory.
pub(crate) const KEY_FILE: &str = "node.key";
/// What was served, in the data directory.
const EARNINGS_FILE: &str = "earnings.redb";
/// Who is logged in at the edge, beside it.
const LOGIN_FILE: &str = "login.redb";
/// The certificate whose hash WebRTC Direct addresses carry, beside it.
const WEBRTC_CERTIFICATE_FILE: &str = "webrtc.pem";
/// How often blobs that nobody names are looked for. What is named by nothing twice in a row goes, so an
/// upload has at least this long between its blobs and its manifest.
const GARBAGE_EVERY: Duration = Duration::from_secs(1800);

/// Runs a node until it is interrupted.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let data_dir = DataDir::open(&config.node.data_dir)?;
    let key = runtime::load_or_create_key(&data_dir.path().join(KEY_FILE))?;
    let shutdown = CancellationToken::new();
    let mut registry = Registry::default();

    // Money, before whatever may earn or spend it.
    let settling = CancellationToken::new();
    let earnings = {
        let (path, config) = (data_dir.path().join(EARNINGS_FILE), config.earnings);
        let open = move || {
            let opened = Earnings::open(&path, config, runtime::unix_now());
            opened.with_context(|| format!("opening {}", path.display()))
        };
        tokio::task::spawn_blocking(open).await??
    };
    let (teller, recording) = chain::recorder(&earnings, settling.clone());
    let recorded = tokio::spawn(recording);
    let money_meters = chain::Meters::register(&mut registry);
    let money = match config.chain {
        Some(config) => {
            Some(Arc::new(Money::open(config, data_dir.path(), &key.public(), money_meters).await?))
        }
        None => None,
    };

    // Content.
    let meters = cdn::Meters::register(&mut registry);
    let cdn = {
        let (config, data_dir, key) = (config.cdn, data_dir.path().to_owned(), key.clone());
        tokio::task::spawn_blocking(move || Cdn::open(config, &data_dir, &key, meters)).await??
    };
    let fresh = cdn.keep_fresh(&shutdown);
    let garbage = tokio::spawn(collect_garbage(cdn.clone(), shutdown.clone()));

    // The network.
    let bucket = config.storage.as_ref().and_then(|storage| storage.bucket.clone());
    let ipfs_config = config.storage.as_ref().and_then(|storage| storage.ipfs.clone());
    let asked = config.earnings.price;
    let (network, swarm, storing, exchange, paying) = match config.network {
        Some(mut network) => {
            network.webrtc_certificate.get_or_insert_with(|| data_dir.path().join(WEBRTC_CERTIFICATE_FILE));
            let mut services = vec![PROTOCOL.parse().context("the service's own name")?];
            // Owners ask and are asked nothing: who only owns does not offer the service.
            if config.storage.as_ref().is_some_and(|storage| storage.hold.is_some()) {
                services.push(messages::PROTOCOL.parse().context("the service's own name")?);
            }
            // An owner hears tabs, and offers nobody else anything by that.
            let own = config.storage.as_ref().and_then(|storage| storage.own.as_ref());
            if own.is_some_and(|own| own.extra_shards > 0) {
                network.unadvertised.push(TAB_STORAGE_PROTOCOL.parse().context("what tabs speak")?);
            }
            if ipfs_config.is_some() {
                services.push(storage::ipfs::PROTOCOL.parse().context("the service's own name")?);
            }
            if config.payments.charge.is_some() {
                services.push(payments::PROTOCOL.parse().context("the service's own name")?);
            }
            let (network, links) = Network::start(network, &key, services, &mut registry).await?;
            let network = Arc::new(network);
            let (links, exchange) = ipfs::route(links, network.links());
            let (links, shards) = strangers::route(links, network.links());
            let (links, payers) = payments::route(links, network.links());
            let parts = payments::Parts {
                config: &config.payments,
                price: asked,
                money: money.as_ref(),
                data_dir: data_dir.path(),
                key: &key,
                cdn: &cdn,
                network: &network,
                streams: payers,
            };
            let paying = payments::join(parts, &mut registry, &shutdown).await?;
            let storing = match &config.storage {
                Some(storage) => {
                    let (data_dir, registry) = (data_dir.path(), &mut registry);
                    strangers::join(storage, data_dir, &key, &network, shards, registry, &shutdown).await?
                }
                None => strangers::Started::default(),
            };
            let parts = SwarmParts {
                cdn: cdn.clone(),
                key: key.clone(),
                seed: runtime::random_seed()?,
                links: network.links(),
                events: links,
                addresses: own_addresses(Arc::downgrade(&network)),
                tell: tell(teller, &paying),
            };
            let swarm = swarm::join(parts, shutdown.clone());
            (Some(network), Some(swarm), storing, Some(exchange), paying)
        }
        None => {
            payments::refuse_without_network(&config.payments)?;
            (None, None, strangers::Started::default(), None, payments::Started::default())
        }
    };

    // Storage.
    let storage = match &config.storage {
        Some(config) if config.opens_door() => {
            let meters = storage::Meters::register(&mut registry);
            Some(Storage::open(config, data_dir.path(), &key, storing.own.clone(), meters).await?)
        }
        Some(_) | None => None,
    };
    let s3 = storage.as_ref().map(Storage::url);
    let spreading = match (&network, &config.storage) {
        (Some(network), Some(config)) if !config.issuers.is_empty() => {
            let started =
                revocations::spread(network, data_dir.path(), &config.issuers, shutdown.clone()).await?;
            Some(started)
        }
        _ => None,
    };
    let ipfs = match ipfs_config {
        Some(config) => {
            let bucket = bucket.as_ref();
            let started =
                ipfs::join(config, bucket, data_dir.path(), &key, network.as_ref(), exchange, &shutdown);
            Some(started.await?)
        }
        None => None,
    };

    // The HTTP edge, last: whoever can reach it finds everything behind it working.
    let server = Server::bind(&config.edge).await?;
    let (network_of_node, own, hold) = (network.clone(), storing.own.clone(), storing.hold.clone());
    let node = About {
        key: key.public(),
        network: network_of_node,
        money: money.clone(),
        earnings,
        own,
        hold,
        payments: paying.payments,
    };
    let peer = gateway::Node::addresses(&node);
    let edge_meters = gateway::Meters::register(&mut registry);
    let login = config.edge.login.as_ref();
    let login = login.map(|login| Login::open(login, server.url(), &data_dir.path().join(LOGIN_FILE)));
    let edge = Edge::new(&config.edge, cdn, edge_meters, registry, node, login.transpose()?);
    let url = server.url().to_owned();
    let served = tokio::spawn(server.run(edge, shutdown.clone()));
    let stored = storage.map(|storage| tokio::spawn(storage.run(shutdown.clone())));
    // Services end first: what they counted last is kept.
    let settled = money.map(|money| tokio::spawn(money.run(settling.clone())));
    let doors = [("s3", s3.as_deref()), ("ipfs", ipfs.as_ref().map(|ipfs| ipfs.url.as_str()))];
    announce(&url, &doors, &peer)?;

    interrupted().await?;
    tracing::info!("shutting down");
    shutdown.cancel();
    served.await.context("the edge ended in a panic")?;
    for part in storing.running {
        part.await.context("storage over strangers ended in a panic")?;
    }
    if let Some(spreading) = spreading {
        spreading.await.context("telling revocations ended in a panic")?;
    }
    if let Some(stored) = stored {
        stored.await.context("storage ended in a panic")?;
    }
    for part in ipfs.into_iter().flat_map(|ipfs| ipfs.running) {
        part.await.context("IPFS ended in a panic")?;
    }
    if let Some(swarm) = swarm {
        swarm.await.context("the swarm ended in a panic")?;
    }
    // After the swarm, which tells of its last receipts.
    for part in paying.running {
        part.await.context("payments ended in a panic")?;
    }
    if let Some(network) = network.and_then(Arc::into_inner) {
        network.shutdown().await;
    }
    for site in fresh {
        site.await.context("keeping a site fresh ended in a panic")?;
    }
    garbage.await.context("the garbage collection ended in a panic")?;
    settling.cancel();
    recorded.await.context("counting what was served ended in a panic")?;
    if let Some(settled) = settled {
        settled.await.context("settlement ended in a panic")?;
    }
    drop(data_dir);
    Ok(())
}

/// Lets what receivers sign for be counted.
fn tell(teller: Teller, paying: &payments::Started) -> swarm::Tell {
    let bill = paying.teller();
    Box::new(move |served| {
        bill(&served);
        match served {
            swarm::Served::Receipt { session, sent, edge, receipt, .. } => {
                teller.tell(News::Receipt { session, sent, edge, receipt });
            }
            swarm::Served::Ended { receiver, session, sent } => {
                teller.tell(News::Ended { receiver, session, sent });
            }
            // Tabs gave that, and not this node.
            swarm::Served::HandedIn { .. } => {}
        }
    })
}

pub(crate) fn own_addresses(network: Weak<Network>) -> swarm::OwnAddresses {
    Box::new(move || {
        let addresses =
            network.upgrade().map(|network| [network.external_addrs(), network.listen_addrs()].concat());
        addresses.unwrap_or_default().iter().map(Multiaddr::to_vec).collect()
    })
}

/// The one line on stdout that scripts wait for.
fn announce(edge: &str, doors: &[(&str, Option<&str>)], peer: &PeerAddresses) -> anyhow::Result<()> {
    let mut line = json!({
        "event": "ready",
        "edge": edge,
        "peer_id": peer.peer_id,
        "did": peer.did,
        "addresses": peer.addresses,
    });
    for (name, url) in doors {
        if let Some(url) = url {
            line[*name] = (*url).into();
        }
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    tracing::info!(%edge, status = %format!("{edge}/status"), "ready");
    Ok(())
}

async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

async fn collect_garbage(cdn: Cdn, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(GARBAGE_EVERY)).await.is_some() {
        let cdn = cdn.clone();
        match tokio::task::spawn_blocking(move || cdn.collect_garbage()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(bytes)) => tracing::info!(bytes, "blobs that no site names were removed"),
            Ok(Err(error)) => tracing::warn!(%error, "blobs that no site names could not be removed"),
            Err(error) => tracing::error!(%error, "the garbage collection panicked"),
        }
    }
}
