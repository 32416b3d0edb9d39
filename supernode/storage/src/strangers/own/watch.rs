//! Watching over what is stored: audits, rebuilds and renewals, until the node stops.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::StreamExt as _;
use runtime::unix_now;
use shared::{
    base::{EffectId, SegmentId},
    identity::PublicKey,
    storage::{
        custody::{Event, Question},
        erasure::StripeDecoder,
        holders::Lease,
        placement::Holder,
        record::SegmentRecord,
        repair::{self, Rebuild},
    },
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Own, blocking, catalog::Stored, get, shards::Sources};
use crate::commits::committed;

/// How often adverts are looked at that may have expired, and standings are written down.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// How often leases are looked at that are half over.
const RENEW_EVERY: Duration = Duration::from_secs(600);
/// Looked at again at the latest, whatever the machine says.
const REST_MAX: Duration = Duration::from_secs(60);
/// Leases ended at once of what returning holders have in vain.
const TAKEN_BACK_AT_ONCE: usize = 8;
/// Stripes rebuilt at once.
const WINDOW_STRIPES: u32 = 16;

impl Own {
    /// Watches until `shutdown`.
    pub fn run(self: &Arc<Self>, shutdown: CancellationToken) -> JoinHandle<()> {
        let (given_up, called_off) = (Arc::clone(self).let_go_of_all(), Arc::clone(self).call_off_all());
        let letting_go = async move { tokio::join!(given_up, called_off) };
        let letting_go = tokio::spawn(shutdown.clone().run_until_cancelled_owned(letting_go));
        let own = Arc::clone(self);
        tokio::spawn(async move {
            let (mut tidy, mut renew) =
                (tokio::time::interval(TIDY_EVERY), tokio::time::interval(RENEW_EVERY));
            loop {
                let rest = own.turn().await;
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = own.changed.notified() => {}
                    () = tokio::time::sleep(rest) => {}
                    _ = tidy.tick() => own.tidy().await,
                    _ = renew.tick() => drop(tokio::spawn(Arc::clone(&own).renew_all())),
                }
            }
            own.tidy().await;
            if letting_go.await.is_err() {
                tracing::error!("letting go of what was deleted ended in a panic");
            }
        })
    }

    /// Watches over a segment from now on.
    pub(super) fn watch_over(
        &self,
        Stored { record, leases, .. }: &Stored,
    ) -> Result<SegmentId, repair::WatchError> {
        let held: Vec<_> = leases.iter().map(|(shard, lease, _)| (*shard, lease.holder.clone())).collect();
        let line = record.shape().profile().repair_line();
        self.state().custody.watch(self.now(), record.clone(), line, &held)
    }

    /// Does what is due, and says for how long nothing is.
    async fn turn(self: &Arc<Self>) -> Duration {
        let (mut questions, mut rebuilds, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let rest = {
            let now = self.now();
            let mut state = self.state();
            state.custody.handle_time(now);
            // Whoever is asked cannot have known these bytes before this moment.
            while let Ok(beacon) = runtime::random_seed()
                && let Some(question) = state.custody.poll_question(now, &beacon)
            {
                questions.push(question);
            }
            while let Some((rebuild, record)) = state.custody.poll_rebuild(now) {
                rebuilds.push((rebuild, record.clone()));
            }
            events.extend(std::iter::from_fn(|| state.custody.poll_event()));
            state.custody.poll_deadline().map_or(REST_MAX, |deadline| deadline.since(now)).min(REST_MAX)
        };
        for Question { id, challenge, opinion } in questions {
            let own = Arc::clone(self);
            tokio::spawn(async move {
                match own.challenge(&challenge, opinion).await {
                    Ok(answer) => {
                        own.state().custody.handle_answer(own.now(), id, &answer);
                        own.changed.notify_one();
                    }
                    Err(error) => {
                        tracing::debug!(holder = %challenge.holder, %error, "a question was not answered");
                    }
                }
            });
        }
        for (rebuild, record) in rebuilds {
            tokio::spawn(Arc::clone(self).rebuild(rebuild, record));
        }
        let mut superfluous = Vec::new();
        for event in events {
            if let Event::Superfluous { segment, shard, holder } = event {
                superfluous.push((segment, shard, holder));
            } else {
                self.told(event).await;
            }
        }
        if !superfluous.is_empty() {
            tokio::spawn(Arc::clone(self).take_back(superfluous));
        }
        rest
    }

    /// Ends leases of shards that others hold by now.
    async fn take_back(self: Arc<Self>, places: Vec<(SegmentId, u16, PublicKey)>) {
        let own = &self;
        let taking = futures::stream::iter(places).for_each_concurrent(
            TAKEN_BACK_AT_ONCE,
            |(segment, shard, holder)| async move {
                let catalog = own.catalog.clone();
                let stored = blocking(move || catalog.segment(segment)).await;
                let Ok(Some(Stored { record, leases, .. })) = stored else { return };
                let is_held = leases.iter().any(|(other, lease, _)| *other == shard && lease.holder == holder);
                if let Some(root) = record.root(shard).filter(|_| !is_held) {
                    tracing::debug!(%segment, shard, %holder, "a holder returned with a shard that another holds");
                    own.drop_shard(&holder, root).await;
                }
            },
        );
        taking.await;
    }

    async fn told(self: &Arc<Self>, event: Event) {
        match event {
            Event::Audited { holder, verdict, transcript, shard, .. } => {
                tracing::debug!(%holder, shard, ?verdict, "an audit ended");
                let Some(transcript) = transcript else { return };
                tracing::info!(
                    target: "blackhole::events::storage",
                    event = "audit_failed", %holder, shard, verdict = ?verdict
                );
                self.keep_evidence(transcript).await;
            }
            Event::Dismissed { holder, standing } => {
                tracing::warn!(%holder, %standing, "a holder was dismissed");
            }
            Event::Judged { holder, opinion } => self.tell_opinion(holder, opinion),
            Event::Gone { holder } => {
                tracing::warn!(%holder, "a holder is gone; its shards are rebuilt elsewhere");
            }
            Event::Returned { segment, shard, holder } => {
                tracing::info!(%segment, shard, %holder, "a holder is back with its shard");
            }
            // Taken together, see `turn`.
            Event::Superfluous { .. } => {}
            Event::Repair(repair::Event::Lost { segment }) => {
                tracing::warn!(%segment, "too few shards are left to read a segment");
            }
            Event::Repair(repair::Event::Found { segment }) => {
                tracing::info!(%segment, "a segment can be read again");
            }
            Event::Repair(repair::Event::Rebuilt { segment, alive }) => {
                tracing::info!(%segment, alive, "a segment was rebuilt");
            }
        }
    }

    /// Rebuilds lost shards from any k that are there, and reports who holds them now.
    async fn rebuild(self: Arc<Self>, rebuild: Rebuild, record: SegmentRecord) {
        let Rebuild { id, segment, sources, targets, .. } = rebuild;
        let stored = self.rebuild_shards(segment, &record, sources, &targets).await;
        let stored = stored.unwrap_or_else(|error| {
            tracing::warn!(%segment, %error, "a segment could not be rebuilt");
            Vec::new()
        });
        self.finish_rebuild(id, &stored);
    }

    fn finish_rebuild(&self, id: EffectId, stored: &[(u16, PublicKey)]) {
        self.state().custody.handle_rebuilt(self.now(), id, stored);
        self.changed.notify_one();
    }

    async fn rebuild_shards(
        self: &Arc<Self>,
        segment: SegmentId,
        record: &SegmentRecord,
        sources: Vec<(u16, PublicKey)>,
        targets: &[(u16, PublicKey)],
    ) -> anyhow::Result<Vec<(u16, PublicKey)>> {
        let _place = self.segments_at_once.acquire().await?;
        let shape = record.shape();
        let wanted: Vec<u16> = targets.iter().map(|(shard, _)| *shard).collect();
        let mut restored: BTreeMap<u16, Vec<u8>> = wanted.iter().map(|shard| (*shard, Vec::new())).collect();
        let mut stripe = 0;
        while stripe < shape.stripes() {
            let stripes = stripe..(stripe + WINDOW_STRIPES).min(shape.stripes());
            stripe = stripes.end;
            let blocks = get::blocks(shape, &stripes)?;
            let data = 0..shape.profile().data_shards();
            // What counts is rebuilt from what counts.
            let holders = Sources { holders: sources.clone(), tabs: Vec::new() };
            let window = match self.fetch_window(record, data, holders, blocks).await {
                Ok(window) => window,
                Err((arrived, needed)) => bail!("{arrived} shards can be read, where {needed} are needed"),
            };
            self.report(segment, &window.missing);
            let wanted = wanted.clone();
            restored = blocking(move || {
                let (mut decoder, shards) = (StripeDecoder::new(shape), get::whole(window.shards));
                for (stripe, blocks) in get::each_stripe(shape, stripes, &shards)? {
                    decoder.restore(stripe, &blocks, &wanted, |shard, block| {
                        if let Some(bytes) = restored.get_mut(&shard) {
                            bytes.extend_from_slice(block);
                        }
                    })?;
                }
                Ok(restored)
            })
            .await?;
        }
        // What a process that is killed now leaves with them is let go with the segment.
        let (catalog, asked) = (self.catalog.clone(), targets.to_vec());
        if blocking(move || catalog.note_asked(segment, &asked)).await?.is_none() {
            bail!("the segment was given up meanwhile");
        }
        committed("repair.intended");
        let lease_until = self.lease_until();
        let mut sending = tokio::task::JoinSet::new();
        for (shard, holder) in targets.iter().cloned() {
            let bytes = Bytes::from(restored.remove(&shard).context("each target was restored")?);
            let root = record.root(shard).context("a shard of the segment")?;
            let (own, shard_bytes) = (Arc::clone(self), shape.shard_bytes());
            sending.spawn(async move {
                let signed = own.store_shard(&holder, (root, shard_bytes), lease_until, Some(bytes)).await?;
                let owner = own.key.public();
                let lease = Lease::answers(&signed, &holder, (root, shard_bytes), &owner, lease_until)?;
                anyhow::Ok((shard, lease, signed))
            });
        }
        let mut leases = Vec::new();
        while let Some(sent) = sending.join_next().await {
            match sent? {
                Ok(lease) => leases.push(lease),
                Err(error) => tracing::debug!(%error, "a rebuilt shard was not stored"),
            }
        }
        if !self.note_leases(segment, leases.clone()).await? {
            for (shard, lease, _) in &leases {
                if let Some(root) = record.root(*shard) {
                    self.drop_shard(&lease.holder, root).await;
                }
            }
            bail!("the segment was given up meanwhile");
        }
        committed("repair");
        let signed = |place: &&(u16, PublicKey)| {
            leases.iter().any(|(shard, lease, _)| (*shard, &lease.holder) == (place.0, &place.1))
        };
        let unanswered = targets.iter().filter(|place| !signed(place)).cloned().collect();
        self.let_go_of_asked(record, unanswered);
        Ok(leases.into_iter().map(|(shard, lease, _)| (shard, lease.holder)).collect())
    }

    /// Writes down who holds shards from now on; says whether the segment still is anybody's.
    async fn note_leases(&self, segment: SegmentId, new: Vec<(u16, Lease, Vec<u8>)>) -> anyhow::Result<bool> {
        let catalog = self.catalog.clone();
        Ok(blocking(move || catalog.note_leases(segment, &new)).await?.is_some())
    }

    /// Renews what is half over.
    async fn renew_all(self: Arc<Self>) {
        let catalog = self.catalog.clone();
        let segments = match blocking(move || Ok(catalog.load()?.segments)).await {
            Ok(segments) => segments,
            Err(error) => return tracing::warn!(%error, "leases could not be looked at"),
        };
        let (now, until) = (unix_now(), self.lease_until());
        for Stored { record, leases, .. } in segments {
            let (segment, _) = record.encode();
            let shard_bytes = record.shape().shard_bytes();
            let mut renewed = Vec::new();
            for (shard, lease, _) in leases {
                if now.until(lease.until) * 2 > lease.issued.until(lease.until) {
                    continue;
                }
                let (holder, shard_name) = (&lease.holder, (lease.root, shard_bytes));
                let Ok(signed) = self.store_shard(holder, shard_name, until, None).await else { continue };
                let owner = self.key.public();
                if let Ok(lease) = Lease::answers(&signed, holder, shard_name, &owner, until) {
                    renewed.push((shard, lease, signed));
                }
            }
            if !renewed.is_empty()
                && let Err(error) = self.note_leases(segment, renewed).await
            {
                tracing::warn!(%error, "renewed leases could not be written down");
            }
        }
    }

    /// Adverts that expired, and standings for the next process.
    async fn tidy(&self) {
        self.memory.expire();
        let standings: Vec<_> = {
            self.heard.expire();
            let (accounts, count) = self.heard.accounts_since(self.state().accounts);
            let (now, unix) = (self.now(), unix_now());
            let mut state = self.state();
            state.accounts = count;
            let ours = self.key.public();
            for account in accounts.iter().filter(|account| account.auditor != ours) {
                state.custody.handle_evidence(account);
            }
            // A holder's standing is part of what placement sees of it.
            let known: Vec<PublicKey> =
                state.custody.holders().map(|Holder { node, .. }| node.clone()).collect();
            for node in known {
                match self.heard.advert(unix, &node) {
                    Some(advert) => state.custody.handle_advert(now, &advert),
                    None => state.custody.handle_advert_expired(&node),
                }
            }
            state.custody.standings().map(|(holder, standing)| (holder.clone(), *standing)).collect()
        };
        let catalog = self.catalog.clone();
        if let Err(error) = blocking(move || catalog.put_standings(&standings)).await {
            tracing::warn!(%error, "standings could not be written down");
        }
    }
}
