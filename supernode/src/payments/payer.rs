//! The side that pays: keeps a stream to one node that serves a site, and answers its bills.

use std::{
    num::NonZeroU64,
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::{Context as _, bail};
use chain::{Pay, Paying, Payment};
use links::StreamProtocol;
use net::{Multiaddr, Network, PeerId};
use prost::Message as _;
use shared::{
    base::SiteId,
    cdn::manifest::Pin,
    economy::{Amount, agreement::Agreement, price::Price},
    identity::{Account, Keypair, PublicKey},
    wire::{Refusal, economy as wire},
};
use tokio_util::sync::CancellationToken;
use wire::payment::Message;

use super::{Means, PROTOCOL, blocking, frames::Frames};

/// The payee says its terms by then.
const TERMS_WITHIN: Duration = Duration::from_secs(10);
/// A stream that ended is opened again after the first, and after twice as long each time that fails, to the last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// A stream that lasted so long was a good one: the next failure is the first.
const LASTED: Duration = Duration::from_secs(30);

/// Pays one node for one site.
pub(super) struct Payer {
    signed: wire::SignedAgreement,
    agreement: Agreement,
    address: Multiaddr,
    node: PublicKey,
    pay: Pay,
    means: Means,
    paying: Arc<Paying>,
    network: Weak<Network>,
}

impl Payer {
    /// For one section of the configuration.
    ///
    /// # Errors
    /// Says what to correct in it.
    pub(super) fn new(
        pay: &Pay,
        key: &Keypair,
        means: Means,
        paying: Arc<Paying>,
        network: &Arc<Network>,
    ) -> anyhow::Result<Self> {
        let file = pay.agreement.display();
        let bytes =
            std::fs::read(&pay.agreement).with_context(|| format!("[[payments.pay]] reading {file}"))?;
        let signed = wire::SignedAgreement::decode(bytes.as_slice())
            .with_context(|| format!("{file} is no agreement; `blackhole payment agree` makes one"))?;
        let agreement = Agreement::open(&signed).with_context(|| format!("{file}"))?;
        let remedy = "; make another by `blackhole payment agree`";
        if agreement.node != key.public() {
            bail!("{file} lets {} pay, and this node is {}{remedy}", agreement.node, key.public());
        }
        if agreement.payer != means.money.purse().account() || agreement.contract != means.money.contract() {
            bail!("{file} names another account, chain or contract than [chain] does{remedy}");
        }
        agreement.check(runtime::unix_now()).with_context(|| format!("{file}{remedy}"))?;
        let address: Multiaddr = pay
            .to
            .parse()
            .with_context(|| format!("[[payments.pay]] to = {:?} is no multiaddress", pay.to))?;
        let peer = address.iter().filter_map(|part| match part {
            net::Protocol::P2p(peer) => Some(peer),
            _ => None,
        });
        let node = peer.last().and_then(|peer: PeerId| PublicKey::from_peer_id(&peer).ok());
        let node = node.with_context(|| {
            format!("[[payments.pay]] to = {:?} does not end in /p2p/ and the node's peer id", pay.to)
        })?;
        let (pay, network) = (pay.clone(), Arc::downgrade(network));
        Ok(Self { signed, agreement, address, node, pay, means, paying, network })
    }

    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut pause = AGAIN.0;
        loop {
            let began = std::time::Instant::now();
            let Some(ended) = shutdown.run_until_cancelled(self.session()).await else { return };
            if let Err(error) = ended {
                tracing::debug!(node = %self.node, error = %format!("{error:#}"), "a payment's stream ended");
            }
            pause = if began.elapsed() >= LASTED { AGAIN.0 } else { pause };
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(AGAIN.1);
        }
    }

    async fn session(&self) -> anyhow::Result<()> {
        let peer = self.node.to_peer_id();
        let mut frames = {
            let network = self.network.upgrade().context("the network has ended")?;
            let link = match network.links().best(&peer) {
                Some(link) => link,
                None => {
                    let reached = network.dial(self.address.clone()).await?;
                    if reached != peer {
                        bail!("{reached} answers there");
                    }
                    network.links().best(&peer).context("the link was closed at once")?
                }
            };
            Frames::new(
                network.links().open(link, StreamProtocol::new(PROTOCOL)).await?,
                self.means.sent.clone(),
            )
        };
        let total = self.paying.tabs_total(&self.node, self.site());
        let open =
            wire::PaymentOpen { agreement: Some(self.signed.clone()), tabs_total: total.to_bytes().to_vec() };
        frames.send(Message::Open(open)).await?;
        let terms = match frames.next_within(TERMS_WITHIN).await? {
            Message::Terms(terms) => terms,
            Message::Refused(refused) => {
                let refusal = Refusal::from_code(refused.refusal);
                tracing::warn!(node = %self.node, site = %self.agreement.site, ?refusal, "a node does not want to be paid so");
                bail!("it refuses the agreement: {refusal:?}");
            }
            _ => bail!("it says no terms"),
        };
        let payment = self.payment(&terms)?;
        if !payment.price.is_at_most(self.agreement.price) {
            let asked = payment.price;
            tracing::warn!(node = %self.node, site = %self.agreement.site, ?asked, "a node asks for more than was agreed");
            frames.refuse(Refusal::OverBudget).await;
            bail!("it asks for more than was agreed");
        }
        let (paying, clock, terms) = (Arc::clone(&self.paying), self.means.clock, payment.clone());
        blocking(move || paying.handle_terms(clock.now(), &terms)).await??;
        // What is locked for this payee is not known yet, where it is new.
        self.means.money.look_soon();
        tracing::info!(node = %self.node, site = %self.agreement.site, payee = %payment.payee, "paying a node");
        loop {
            let Message::Bill(bill) = frames.next().await? else {
                frames.refuse(Refusal::Malformed).await;
                bail!("it says something else than a bill");
            };
            if self.agreement.check(runtime::unix_now()).is_err() {
                frames.refuse(Refusal::Expired).await;
                bail!("the agreement has ended");
            }
            let (paying, clock, payment) = (Arc::clone(&self.paying), self.means.clock, payment.clone());
            let paid =
                blocking(move || paying.handle_bill(clock.now(), runtime::unix_now(), &payment, &bill))
                    .await??;
            frames.send(Message::Paid(paid)).await?;
        }
    }

    /// What is paid for tabs: nothing where that is asked for dearer than was agreed, or has no pot here.
    fn tabs(&self, terms: &wire::PaymentTerms) -> Option<(Price, Amount)> {
        let asked = Price { amount: terms.tabs_amount, per: NonZeroU64::new(terms.tabs_per)? };
        let agreed = self.agreement.tabs.is_some_and(|most| asked.is_at_most(most));
        self.pay.tabs_per_day.filter(|_| agreed).map(|pot| (asked, pot))
    }

    fn site(&self) -> SiteId {
        let Agreement { publisher, site, .. } = self.agreement.clone();
        Pin { publisher, site, min_delegation: 0 }.site_id()
    }

    fn payment(&self, terms: &wire::PaymentTerms) -> anyhow::Result<Payment> {
        Ok(Payment {
            node: self.node.clone(),
            site: self.site(),
            payee: Account::try_from(terms.payee.as_slice()).ok().context("its terms name no account")?,
            price: Price {
                amount: terms.amount,
                per: NonZeroU64::new(terms.per).context("its terms name no price")?,
            },
            per_day: self.pay.per_day,
            tabs: self.tabs(terms),
            credit: self.pay.credit,
        })
    }
}
