//! What the edge tells others about this node.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chain::{Earnings, Money, Place, Session, Sums, Totals};
use gateway::{
    EarnedDay, EarnedSession, EarnedSums, EarnerError, EarnerStatus, EarningsStatus, ExtraShard, HeldStatus,
    MoneyStatus, NetworkStatus, OwnerWord, PaymentsStatus, PeerAddresses, Position, TabsStatus,
};
use net::Network;
use shared::identity::PublicKey;
use storage::strangers::{hold::Hold, own::Own};

use crate::payments::Payments;

/// A tab asks two; more are for families of addresses that it may lack.
const STUN_ENDPOINTS_MAX: usize = 4;

/// The parts that are asked.
pub(crate) struct About {
    pub(crate) key: PublicKey,
    pub(crate) network: Option<Arc<Network>>,
    pub(crate) money: Option<Arc<Money>>,
    pub(crate) earnings: Earnings,
    /// Whose objects it keeps with others, where it does.
    pub(crate) own: Option<Arc<Own>>,
    /// Whose shards it keeps, where it does.
    pub(crate) hold: Option<Arc<Hold>>,
    pub(crate) payments: Payments,
}

impl gateway::Node for About {
    fn addresses(&self) -> PeerAddresses {
        let addresses = self.network.iter().flat_map(|network| {
            let external = network.external_addrs();
            external.into_iter().chain(network.listen_addrs())
        });
        let mut seen = BTreeSet::new();
        let addresses: Vec<_> = addresses.filter(|address| seen.insert(address.to_string())).collect();
        let mut stun: Vec<_> = addresses.iter().filter_map(net::stun_endpoint).collect();
        stun.truncate(STUN_ENDPOINTS_MAX);
        PeerAddresses {
            peer_id: self.key.to_peer_id().to_string(),
            did: self.key.to_string(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            stun: stun.iter().map(ToString::to_string).collect(),
        }
    }

    fn network(&self) -> Option<NetworkStatus> {
        let net::NetworkStatus { links, reservations, circuits, circuits_opened, nodes, refused } =
            self.network.as_ref()?.status();
        Some(NetworkStatus { links, reservations, circuits, circuits_opened, nodes, refused })
    }

    fn money(&self) -> Option<MoneyStatus> {
        let status = self.money.as_ref()?.status();
        let now = runtime::unix_now().0;
        Some(MoneyStatus {
            account: status.account.to_string(),
            chain_id: status.chain_id,
            settled: status.settled,
            figures: status.figures().to_vec(),
            claimed: status.claimed,
            answered: status.answered.map(|at| Duration::from_secs(now.saturating_sub(at.0))),
            problem: status.problem,
        })
    }

    fn extras(&self, max: usize) -> Vec<ExtraShard> {
        let extras = self.own.iter().flat_map(|own| own.extra_shards()).take(max);
        let shown = extras.map(|extra| ExtraShard {
            tab: extra.tab,
            segment: extra.segment,
            shard: extra.shard,
            length: extra.bytes,
            proved: extra.proved.map(|(found, ago)| (found, Duration::from_secs(ago))),
        });
        shown.collect()
    }

    fn held(&self, max: usize) -> Option<HeldStatus> {
        let hold = self.hold.as_ref()?;
        let (status, now) = (hold.status(max), runtime::unix_now().0);
        let words = status.opinions.into_iter().map(|opinion| OwnerWord {
            owner: opinion.owner,
            words: opinion.words,
            advice: opinion.advice,
            ago: Duration::from_secs(now.saturating_sub(opinion.heard_unix)),
        });
        Some(HeldStatus {
            shards: status.leases as u64,
            stored_bytes: status.stored_bytes,
            quota_bytes: status.quota_bytes,
            owners: status.repute.owners as u64,
            doubted: status.repute.doubted as u64,
            dismissed: status.repute.dismissed as u64,
            words: words.collect(),
        })
    }

    fn earnings(&self) -> EarningsStatus {
        let Totals { price, running, booked, kept, entries, lost } = self.earnings.totals();
        EarningsStatus {
            price: price.map(|price| (price.amount, price.per.get())),
            running: sums(&running),
            booked: sums(&booked),
            kept,
            entries,
            lost,
        }
    }

    fn payments(&self) -> PaymentsStatus {
        self.payments.status()
    }

    fn tabs(&self) -> Result<Option<TabsStatus>, String> {
        self.payments.tabs()
    }

    fn earner(&self, account: &str) -> Result<Option<EarnerStatus>, EarnerError> {
        self.payments.earner(account)
    }

    fn running(&self, after: Option<(&str, u64)>, max: usize) -> Vec<EarnedSession> {
        let key = after.and_then(|(receiver, _)| receiver.parse().ok());
        let after = key.as_ref().zip(after).map(|(key, (_, number))| (key, number));
        self.earnings.running(after, max).into_iter().map(session).collect()
    }

    fn booked(
        &self,
        after: Option<Position>,
        max: usize,
    ) -> Result<(Vec<EarnedSession>, Option<Position>), String> {
        let after = after.and_then(|position| Place::from_bytes(&position.0));
        let (sessions, more) = self.earnings.booked(after, max).map_err(|error| error.to_string())?;
        let more = more.map(|place| Position(place.to_bytes().to_vec()));
        Ok((sessions.into_iter().map(session).collect(), more))
    }

    fn receivers(&self, max: usize) -> Result<Vec<(String, EarnedSums)>, String> {
        let receivers = self.earnings.receivers(max).map_err(|error| error.to_string())?;
        Ok(receivers.iter().map(|(receiver, of)| (receiver.to_string(), sums(of))).collect())
    }

    fn days(&self, max: usize) -> Result<Vec<EarnedDay>, String> {
        let days = self.earnings.days(max).map_err(|error| error.to_string())?;
        Ok(days.iter().map(|day| EarnedDay { begins: day.begins, sums: sums(&day.sums) }).collect())
    }
}

fn sums(of: &Sums) -> EarnedSums {
    let Sums { sessions, sent, signed, worth } = *of;
    EarnedSums { sessions, sent, signed, worth: worth.units() }
}

fn session(session: Session) -> EarnedSession {
    let worth = session.worth().units();
    EarnedSession {
        receiver: session.receiver.to_string(),
        number: session.number,
        first: session.first,
        last: session.last,
        sent: session.sent,
        signed: session.signed,
        price: session.price.map(|price| (price.amount, price.per.get())),
        worth,
        batch: session.batch,
        receipt: session.receipt.receipt,
        signature: session.receipt.signature,
    }
}
