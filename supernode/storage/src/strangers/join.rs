//! Joining: who comes asks what others heard, instead of waiting until each holder says again what it offers.
//!
//! Neighbours are asked first, then those whom the DHT names. What they say is signed by others; a liar can leave out
//! only, so several are asked, and gossip brings the rest.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::Rng as _;
use shared::{
    base::RequestId,
    identity::PublicKey,
    storage::{
        holders::{FailedAudit, HolderAdvert, MAX_HOLDERS},
        messages::{Ask, Said, ShardRequest},
    },
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Heard, Network, exchange, own::Own};

/// As many who answered are enough.
const ANSWERS: usize = 3;
/// Of one who answers so many adverts are believed at most, so that no neighbour fills our table alone.
const ADVERTS_OF_ONE: usize = MAX_HOLDERS / 4;
/// Pages read of one: more than what is believed of it needs.
const PAGES: usize = 256;
/// Asked at once, and twice again: where all begin at the same time, the first to be asked know little themselves.
const PASSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(15), Duration::from_secs(60)];
/// First pause between two rounds, doubled up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LAST: Duration = Duration::from_secs(60);
/// Rounds that ask neighbours alone: the first of them may just be connecting.
const ROUNDS_AMONG_NEIGHBOURS: usize = 3;

/// An advert came, by gossip or asked for.
pub async fn hear(heard: &Heard, own: Option<&Arc<Own>>, advert: Vec<u8>) {
    let Some(said) = heard.hear_advert(&advert) else { return };
    if let Some(own) = own {
        own.handle_advert(said, advert).await;
    }
}

/// Asks around until enough have answered, three times, or until `shutdown`.
pub fn ask_around(
    network: Arc<Network>,
    heard: Arc<Heard>,
    own: Option<Arc<Own>>,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    let asking = async move {
        for pause in PASSES {
            tokio::time::sleep(pause).await;
            ask_enough(&network, &heard, own.as_ref()).await;
        }
    };
    tokio::spawn(async move {
        shutdown.run_until_cancelled(asking).await;
    })
}

/// Asks neighbours, and in time those whom the DHT names, until enough have answered.
async fn ask_enough(network: &Network, heard: &Heard, own: Option<&Arc<Own>>) {
    let (mut answered, mut pause, mut round) = (BTreeSet::new(), PAUSE_FIRST, 0);
    while answered.len() < ANSWERS {
        if round >= ROUNDS_AMONG_NEIGHBOURS {
            // Who was found is linked from now on.
            (network.find)().await;
        }
        let links = network.links.links().into_iter();
        let linked: BTreeSet<PublicKey> =
            links.filter_map(|link| PublicKey::from_peer_id(&link.peer).ok()).collect();
        for peer in linked {
            if answered.len() < ANSWERS && !answered.contains(&peer) {
                match ask_one(network, heard, own, &peer).await {
                    Ok(adverts) => {
                        tracing::debug!(%peer, adverts, "a neighbour told which holders it knows");
                        answered.insert(peer);
                    }
                    Err(error) => tracing::trace!(%peer, %error, "a neighbour tells of no holders"),
                }
            }
        }
        round += 1;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

/// Says how many adverts came.
async fn ask_one(
    network: &Network,
    heard: &Heard,
    own: Option<&Arc<Own>>,
    peer: &PublicKey,
) -> Result<usize, exchange::ExchangeError> {
    let (mut after, mut count) = (None, 0);
    for _ in 0..PAGES {
        let Said::Holders { adverts, more } = ask(network, peer, Ask::ListHolders { after }).await? else {
            return Err(exchange::ExchangeError::Protocol);
        };
        let last = adverts.last().and_then(|last| HolderAdvert::open(last).ok());
        for advert in adverts {
            count += 1;
            hear(heard, own, advert).await;
        }
        let next = last.map(|last| last.node.to_bytes());
        if !more || count >= ADVERTS_OF_ONE || next <= after {
            break;
        }
        after = next;
    }
    let mut after = None;
    for _ in 0..PAGES {
        let Said::Evidence { accounts, more } = ask(network, peer, Ask::ListEvidence { after }).await? else {
            return Err(exchange::ExchangeError::Protocol);
        };
        let next = accounts.last().map(|last| *blake3::hash(last).as_bytes());
        for signed in accounts {
            if let Ok(account) = FailedAudit::open(&signed) {
                heard.hear_account(&account, &signed);
            }
        }
        if !more || next <= after {
            break;
        }
        after = next;
    }
    Ok(count)
}

async fn ask(network: &Network, peer: &PublicKey, ask: Ask) -> Result<Said, exchange::ExchangeError> {
    let request = ShardRequest { request: RequestId(rand::rng().random()), ask };
    let request = request.encode().ok_or(exchange::ExchangeError::Protocol)?;
    exchange::ask_neighbour(network, peer, &request).await
}
