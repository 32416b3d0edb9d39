//! Payments for content, wired to the network: what receivers signed for is billed to whoever its publisher says pays, and
//! what this node's own sites cost elsewhere is paid.
//!
//! ```text
//! swarm ─ receipts ─► payee ─ bill ─► /blackhole/payment/1.0.0 ─► payer (the publisher's node)
//! Cdn ◄─ withhold ──── │ ◄──────────── voucher ──────────────────  │
//!                   Billing                                      Paying
//! ```
//! The node that pays opens the stream, since it knows whom it pays; the one that is paid need not know where its payers
//! are. A stream that breaks off loses nothing: both sides have on the disk what they said last.

mod earners;
mod frames;
mod payee;
mod payer;
mod payouts;
mod status;

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use cdn::{Cdn, swarm::Served};
use chain::{Billing, ChargingConfig, Delivered, Money, Paying};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use net::Network;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use prost::Message as _;
use shared::{
    base::Instant,
    economy::price::Price,
    identity::{Keypair, PublicKey},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// What is spoken on a payment's stream.
pub(crate) const PROTOCOL: &str = "/blackhole/payment/1.0.0";
/// Streams of payers that wait to be taken; later ones are reset.
const STREAMS: usize = 64;
/// News of links that wait to be written: those of a busy second. Where there is no room a receipt is lost; the next of its
/// session says more.
const NEWS: usize = 8192;
/// What is billed, and what was paid, in the data directory.
const BILLING_FILE: &str = "billing.redb";
const PAYING_FILE: &str = "paying.redb";

/// A stream that a payer opened.
pub(crate) struct Incoming {
    peer: PublicKey,
    stream: links::Stream,
}

/// Takes the streams of payments out of what happens on links.
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
                    tracing::debug!("a payer's stream was reset: too many come at once");
                }
                None
            }
            event => Some(event),
        };
        std::future::ready(rest)
    });
    (rest.boxed(), receiver)
}

/// The two sides of a node, where it has them.
#[derive(Clone, Default)]
pub(crate) struct Payments {
    /// Which is paid.
    billing: Option<Arc<Billing>>,
    /// Which pays.
    paying: Option<Arc<Paying>>,
    meters: status::Meters,
}

/// What was started.
#[derive(Default)]
pub(crate) struct Started {
    pub(crate) payments: Payments,
    /// Ends after the shutdown.
    pub(crate) running: Vec<JoinHandle<()>>,
    /// Hears of receipts.
    news: Option<mpsc::Sender<Delivered>>,
    tabs: Option<earners::Judge>,
}

impl Started {
    /// Whoever is told what receivers sign for. It waits for nobody.
    pub(crate) fn teller(&self) -> impl Fn(&Served) + Send + Sync + use<> {
        let (news, evidence_bytes) = (self.news.clone(), self.payments.meters.evidence_bytes.clone());
        let tabs = self.tabs.clone();
        move |served| {
            let Some(news) = &news else { return };
            let delivered = match served {
                Served::Receipt { edge, site: Some(site), receipt, .. } => {
                    evidence_bytes.inc_by(receipt.encoded_len() as u64);
                    Delivered::Receipt { site: *site, edge: *edge, receipt: receipt.clone() }
                }
                Served::Receipt { site: None, .. } => return,
                Served::HandedIn { earner, signed, network, receipts } => {
                    let Some(tabs) = &tabs else { return };
                    let evidence: usize = receipts.iter().map(|(receipt, _)| receipt.encoded_len()).sum();
                    evidence_bytes.inc_by(evidence as u64);
                    let Some(handed) = tabs.judge(earner, signed, *network, receipts) else { return };
                    Delivered::HandedIn(Box::new(handed))
                }
                Served::Ended { receiver, session, .. } => {
                    Delivered::Ended { receiver: receiver.clone(), session: *session }
                }
            };
            if news.try_send(delivered).is_err() {
                tracing::debug!("a receipt was not billed: the disk does not keep up");
            }
        }
    }
}

/// The time since the start, by which vouchers are in time or late.
#[derive(Clone, Copy, Debug)]
struct Clock(std::time::Instant);

impl Clock {
    fn now(self) -> Instant {
        Instant::default() + self.0.elapsed()
    }
}

/// What both sides need.
#[derive(Clone)]
struct Means {
    money: Arc<Money>,
    clock: Clock,
    /// Bytes of bills and answers to them.
    sent: Counter,
}

/// What payments stand on.
pub(crate) struct Parts<'a> {
    /// The section `[payments]`.
    pub(crate) config: &'a ChargingConfig,
    /// What is asked, by `[earnings]`.
    pub(crate) price: Option<Price>,
    /// Vouchers and books, where there are any.
    pub(crate) money: Option<&'a Arc<Money>>,
    /// Where evidence is kept.
    pub(crate) data_dir: &'a Path,
    /// The node's key.
    pub(crate) key: &'a Keypair,
    /// What is served, or withheld.
    pub(crate) cdn: &'a Cdn,
    /// Where payees are reached.
    pub(crate) network: &'a Arc<Network>,
    /// Streams that payers opened.
    pub(crate) streams: mpsc::Receiver<Incoming>,
}

/// Starts the sides that are configured, until `shutdown`.
///
/// # Errors
/// Says what to correct in the configuration, or which file failed.
pub(crate) async fn join(
    parts: Parts<'_>,
    registry: &mut Registry,
    shutdown: &CancellationToken,
) -> anyhow::Result<Started> {
    let Parts { config, price, money, data_dir, key, cdn, network, streams } = parts;
    let mut started = Started::default();
    if config.charge.is_none() && config.pay.is_empty() {
        return Ok(started);
    }
    started.payments.meters = status::Meters::register(registry);
    let money = money.context("[payments] deals with money; add a section [chain], with or without `rpc`")?;
    let clock = Clock(std::time::Instant::now());
    let sent = started.payments.meters.evidence_bytes.clone();
    let means = Means { money: Arc::clone(money), clock, sent };
    if let Some(charge) = &config.charge {
        let price =
            price.context("[payments.charge] asks for money; say how much by `price` in [earnings]")?;
        let required = payee::required(cdn, &charge.required)?;
        let (path, purse) = (data_dir.join(BILLING_FILE), Arc::clone(money.purse()));
        let (node, credit) = (key.public(), charge.credit);
        let tabs = match &charge.tabs {
            Some(tabs) => Some(tabs.terms().context("[payments.charge.tabs] names no price")?),
            None => None,
        };
        let open = move || {
            let now = (clock.now(), runtime::unix_now());
            let opened = Billing::open(&path, purse, node, (price, tabs), credit, now);
            opened.with_context(|| format!("opening {}", path.display()))
        };
        let billing = Arc::new(tokio::task::spawn_blocking(open).await??);
        let (news, inbox) = mpsc::channel(NEWS);
        let payee = payee::Payee::new(Arc::clone(&billing), means.clone(), cdn.clone(), required);
        started.running.push(tokio::spawn(payee.run(inbox, streams, shutdown.clone())));
        if let Some(tabs) = &charge.tabs {
            started.tabs = Some(earners::Judge::new(cdn.clone(), tabs.knows_visitors));
            let payouts = payouts::Payouts::new(tabs, Arc::clone(money), Arc::clone(&billing));
            started.running.push(tokio::spawn(payouts.run(shutdown.clone())));
        }
        (started.news, started.payments.billing) = (Some(news), Some(billing));
    }
    if !config.pay.is_empty() {
        let (path, purse) = (data_dir.join(PAYING_FILE), Arc::clone(money.purse()));
        let open = move || Paying::open(&path, purse).with_context(|| format!("opening {}", path.display()));
        let paying = Arc::new(tokio::task::spawn_blocking(open).await??);
        for pay in &config.pay {
            let payer = payer::Payer::new(pay, key, means.clone(), Arc::clone(&paying), network)?;
            started.running.push(tokio::spawn(payer.run(shutdown.clone())));
        }
        started.payments.paying = Some(paying);
    }
    Ok(started)
}

/// A node without a network can neither be paid nor pay.
///
/// # Errors
/// Says so.
pub(crate) fn refuse_without_network(config: &ChargingConfig) -> anyhow::Result<()> {
    if config.charge.is_some() || !config.pay.is_empty() {
        bail!("[payments] needs a section [network]: bills and vouchers travel by it");
    }
    Ok(())
}

/// Runs what waits for the disk off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
