//! Extra shards with the tabs that are linked to this node: copies of what holders have, for readers.
//!
//! What is decided, `shared::storage::extras` decides. Nothing here is on a disk, and no figure of what is safe comes by
//! here: see [`Extras`].

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::{AsyncReadExt as _, StreamExt as _};
use links::Stream;
use rand::Rng as _;
use runtime::unix_now;
use serde::{Deserialize, Serialize};
use shared::{
    base::{BlobRoot, RequestId, SegmentId, blob::HashTree},
    identity::PublicKey,
    storage::{
        extras::{Event, Extra, Extras, LEASE_SECONDS, Offer, Offered, Place, Question, Room, Tab},
        holders::Lease,
        messages::{Ask, MAX_HAND_OUT_BYTES, Said, ShardAnswer, ShardRequest},
        proof::{ANSWER_WITHIN, Challenge},
    },
    wire::Refusal,
};
use tokio::{sync::mpsc, task::JoinHandle, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::Own;
use crate::strangers::exchange::{self, ExchangeError, Incoming};

/// Statements of tabs that are read at once; each is a few kilobytes.
const HEARD_AT_ONCE: usize = 16;
/// How often it is looked whether tabs are still linked.
const LINKED_EVERY: Duration = Duration::from_secs(2);
/// Tabs told at once to let shards go.
const DROPPED_AT_ONCE: usize = 8;
/// Who is sent away comes back after so long.
const BUSY_FOR: Duration = Duration::from_secs(60);

/// An extra shard, as a status shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExtraStatus {
    /// The tab that keeps it.
    pub tab: String,
    /// The segment it is of.
    pub segment: String,
    /// Which of its shards.
    pub shard: u16,
    /// The shard's length.
    pub bytes: u64,
    /// What the last audit found, and how many seconds ago that was; nothing before the first.
    pub proved: Option<(String, u64)>,
}

impl Own {
    /// Whether tabs are offered anything.
    pub fn wants_tabs(&self) -> bool {
        self.config.extra_shards > 0
    }

    /// Extra shards in tabs that are there. They count nothing.
    pub fn extra_shards(&self) -> Vec<ExtraStatus> {
        let now = self.now();
        let status = |Extra { tab, place, proved, .. }: Extra<'_>| ExtraStatus {
            tab: tab.to_string(),
            segment: place.segment.to_string(),
            shard: place.shard,
            bytes: place.bytes,
            proved: proved.map(|proved| (format!("{:?}", proved.verdict), now.since(proved.at).as_secs())),
        };
        self.extras().shards().map(status).collect()
    }

    /// Hears what tabs offer by `incoming`, and tends what they keep, until `shutdown`.
    pub fn tend_tabs(
        self: &Arc<Self>,
        mut incoming: mpsc::Receiver<Incoming>,
        shutdown: CancellationToken,
    ) -> JoinHandle<()> {
        let own = Arc::clone(self);
        tokio::spawn(async move {
            let mut heard = JoinSet::new();
            loop {
                let rest = own.turn_tabs();
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = own.tabs_changed.notified() => {}
                    () = tokio::time::sleep(rest) => {}
                    Some(_) = heard.join_next() => {}
                    next = incoming.recv(), if heard.len() < HEARD_AT_ONCE => {
                        let Some(Incoming { peer, stream }) = next else { break };
                        let own = Arc::clone(&own);
                        heard.spawn(async move {
                            if let Err(error) = own.hear_tab(peer, stream).await {
                                tracing::debug!(%error, "a tab's offer of room came to nothing");
                            }
                        });
                    }
                }
            }
        })
    }

    /// The lock is taken before that of the state, where both are.
    pub(super) fn extras(&self) -> MutexGuard<'_, Extras> {
        self.extras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Segments that are nobody's any more.
    pub(super) fn forget_extras(&self, segments: &[SegmentId]) {
        let mut extras = self.extras();
        segments.iter().for_each(|segment| extras.forget(*segment));
        drop(extras);
        self.tabs_changed.notify_one();
    }

    /// A reader found these not to be there.
    pub(super) fn report_extras(&self, segment: SegmentId, missing: &[(u16, Tab, bool)]) {
        for (shard, tab, lied) in missing {
            tracing::debug!(%tab, shard, lied, "a reader found that a tab has not got its extra shard");
            self.extras().handle_missing(self.now(), tab, (segment, *shard), *lied);
        }
        if !missing.is_empty() {
            self.tabs_changed.notify_one();
        }
    }

    pub(super) async fn ask_tab(
        &self,
        tab: &Tab,
        ask: Ask,
        payload: Option<Bytes>,
    ) -> Result<(Said, futures::io::ReadHalf<Stream>), ExchangeError> {
        let request = ShardRequest { request: RequestId(rand::rng().random()), ask };
        let frame = request.encode().ok_or(ExchangeError::Protocol)?;
        exchange::ask_tab(&self.network, tab, &frame, payload).await
    }

    async fn hear_tab(&self, peer: PublicKey, stream: Stream) -> Result<(), ExchangeError> {
        let (mut reader, mut writer) = stream.split();
        let frame = exchange::read_frame(&mut reader).await?;
        let Ok(ShardRequest { request, ask: Ask::OfferRoom(room) }) = ShardRequest::read(&frame) else {
            return Err(ExchangeError::Protocol);
        };
        let said = match self.welcome(Tab(peer), &room) {
            Ok(()) => Said::Done,
            Err(refusal) => Said::Refused { refusal, retry_after: BUSY_FOR },
        };
        self.tabs_changed.notify_one();
        exchange::reply(&mut writer, &ShardAnswer { request, said }, &[]).await
    }

    fn welcome(&self, tab: Tab, room: &Room) -> Result<(), Refusal> {
        let mut extras = self.extras();
        let state = self.state();
        // What holds shards that count is no tab.
        if state.contacts.contains_key(&tab.0) {
            return Err(Refusal::Forbidden);
        }
        extras.handle_room(self.now(), &tab, room, |segment| state.custody.record(segment))
    }

    /// Does what is due, and says for how long nothing is.
    fn turn_tabs(self: &Arc<Self>) -> Duration {
        let (mut questions, mut offers) = (Vec::new(), Vec::new());
        let (drops, events, rest) = {
            let now = self.now();
            let mut extras = self.extras();
            let is_gone = |tab: &&Tab| self.network.links.best(&tab.0.to_peer_id()).is_none();
            let gone: Vec<Tab> = extras.tabs().filter(is_gone).cloned().collect();
            gone.iter().for_each(|tab| extras.handle_gone(tab));
            extras.handle_time(now);
            // Whoever is asked cannot have known these bytes before this moment.
            while let Ok(beacon) = runtime::random_seed()
                && let Some(question) = extras.poll_question(now, &beacon)
            {
                questions.push(question);
            }
            let state = self.state();
            while let Some(offer) =
                extras.poll_offer(now, unix_now(), |from| state.custody.records_from(from))
            {
                offers.push(offer);
            }
            let drops: Vec<_> = std::iter::from_fn(|| extras.poll_drop()).collect();
            let events: Vec<_> = std::iter::from_fn(|| extras.poll_event()).collect();
            let rest = extras.poll_deadline().map_or(LINKED_EVERY, |deadline| deadline.since(now));
            (drops, events, rest.min(LINKED_EVERY))
        };
        events.into_iter().for_each(told);
        for Question { id, challenge } in questions {
            let own = Arc::clone(self);
            tokio::spawn(async move {
                match own.challenge_tab(&challenge).await {
                    Ok(answer) => {
                        own.extras().handle_answer(own.now(), id, &answer);
                        own.tabs_changed.notify_one();
                    }
                    Err(error) => tracing::debug!(tab = %challenge.holder, %error, "a tab did not answer"),
                }
            });
        }
        for offer in offers {
            let own = Arc::clone(self);
            tokio::spawn(async move {
                let offered = own.offer(&offer).await;
                own.extras().handle_offered(own.now(), offer.id, offered);
                own.tabs_changed.notify_one();
            });
        }
        if !drops.is_empty() {
            tokio::spawn(Arc::clone(self).drop_extras(drops));
        }
        rest
    }

    async fn challenge_tab(&self, challenge: &Challenge) -> Result<Vec<u8>, ExchangeError> {
        let Challenge { root, beacon, holder } = challenge;
        // Nobody looks after a tab as an operator after a node.
        let ask = Ask::Challenge { root: *root, beacon: *beacon, within: ANSWER_WITHIN, opinion: None };
        match self.ask_tab(&Tab(holder.clone()), ask, None).await? {
            (Said::Proof(proof), _) => Ok(proof),
            _ => Err(ExchangeError::Protocol),
        }
    }

    async fn drop_extras(self: Arc<Self>, drops: Vec<(Tab, BlobRoot)>) {
        let own = &self;
        let dropping =
            futures::stream::iter(drops).for_each_concurrent(DROPPED_AT_ONCE, |(tab, root)| async move {
                if let Err(error) = own.ask_tab(&tab, Ask::Drop { root }, None).await {
                    tracing::debug!(%tab, %error, "a tab keeps a shard until its lease ends");
                }
            });
        dropping.await;
    }

    async fn offer(&self, offer: &Offer) -> Offered {
        match self.keep(offer).await {
            Ok(lease) => Offered::Kept(lease.until),
            Err(error) => {
                tracing::debug!(tab = %offer.tab, %error, "a tab was not given an extra shard");
                match error.downcast_ref() {
                    Some(ExchangeError::Refused(refusal)) => Offered::Refused(*refusal),
                    _ => Offered::Failed,
                }
            }
        }
    }

    /// Gives a tab a shard, or renews its lease.
    async fn keep(&self, Offer { tab, root, place, renewal, .. }: &Offer) -> anyhow::Result<Lease> {
        let (root, Place { segment, bytes, .. }) = (*root, *place);
        let payload = if *renewal { None } else { Some(self.payload(root, place).await?) };
        let lease_until = unix_now().plus(LEASE_SECONDS);
        let (said, _) = self.ask_tab(tab, Ask::Keep { root, bytes, lease_until, segment }, payload).await?;
        let Said::Lease(signed) = said else { bail!("the tab breaks the protocol") };
        Ok(Lease::answers(&signed, &tab.0, (root, bytes), &self.key.public(), lease_until)?)
    }

    /// A shard as [`Ask::Keep`] has it behind it: the hashes of its groups, and its bytes, from whoever holds it.
    async fn payload(&self, root: BlobRoot, place: &Place) -> anyhow::Result<Bytes> {
        let holders: Vec<PublicKey> = {
            let state = self.state();
            let shards = state.custody.shards(place.segment);
            shards.filter(|(shard, _)| *shard == place.shard).map(|(_, holder)| holder.clone()).collect()
        };
        let holder = holders.first().context("nobody holds the shard")?;
        let mut shard = Vec::with_capacity(usize::try_from(place.bytes)?);
        while (shard.len() as u64) < place.bytes {
            let start = shard.len() as u64;
            let range = start..(start + MAX_HAND_OUT_BYTES).min(place.bytes);
            let fetched = self.fetch(holder, root, place.bytes, range).await;
            let mut part =
                fetched.map_err(|failure| anyhow::anyhow!("its holder does not hand it out: {failure:?}"))?;
            part.take_into(part.len(), &mut shard);
        }
        let payload = tokio::task::spawn_blocking(move || {
            let tree = HashTree::of(&shard)?;
            let mut payload = tree.to_bytes();
            payload.extend_from_slice(&shard);
            anyhow::Ok(Bytes::from(payload))
        });
        payload.await.context("hashing a shard ended in a panic")?
    }
}

fn told(event: Event) {
    const TARGET: &str = "blackhole::events::storage";
    match event {
        Event::Kept { tab, root } => {
            tracing::debug!(%tab, %root, "a tab keeps an extra shard");
            tracing::info!(target: TARGET, event = "extra_kept", %tab);
        }
        Event::Audited { tab, verdict, .. } => {
            tracing::debug!(%tab, ?verdict, "an audit of an extra shard ended");
            tracing::info!(target: TARGET, event = "extra_audited", %tab, verdict = ?verdict);
        }
        Event::Dismissed { tab } => {
            tracing::warn!(%tab, "a tab lied about extra shards, or lost too many; it gets no more");
            tracing::info!(target: TARGET, event = "extra_dismissed", %tab);
        }
        Event::Gone { tab, shards } => {
            tracing::debug!(%tab, shards, "a tab is gone");
            tracing::info!(target: TARGET, event = "extra_gone", %tab, shards);
        }
    }
}
