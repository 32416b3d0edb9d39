//! Holding shards for others: takes them within a quota, hands them out, proves them, and lets them go when their
//! leases end.
//!
//! What owners say of its audits is kept for the operator, and changes nothing here.
//!
//! What is promised is on the disk, synced, before the promise is signed. Whoever knows a shard's root may read it; only
//! who leased it can end its lease. What has rotted is never handed out, and owned up to when asked.

mod leases;
mod meters;
mod owners;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{AsyncReadExt as _, StreamExt as _, io::ReadHalf};
use links::Stream;
use prometheus_client::registry::Registry;
use runtime::unix_now;
use serde::{Deserialize, Serialize};
use shared::{
    base::{BlobRoot, UnixSeconds, blob::HashTree},
    identity::{Keypair, PublicKey},
    storage::{
        holders::{FailedAudit, HolderAdvert, Lease, MAX_LEASE_SECONDS, vouch},
        messages::{Ask, Said, ShardAnswer, ShardRequest},
        placement::HolderKind,
        proof::{self, Challenge, Concern, Opinion},
    },
    wire::Refusal,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::owners::{OwnerOpinion, Repute};

use self::{leases::Leases, owners::Hearing};
use super::{
    Heard, HoldConfig, Incoming, Network,
    exchange::{self, ExchangeError, STALLED_AFTER},
};
use crate::store::{BlobStore, Blobs, BucketConfig, ByteStream, StoreError};

/// Requests served at once; each hand-out keeps 4 MiB in memory.
const SERVED_AT_ONCE: usize = 64;
/// Of one peer: an owner with a segment of copies, a reader with some windows.
const SERVED_OF_A_PEER: usize = 16;
/// Who is sent away comes back after so long.
const BUSY_FOR: Duration = Duration::from_millis(500);
/// How often ended leases are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Shards read and hashed then: at most 64 MiB each, and seldom more than four.
const SCRUBBED_AT_ONCE: usize = 16;
/// An advert is believed for so long; two renewals may be lost.
const ADVERT_LASTS_SECONDS: u64 = 1200;
/// How soon an advert that nobody heard is said again.
const ADVERT_AGAIN: Duration = Duration::from_secs(1);
/// The second comes soon: the first may have come too soon behind what a process before this one said, perhaps from
/// another address.
const ADVERT_SECOND: Duration = Duration::from_secs(11);
/// A clock may be off by this much without a lease being too long.
const CLOCK_SKEW_SECONDS: u64 = 300;

/// Where in a bucket others' shards lie.
const BUCKET_PART: &str = "held";

/// What an operator wants to know of a holder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldStatus {
    /// Promises.
    pub leases: usize,
    /// Bytes of shards,
    pub stored_bytes: u64,
    /// of as many that they may take.
    pub quota_bytes: u64,
    /// How it stands with owners.
    pub repute: Repute,
    /// What each of them says, the worst first; as many as were asked for.
    pub opinions: Vec<OwnerOpinion>,
}

/// Holds shards.
pub struct Hold {
    config: HoldConfig,
    key: Keypair,
    operator: Keypair,
    blobs: BlobStore,
    heard: Arc<Heard>,
    leases: Mutex<Leases>,
    serving: Mutex<BTreeMap<PublicKey, usize>>,
}

impl Hold {
    /// Opens the store of others' shards in `directory`, or with its blobs in a bucket.
    ///
    /// # Errors
    /// Where the store or the operator's key cannot be read.
    pub async fn open(
        config: HoldConfig,
        directory: &Path,
        bucket: Option<&BucketConfig>,
        key: Keypair,
        heard: Arc<Heard>,
    ) -> anyhow::Result<Arc<Self>> {
        let operator = match &config.operator_key {
            Some(path) => runtime::load_key(path).context("storage.hold.operator_key")?,
            None => key.clone(),
        };
        let quota_bytes = config.quota_mib.saturating_mul(1 << 20);
        let blobs = BlobStore::open_at(directory.to_owned(), quota_bytes, bucket, BUCKET_PART).await?;
        let leases = Mutex::new(Leases::load(&blobs).await?);
        Ok(Arc::new(Self { config, key, operator, blobs, heard, leases, serving: Mutex::default() }))
    }

    /// Registers what it counts.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        meters::register(self, registry);
    }

    /// Serves `incoming` and says that it is there, until `shutdown`.
    pub fn run(
        self: &Arc<Self>,
        network: Arc<Network>,
        incoming: mpsc::Receiver<Incoming>,
        shutdown: CancellationToken,
    ) -> JoinHandle<()> {
        let hold = Arc::clone(self);
        tokio::spawn(async move {
            let serve = Arc::clone(&hold).serve_all(incoming, shutdown.clone());
            tokio::join!(serve, hold.sweep(&shutdown), hold.advertise(&network, &shutdown));
            hold.blobs.shutdown().await;
        })
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve_all(self: Arc<Self>, mut incoming: mpsc::Receiver<Incoming>, shutdown: CancellationToken) {
        let mut served = tokio::task::JoinSet::new();
        while let Some(Some(Incoming { peer, stream })) = shutdown.run_until_cancelled(incoming.recv()).await
        {
            while served.try_join_next().is_some() {}
            let admitted = served.len() < SERVED_AT_ONCE && self.admit(&peer);
            let hold = Arc::clone(&self);
            served.spawn(async move {
                if let Err(error) = hold.serve(&peer, stream, admitted).await {
                    tracing::debug!(%peer, %error, "an exchange about a shard came to nothing");
                }
                if admitted {
                    hold.dismiss(&peer);
                }
            });
        }
        served.shutdown().await;
    }

    fn admit(&self, peer: &PublicKey) -> bool {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let count = serving.entry(peer.clone()).or_default();
        *count += 1;
        if *count > SERVED_OF_A_PEER {
            *count -= 1;
            return false;
        }
        true
    }

    fn dismiss(&self, peer: &PublicKey) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = serving.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                serving.remove(peer);
            }
        }
    }

    async fn serve(&self, peer: &PublicKey, stream: Stream, admitted: bool) -> Result<(), ExchangeError> {
        let (mut reader, mut writer) = stream.split();
        let request = exchange::read_frame(&mut reader).await?;
        let Ok(ShardRequest { request, ask }) = ShardRequest::read(&request) else {
            return Err(ExchangeError::Protocol);
        };
        let (said, payload) = if admitted {
            self.answer(peer, ask, reader).await
        } else {
            (refused(Refusal::Busy), Bytes::new())
        };
        exchange::reply(&mut writer, &ShardAnswer { request, said }, &payload).await
    }

    async fn answer(&self, peer: &PublicKey, ask: Ask, reader: ReadHalf<Stream>) -> (Said, Bytes) {
        let nothing = Bytes::new();
        match ask {
            Ask::Store { root, bytes, lease_until } => {
                self.leases().begin(root, peer);
                let said = self.store(peer, root, bytes, lease_until, reader).await;
                let unwanted = self.leases().end(root, peer);
                if unwanted && said.is_ok() {
                    // Its owner may be another process by now, and never ask again.
                    self.let_go(peer, root).await;
                    return (refused(Refusal::Expired), nothing);
                }
                (said.unwrap_or_else(refused), nothing)
            }
            Ask::HandOut { root, range } => match self.hand_out(root, range).await {
                Ok((said, payload)) => (said, payload),
                Err(refusal) => (refused(refusal), nothing),
            },
            Ask::Drop { root } => {
                self.let_go(peer, root).await;
                (Said::Done, nothing)
            }
            Ask::Challenge { root, beacon, opinion, .. } => {
                if let Some(opinion) = opinion {
                    self.hear_opinion(peer, opinion);
                }
                let challenge = Challenge { root, beacon, holder: self.key.public() };
                (self.prove(&challenge).await.unwrap_or_else(refused), nothing)
            }
            Ask::Opinion(opinion) => {
                let kept = self.hear_opinion(peer, opinion);
                (if kept { Said::Done } else { refused(Refusal::NotFound) }, nothing)
            }
            Ask::Evidence { account, signed } => {
                (self.hear(peer, &account, &signed).unwrap_or_else(refused), nothing)
            }
            Ask::ListHolders { after } => (self.heard.list_holders(after), nothing),
            Ask::ListEvidence { after } => (self.heard.list_evidence(after), nothing),
            // Tabs speak of extra shards by a protocol of their own.
            Ask::Keep { .. } | Ask::OfferRoom(_) => (refused(Refusal::Version), nothing),
        }
    }

    /// Ends an owner's lease, if there is one.
    async fn let_go(&self, owner: &PublicKey, root: BlobRoot) {
        let lease = self.leases().forget(root, owner);
        if let Some(lease) = lease
            && let Err(error) = self.blobs.release(root, &lease).await
        {
            tracing::warn!(%error, "a lease could not be ended");
        }
    }

    /// Somebody says that an audit failed: of us, and an operator wants to know, or of a third.
    fn hear(&self, peer: &PublicKey, account: &FailedAudit, signed: &[u8]) -> Result<Said, Refusal> {
        let challenge = &account.transcript.challenge;
        if challenge.holder == self.key.public() {
            // Of a shard that nobody has leased it says nothing.
            if account.auditor == *peer && self.leases().get(challenge.root, peer).is_some() {
                let (verdict, root) = (account.transcript.verdict, challenge.root);
                tracing::warn!(owner = %peer, %root, ?verdict, "an owner says that this node failed an audit");
                tracing::info!(
                    target: "blackhole::events::storage", event = "accused", owner = %peer, verdict = ?verdict
                );
            }
            return Ok(Said::Done);
        }
        if self.heard.hear_account(account, signed) {
            tracing::info!(holder = %challenge.holder, "evidence against a holder, by its own signature");
        }
        if account.convicts() { Ok(Said::Done) } else { Err(Refusal::Unspecified) }
    }

    /// Somebody says what it thinks of this node. Says whether that is kept; warns where it is bad news.
    fn hear_opinion(&self, peer: &PublicKey, opinion: Opinion) -> bool {
        let hearing = self.leases().owners.hear(peer, opinion, unix_now());
        let Hearing::Worse(concern) = hearing else { return hearing == Hearing::Kept };
        let why = owners::explain(&opinion);
        if concern == Concern::Dismissed {
            tracing::warn!(owner = %peer, %why, "an owner says that it has dismissed this node");
        } else {
            tracing::warn!(owner = %peer, %why, "an owner says that this node is not to be relied on");
        }
        tracing::info!(
            target: "blackhole::events::storage",
            event = "reputation_fell", owner = %peer, reputation = opinion.reputation(), concern = ?concern
        );
        true
    }

    /// Takes a shard, or has it already, and promises to keep it.
    async fn store(
        &self,
        owner: &PublicKey,
        root: BlobRoot,
        bytes: u64,
        until: UnixSeconds,
        reader: ReadHalf<Stream>,
    ) -> Result<Said, Refusal> {
        let issued = unix_now();
        let term = issued.until(until);
        if term == 0 || term > MAX_LEASE_SECONDS.saturating_sub(CLOCK_SKEW_SECONDS) {
            return Err(Refusal::Expired);
        }
        // A shorter lease never takes away from a longer one.
        let known = self.leases().get(root, owner);
        let until = known.map_or(until, |known| known.max(until));
        let name = Leases::name(owner, until);
        match self.blobs.shape(root).await {
            Ok(shape) if shape.size() != bytes => return Err(Refusal::Malformed),
            Ok(_) => {
                if known.is_none() && self.leases().is_full() {
                    return Err(Refusal::OverBudget);
                }
                self.blobs.lease(root, &name).await.map_err(|error| refusal(&error))?;
            }
            Err(StoreError::Absent { .. }) => {
                if self.leases().is_full() {
                    return Err(Refusal::OverBudget);
                }
                let put = self.blobs.put(payload(reader, bytes), Some(root), &name).await;
                let held = put.map_err(|error| refusal(&error))?;
                if held.shape.size() != bytes {
                    return Err(Refusal::Malformed);
                }
            }
            Err(error) => return Err(refusal(&error)),
        }
        let before = self.leases().note(root, owner, until);
        if let Some(before) = before
            && let Err(error) = self.blobs.release(root, &before).await
        {
            tracing::warn!(%error, "a lease that was renewed could not be ended");
        }
        let lease = Lease { root, bytes, owner: owner.clone(), holder: self.key.public(), issued, until };
        Ok(Said::Lease(lease.sign(&self.key)))
    }

    async fn hand_out(&self, root: BlobRoot, range: std::ops::Range<u64>) -> Result<(Said, Bytes), Refusal> {
        let shape = self.blobs.shape(root).await.map_err(|error| refusal(&error))?;
        if range.end > shape.size() {
            return Err(Refusal::Malformed);
        }
        let slice = match self.blobs.export(root, range).await {
            Ok(slice) => slice,
            Err(error) => {
                if matches!(error, StoreError::Rotten { .. } | StoreError::Missing { .. }) {
                    self.own_up(root).await;
                }
                return Err(refusal(&error));
            }
        };
        let said = Said::Payload { shard_bytes: shape.size(), payload_bytes: slice.len() as u64 };
        Ok((said, slice))
    }

    async fn prove(&self, challenge: &Challenge) -> Result<Said, Refusal> {
        let root = challenge.root;
        let material = match self.blobs.shape(root).await {
            Ok(shape) => {
                let leaves = challenge.leaves(shape);
                let groups: BTreeSet<u32> = leaves.iter().map(|leaf| shape.group_of_leaf(*leaf)).collect();
                let material = self.blobs.proof_material(root, &groups).await;
                match &material {
                    Ok((_, found)) if found.len() == groups.len() => {}
                    Ok(_) | Err(StoreError::Rotten { .. } | StoreError::Missing { .. }) => {
                        self.own_up(root).await;
                    }
                    Err(_) => {}
                }
                material
            }
            Err(error) => Err(error),
        };
        match material {
            Ok((tree, groups)) => {
                let groups = groups.iter().map(|(group, bytes)| (*group, &bytes[..])).collect();
                Ok(Said::Proof(proof::answer(challenge, &tree, &groups, &self.key)))
            }
            // What was promised and is gone is owned up to; of the rest this node knows nothing.
            Err(StoreError::Absent { .. } | StoreError::Rotten { .. } | StoreError::Missing { .. })
                if self.leases().is_promised(root) =>
            {
                let nothing = HashTree::of(b"").map_err(|_| Refusal::Unspecified)?;
                Ok(Said::Proof(proof::answer(challenge, &nothing, &BTreeMap::new(), &self.key)))
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    /// A damaged shard is as good as none: it is moved aside, or who rebuilds it here would hear that it is here.
    async fn own_up(&self, root: BlobRoot) {
        if let Err(error) = self.blobs.check(root).await {
            tracing::warn!(%root, %error, "a damaged shard could not be moved aside");
        }
    }

    async fn sweep(&self, shutdown: &CancellationToken) {
        let mut scrubbed = None;
        while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
            // What has rotted is owned up to from then on, whichever leaves are asked for.
            match self.blobs.scrub(scrubbed, SCRUBBED_AT_ONCE).await {
                Ok(report) => scrubbed = report.next,
                Err(error) => tracing::warn!(%error, "shards could not be scrubbed"),
            }
            self.heard.expire();
            let ended = self.leases().expire(unix_now());
            for (root, lease) in ended {
                if let Err(error) = self.blobs.release(root, &lease).await {
                    tracing::warn!(%error, "a lease that ended could not be removed");
                }
            }
            match self.blobs.collect_garbage().await {
                Ok(0) => {}
                Ok(bytes) => tracing::info!(bytes, "shards that nobody leases were removed"),
                Err(error) => tracing::warn!(%error, "shards that nobody leases could not be removed"),
            }
        }
    }

    async fn advertise(&self, network: &Network, shutdown: &CancellationToken) {
        let every = Duration::from_secs(self.config.advert_seconds.clamp(1, ADVERT_LASTS_SECONDS / 2));
        let (mut sequence, mut is_first) = (unix_now().0, true);
        loop {
            sequence = sequence.saturating_add(1);
            let heard = match self.advert(network, sequence) {
                Some(advert) => {
                    // Who asks which holders there are hears of this one too.
                    self.heard.hear_advert(&advert);
                    (network.publish)(advert).await
                }
                None => false,
            };
            let pause = match (heard, is_first) {
                (false, _) => ADVERT_AGAIN,
                (true, true) => every.min(ADVERT_SECOND),
                (true, false) => every,
            };
            is_first &= !heard;
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// What this node offers; nothing while it has no address.
    fn advert(&self, network: &Network, sequence: u64) -> Option<Vec<u8>> {
        let addresses = (network.addresses)();
        let place = addresses.iter().find_map(|address| {
            let address = multiaddr::Multiaddr::try_from(address.clone()).ok()?;
            exchange::place_of(&address)
        })?;
        let usage = self.blobs.usage();
        let used = usage.stored_bytes.saturating_add(usage.incoming_bytes);
        let issued = unix_now();
        let advert = HolderAdvert {
            node: self.key.public(),
            operator: self.operator.public(),
            operator_signature: vouch(&self.operator, &self.key.public()),
            sequence,
            issued,
            expires: issued.plus(ADVERT_LASTS_SECONDS),
            free_bytes: usage.quota_bytes.saturating_sub(used),
            price: self.config.price,
            network: place,
            region: self.config.region,
            autonomous_system: self.config.autonomous_system,
            kind: HolderKind::Supernode,
            software: concat!("blackhole/", env!("CARGO_PKG_VERSION")).to_owned(),
            claimed_audits: 0,
            addresses,
        };
        Some(advert.sign(&self.key))
    }

    /// What an operator wants to see, with what so many owners say at most.
    pub fn status(&self, opinions: usize) -> HoldStatus {
        let usage = self.blobs.usage();
        let leases = self.leases();
        HoldStatus {
            leases: leases.count(),
            stored_bytes: usage.stored_bytes,
            quota_bytes: usage.quota_bytes,
            repute: leases.owners.repute(),
            opinions: leases.owners.opinions(opinions),
        }
    }
}

fn refused(refusal: Refusal) -> Said {
    let retry_after = if refusal == Refusal::Busy { BUSY_FOR } else { Duration::ZERO };
    Said::Refused { refusal, retry_after }
}

fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::Absent { .. } | StoreError::Rotten { .. } | StoreError::Missing { .. } => {
            Refusal::NotFound
        }
        StoreError::Quota { .. } => Refusal::OverBudget,
        StoreError::TooLong | StoreError::Forged { .. } | StoreError::Source(_) => Refusal::Malformed,
        StoreError::Busy => Refusal::Busy,
        // It may be there again soon, and nothing is lost meanwhile.
        StoreError::Bucket(error) => {
            tracing::warn!(%error, "shards cannot be reached");
            Refusal::Busy
        }
        error => {
            tracing::warn!(%error, "the store of shards failed");
            Refusal::Unspecified
        }
    }
}

/// Exactly `bytes` of a stream, as the store takes them.
fn payload(reader: ReadHalf<Stream>, bytes: u64) -> ByteStream {
    let pieces = futures::stream::try_unfold((reader, bytes), |(mut reader, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(exchange::PIECE_BYTES);
        let mut piece = vec![0; length];
        tokio::time::timeout(STALLED_AFTER, reader.read_exact(&mut piece))
            .await
            .map_err(|_| std::io::ErrorKind::TimedOut)??;
        Ok(Some((Bytes::from(piece), (reader, left - length as u64))))
    });
    pieces.boxed()
}
