//! This node's objects, held by others: sealed and coded here, placed, read back, audited and repaired.
//!
//! ```text
//! put ─► seal ─► segments ─► code ─► Upload ─► leases ─┐
//! get ◄─ open ◄─ segments ◄─ code ◄─ Read              ├─► catalogue, in one transaction: acknowledged
//! watch: Custody ─► audits, rebuilds, renewals ────────┘
//! ```
//! An object is acknowledged when enough holders signed for each segment *and* the catalogue has it, synced. What a
//! process that died had sent before that is let go by the next one. It is deleted by one transaction too, and what that
//! gives up is let go behind it, by the next process where need be.
//!
//! Names and keys are in the catalogue on this node's disk, sealed records and all; whoever loses that disk keeps the
//! shards and cannot open them.

mod catalog;
mod coding;
mod evidence;
mod get;
mod given_up;
mod memory;
mod put;
mod segments;
mod shards;
mod tabs;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use runtime::unix_now;
use serde::{Deserialize, Serialize};
use shared::{
    base::{Instant, SegmentId, UnixSeconds},
    identity::{Keypair, PublicKey},
    storage::{
        custody::{Custody, Policy, Rhythm},
        extras::{self, Extras},
        holders::{FailedAudit, HolderAdvert},
        placement::Holder,
        record::{Body, ObjectRecord},
        repair::Terms,
        seal::PathKey,
    },
};
use tokio::sync::{Notify, Semaphore};

pub(super) use self::segments::holders;
pub use self::{
    coding::{Coded, Sealed, encode, shards_bytes},
    evidence::Evidence,
    tabs::ExtraStatus,
};

use self::{
    catalog::{Catalog, Stored},
    memory::Memory,
};
use super::{Heard, Network, OwnConfig};

/// Puts and rebuilds at once: each holds a segment and its shards in memory, some 256 MiB.
const SEGMENTS_AT_ONCE: usize = 2;
/// The one bucket that the command line knows.
const BUCKET: &str = "default";

/// What a put or a get moved, for whoever draws a bar.
pub type Moved = Arc<dyn Fn(u64) + Send + Sync>;

/// An object, as a listing shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, in seconds since 1970.
    pub modified_unix: u64,
}

/// A segment, as a status shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentStatus {
    /// The object it is of; nothing where only the S3 door knows.
    pub name: Option<String>,
    /// Its own name.
    pub segment: String,
    /// Shards held, needed and in all.
    pub alive: u16,
    /// As many suffice.
    pub needed: u16,
    /// As many there are when it is whole.
    pub total: u16,
    /// Who holds which.
    pub holders: Vec<(u16, String)>,
}

/// What an owner may want to know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Holders that are known, and of them those that count.
    pub holders: usize,
    /// Of them those whose shards count.
    pub counted: usize,
    /// All segments.
    pub segments: Vec<SegmentStatus>,
    /// What each holder's audits add up to, in words.
    pub standings: Vec<(String, String)>,
    /// Audits that failed: who, and how.
    pub failed_audits: Vec<(String, String)>,
    /// Extra shards in visitors' tabs, none of which is counted above.
    #[serde(default)]
    pub extras: Vec<ExtraStatus>,
}

/// Owns objects.
pub struct Own {
    config: OwnConfig,
    key: Keypair,
    network: Arc<Network>,
    heard: Arc<Heard>,
    catalog: Catalog,
    state: Mutex<State>,
    /// Beside the state, so that nothing that counts shards meets one of these.
    extras: Mutex<Extras>,
    /// Something is to be done before the next deadline.
    changed: Notify,
    /// The same, with tabs.
    tabs_changed: Notify,
    /// Leases are to be ended.
    given_up: Notify,
    /// Holders are to be told that what they were asked for is not wanted.
    called_off: Notify,
    segments_at_once: Arc<Semaphore>,
    memory: Memory,
    /// Accounts of failed audits, and opinions, that are told at once.
    telling: Semaphore,
    started: std::time::Instant,
}

struct State {
    custody: Custody,
    /// Who may have what is not wanted of it; at most as many as there are segments.
    unanswered: BTreeMap<SegmentId, given_up::Unanswered>,
    /// Accounts of others that were looked at.
    accounts: u64,
    /// The last advert of each holder, also of those whose time is past.
    contacts: BTreeMap<PublicKey, HolderAdvert>,
}

impl Own {
    /// Opens the catalogue in `directory`, and watches again what is in it.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub async fn open(
        config: OwnConfig,
        directory: &Path,
        key: Keypair,
        network: Arc<Network>,
        heard: Arc<Heard>,
    ) -> anyhow::Result<Arc<Self>> {
        let path = directory.join("owner.redb");
        let (catalog, before, unsettled, evidence) = tokio::task::spawn_blocking(move || {
            let catalog = Catalog::open(&path)?;
            let before = catalog.load().with_context(|| format!("reading {}", path.display()))?;
            let broken_off = catalog.give_up_intents()?;
            if broken_off > 0 {
                tracing::info!(segments = broken_off, "uploads that were broken off are let go");
            }
            let (unsettled, evidence) = (catalog.unsettled()?, catalog.evidence()?);
            anyhow::Ok((catalog, before, unsettled, evidence))
        })
        .await??;
        let policy = Policy {
            terms: Terms { price_max: config.price_max, reputation_min: config.reputation_min },
            rhythm: Rhythm {
                audit_every: Duration::from_secs(config.audit_seconds.max(1)),
                gone_after: Duration::from_secs(config.gone_seconds.max(1)),
            },
            vetting_audits: config.vetting_audits,
        };
        let mut custody = Custody::new(policy, runtime::random_seed()?);
        let mut contacts = BTreeMap::new();
        before.standings.into_iter().for_each(|(holder, standing)| custody.restore(holder, standing));
        for (advert, signed) in before.holders {
            custody.handle_advert(Instant::default(), &advert);
            if heard.hear_advert(&signed).is_none() {
                custody.handle_advert_expired(&advert.node);
            }
            contacts.insert(advert.node.clone(), advert);
        }
        // Of uploads and rebuilds of an earlier process, whose end it did not see.
        let all = before.segments.iter().chain(&unsettled).filter(|stored| !stored.asked.is_empty());
        let unanswered = all
            .map(|stored| {
                let (segment, _) = stored.record.encode();
                (segment, (stored.record.clone(), stored.asked.iter().cloned().collect()))
            })
            .collect();
        let mut refused = 0_usize;
        for Stored { record, leases, .. } in before.segments {
            let held: Vec<_> = leases.into_iter().map(|(shard, lease, _)| (shard, lease.holder)).collect();
            let line = record.shape().profile().repair_line();
            refused += usize::from(custody.watch(Instant::default(), record, line, &held).is_err());
        }
        if refused > 0 {
            tracing::error!(
                segments = refused,
                "more is stored than can be watched over; these are read only"
            );
        }
        let state = Mutex::new(State { custody, unanswered, accounts: 0, contacts });
        let tabs = extras::Policy {
            of_a_segment: config.extra_shards,
            audit_every: Duration::from_secs(config.audit_seconds.max(1)),
        };
        let extras = Mutex::new(Extras::new(tabs, runtime::random_seed()?));
        let own = Arc::new(Self {
            config,
            key,
            network,
            heard,
            catalog,
            state,
            extras,
            changed: Notify::new(),
            tabs_changed: Notify::new(),
            given_up: Notify::new(),
            called_off: Notify::new(),
            segments_at_once: Arc::new(Semaphore::new(SEGMENTS_AT_ONCE)),
            memory: Memory::default(),
            telling: Semaphore::new(1),
            started: std::time::Instant::now(),
        });
        own.recall_evidence(&evidence);
        Ok(own)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        Instant::default() + self.started.elapsed()
    }

    /// The key of the owner's names, from its node key: who has that has all.
    fn bucket(&self) -> PathKey {
        let secret = blake3::derive_key("blackhole 2026-11-26 storage owner", &self.key.to_secret());
        PathKey::bucket(&secret, BUCKET)
    }

    fn lease_until(&self) -> UnixSeconds {
        unix_now().plus(self.config.lease_days.clamp(1, 80) * 86_400)
    }

    fn contact(&self, holder: &PublicKey) -> Option<HolderAdvert> {
        self.state().contacts.get(holder).cloned()
    }

    fn holders(&self) -> Vec<Holder> {
        self.state().custody.holders().cloned().collect()
    }

    /// A holder says something new of itself. Its network is what the holder is dialled at.
    pub(super) async fn handle_advert(&self, advert: HolderAdvert, signed: Vec<u8>) {
        let node = advert.node.clone();
        // One's own shards at oneself are no safer than the disk they came from.
        if node == self.key.public() {
            return;
        }
        {
            let mut state = self.state();
            state.custody.handle_advert(self.now(), &advert);
            state.contacts.insert(node.clone(), advert);
        }
        let catalog = self.catalog.clone();
        let kept = blocking(move || catalog.put_holder(&node, &signed)).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "a holder's advert could not be kept");
        }
        self.changed.notify_one();
    }

    /// All objects, by name.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub async fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let catalog = self.catalog.clone();
        let bucket = self.bucket();
        let rows = blocking(move || catalog.objects()).await?;
        let mut listed = Vec::with_capacity(rows.len());
        for (path, record) in rows {
            let record = ObjectRecord::read(&record)?;
            listed.push(Listed {
                name: bucket.open_path(&path)?.as_str().to_owned(),
                bytes: record.public.plain_bytes(),
                modified_unix: record.public.modified.0,
            });
        }
        listed.sort_by(|one, next| one.name.cmp(&next.name));
        Ok(listed)
    }

    /// Where everything is, and how the holders stand.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let catalog = self.catalog.clone();
        let look = move || Ok((catalog.objects()?, catalog.segments()?, catalog.evidence()?));
        let (rows, all, evidence) = blocking(look).await?;
        let bucket = self.bucket();
        let mut status = Status { extras: self.extra_shards(), ..Status::default() };
        for account in evidence {
            let FailedAudit { transcript, .. } = FailedAudit::open(&account)?;
            let how = format!("{:?}", transcript.verdict);
            status.failed_audits.push((transcript.challenge.holder.to_string(), how));
        }
        let mut segments = Vec::new();
        for (path, record) in rows {
            let (name, record) = (bucket.open_path(&path)?, ObjectRecord::read(&record)?);
            if let Body::Parts(parts) = record.public.body {
                let ids = parts.into_iter().flat_map(|part| part.segments);
                segments.extend(ids.map(|segment| (Some(name.as_str().to_owned()), segment)));
            }
        }
        let named: BTreeSet<SegmentId> = segments.iter().map(|(_, segment)| *segment).collect();
        segments.extend(
            all.into_iter().filter(|segment| !named.contains(segment)).map(|segment| (None, segment)),
        );
        for (name, segment) in segments {
            let catalog = self.catalog.clone();
            let Some(stored) = blocking(move || catalog.segment(segment)).await? else { continue };
            let profile = stored.record.shape().profile();
            let state = self.state();
            let holders = state.custody.shards(segment).map(|(shard, holder)| (shard, holder.to_string()));
            status.segments.push(SegmentStatus {
                name,
                segment: segment.to_string(),
                alive: state.custody.alive(segment).unwrap_or(0),
                needed: profile.data_shards(),
                total: profile.total_shards(),
                holders: holders.collect(),
            });
        }
        let state = self.state();
        status.holders = state.custody.holders().count();
        status.counted = state.custody.holders().filter(|holder| holder.counts()).count();
        let standings = state.custody.standings();
        status.standings =
            standings.map(|(holder, standing)| (holder.to_string(), standing.to_string())).collect();
        Ok(status)
    }
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("work on the disk ended in a panic")?
}

#[cfg(test)]
mod tests;
