//! Shards to and from holders: what the machines ask for, done.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rand::Rng as _;
use shared::{
    base::{BlobRoot, EffectId, RequestId, UnixSeconds, blob::BlobShape},
    identity::PublicKey,
    storage::{
        extras::Tab,
        messages::{Ask, MAX_PAYLOAD_BYTES, Said, ShardRequest},
        proof::{ANSWER_WITHIN, Challenge, Opinion},
        read::{self, FetchFailure, Read},
        record::SegmentRecord,
        upload::{self, Upload},
    },
    wire::Refusal,
};
use tokio::task::{AbortHandle, JoinSet};

use super::{Moved, Own, blocking};
use crate::{
    pieces::Pieces,
    store,
    strangers::exchange::{self, ExchangeError},
};

/// A holder that serves as much as it can is told again that a lease is over, each time after twice as long: after a
/// restart it may be told of dozens at once.
const DROPPED_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// The times that it is told.
const DROP_TRIES: u32 = 4;

/// What a read was for, and whom it found out.
pub(super) struct Window {
    /// The same bytes of each shard that came.
    pub(super) shards: BTreeMap<u16, Pieces>,
    /// Shard, holder, and whether it sent something else.
    pub(super) missing: Vec<(u16, PublicKey, bool)>,
    /// The same of tabs, whose shards count nothing.
    pub(super) missing_extras: Vec<(u16, Tab, bool)>,
}

/// Whom a read may ask for which shard.
pub(super) struct Sources {
    /// Holders, those to prefer first.
    pub(super) holders: Vec<(u16, PublicKey)>,
    /// Asked after the holders.
    pub(super) tabs: Vec<(u16, Tab)>,
}

/// Work of one machine under way, by effect, so that it can be broken off.
struct Running<T> {
    set: JoinSet<(EffectId, T)>,
    handles: BTreeMap<EffectId, AbortHandle>,
}

impl<T: Send + 'static> Running<T> {
    fn new() -> Self {
        Self { set: JoinSet::new(), handles: BTreeMap::new() }
    }

    fn begin(&mut self, id: EffectId, work: impl Future<Output = T> + Send + 'static) {
        let handle = self.set.spawn(async move { (id, work.await) });
        self.handles.insert(id, handle);
    }

    fn cancel(&mut self, id: EffectId) {
        if let Some(handle) = self.handles.remove(&id) {
            handle.abort();
        }
    }

    /// The next that ends by itself; waits for ever while nothing runs.
    async fn next(&mut self) -> (EffectId, T) {
        loop {
            match self.set.join_next().await {
                Some(Ok((id, result))) => {
                    self.handles.remove(&id);
                    return (id, result);
                }
                // Broken off.
                Some(Err(_)) => {}
                None => std::future::pending::<()>().await,
            }
        }
    }
}

impl Own {
    /// Until `deadline` of a machine.
    async fn until(&self, deadline: Option<shared::base::Instant>) {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline.since(self.now())).await,
            None => std::future::pending().await,
        }
    }

    /// Asks a holder, at its last known address.
    pub(super) async fn ask(
        &self,
        holder: &PublicKey,
        ask: Ask,
        payload: Option<Bytes>,
    ) -> Result<(Said, futures::io::ReadHalf<links::Stream>), ExchangeError> {
        let contact = self.contact(holder).ok_or(ExchangeError::Unreachable)?;
        let request = ShardRequest { request: RequestId(rand::rng().random()), ask };
        let frame = request.encode().ok_or(ExchangeError::Protocol)?;
        exchange::ask(&self.network, &contact, &frame, payload).await
    }

    /// Sends a shard, or renews its lease where there is no `shard`; returns the signed lease as it came.
    pub(super) async fn store_shard(
        &self,
        holder: &PublicKey,
        (root, bytes): (BlobRoot, u64),
        lease_until: UnixSeconds,
        shard: Option<Bytes>,
    ) -> Result<Vec<u8>, ExchangeError> {
        match self.ask(holder, Ask::Store { root, bytes, lease_until }, shard).await? {
            (Said::Lease(lease), _) => Ok(lease),
            _ => Err(ExchangeError::Protocol),
        }
    }

    /// Ends a lease; whoever cannot be reached keeps the shard until it ends by itself. Says whether it was heard.
    pub(super) async fn drop_shard(&self, holder: &PublicKey, root: BlobRoot) -> bool {
        let mut tries = 1;
        loop {
            match self.ask(holder, Ask::Drop { root }, None).await {
                Ok(_) => return true,
                Err(ExchangeError::Refused(Refusal::Busy)) if tries < DROP_TRIES => {
                    tokio::time::sleep(DROPPED_AGAIN_AFTER * 2_u32.pow(tries - 1)).await;
                    tries += 1;
                }
                Err(error) => {
                    tracing::debug!(%holder, %error, "a lease ends by itself");
                    return false;
                }
            }
        }
    }

    /// Asks a question, and says what is thought of whom it asks; returns the signed proof as it came.
    pub(super) async fn challenge(
        &self,
        challenge: &Challenge,
        opinion: Opinion,
    ) -> Result<Vec<u8>, ExchangeError> {
        let Challenge { root, beacon, holder } = challenge;
        let (within, opinion) = (ANSWER_WITHIN, Some(opinion));
        match self.ask(holder, Ask::Challenge { root: *root, beacon: *beacon, within, opinion }, None).await?
        {
            (Said::Proof(proof), _) => Ok(proof),
            _ => Err(ExchangeError::Protocol),
        }
    }

    pub(super) async fn fetch(
        &self,
        holder: &PublicKey,
        root: BlobRoot,
        shard_bytes: u64,
        range: Range<u64>,
    ) -> Result<Pieces, FetchFailure> {
        let asked = self.ask(holder, Ask::HandOut { root, range: range.clone() }, None).await;
        open_payload(asked, root, shard_bytes, range).await
    }

    async fn fetch_extra(
        &self,
        tab: &Tab,
        root: BlobRoot,
        shard_bytes: u64,
        range: Range<u64>,
    ) -> Result<Pieces, FetchFailure> {
        let asked = self.ask_tab(tab, Ask::HandOut { root, range: range.clone() }, None).await;
        open_payload(asked, root, shard_bytes, range).await
    }

    /// Drives an upload to its end; `shards` are the shards' bytes. Says whether it was acknowledged, and returns the
    /// leases by shard.
    pub(super) async fn drive_upload(
        self: &Arc<Self>,
        mut upload: Upload,
        record: &SegmentRecord,
        lease_until: UnixSeconds,
        shards: &BTreeMap<u16, Bytes>,
        moved: &Moved,
    ) -> (bool, Vec<(u16, Vec<u8>)>) {
        let (mut running, mut acknowledged) = (Running::new(), false);
        let mut first = BTreeSet::new();
        let (segment, _) = record.encode();
        let shard_bytes = record.shape().shard_bytes();
        loop {
            while let Some(effect) = upload.poll_effect() {
                match effect {
                    upload::Effect::Store { id, shard, root, holder } => {
                        let Some(bytes) = shards.get(&shard).cloned() else {
                            upload.handle_failed(self.now(), id);
                            continue;
                        };
                        let own = Arc::clone(self);
                        // The first ask is of whom the intent names; a spare is noted before it gets anything.
                        let is_spare = !first.insert(shard);
                        running.begin(id, async move {
                            if is_spare {
                                let (catalog, place) = (own.catalog.clone(), [(shard, holder.clone())]);
                                let noted = blocking(move || catalog.note_asked(segment, &place)).await;
                                noted.map_err(|_| ExchangeError::Unreachable)?;
                            }
                            own.store_shard(&holder, (root, shard_bytes), lease_until, Some(bytes)).await
                        });
                    }
                    upload::Effect::Cancel { id } => running.cancel(id),
                }
            }
            while let Some(event) = upload.poll_event() {
                match event {
                    upload::Event::Acknowledged { .. } => acknowledged = true,
                    upload::Event::Finished { held } => tracing::debug!(held, "a segment is stored"),
                    upload::Event::Failed { held, enough } => {
                        tracing::warn!(held, enough, "a segment could not be stored");
                    }
                    upload::Event::BadLease { holder, fault } => {
                        tracing::warn!(%holder, %fault, "a holder's promise is not the one it was asked for");
                    }
                }
            }
            if upload.is_over() {
                let held = upload.held().map(|(shard, _, lease)| (shard, lease.to_vec())).collect();
                return (acknowledged, held);
            }
            tokio::select! {
                (id, stored) = running.next() => match stored {
                    Ok(lease) => {
                        moved(shard_bytes);
                        upload.handle_stored(self.now(), id, &lease);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a shard was not stored");
                        upload.handle_failed(self.now(), id);
                    }
                },
                () = self.until(upload.poll_deadline()) => upload.handle_time(self.now()),
            }
        }
    }

    /// Fetches bytes `range` of enough shards: those `wanted`, or any k.
    pub(super) async fn fetch_window(
        self: &Arc<Self>,
        record: &SegmentRecord,
        wanted: impl IntoIterator<Item = u16>,
        Sources { holders, tabs }: Sources,
        range: Range<u64>,
    ) -> Result<Window, (u16, u16)> {
        let profile = record.shape().profile();
        let shard_bytes = record.shape().shard_bytes();
        let tabs: Vec<_> = tabs.into_iter().map(|(shard, Tab(key))| (shard, key)).collect();
        // Who holds a shard is no tab of it, whatever it offered beside.
        let is_extra = |place: &(u16, PublicKey)| tabs.contains(place) && !holders.contains(place);
        let sources = holders.iter().chain(&tabs).cloned();
        let mut read = Read::new(self.now(), profile, wanted, sources);
        let mut running = Running::new();
        let mut window = Window { shards: BTreeMap::new(), missing: Vec::new(), missing_extras: Vec::new() };
        loop {
            while let Some(effect) = read.poll_effect() {
                match effect {
                    read::Effect::Fetch { id, shard, holder } => {
                        let (own, range) = (Arc::clone(self), range.clone());
                        let (root, place) = (record.root(shard), (shard, holder));
                        let extra = is_extra(&place).then(|| Tab(place.1.clone()));
                        running.begin(id, async move {
                            let Some(root) = root else { return (shard, Err(FetchFailure::Unavailable)) };
                            let fetched = match extra {
                                Some(tab) => own.fetch_extra(&tab, root, shard_bytes, range).await,
                                None => own.fetch(&place.1, root, shard_bytes, range).await,
                            };
                            (shard, fetched)
                        });
                    }
                    read::Effect::Cancel { id } => running.cancel(id),
                }
            }
            while let Some(event) = read.poll_event() {
                match event {
                    read::Event::Done { .. } => return Ok(window),
                    read::Event::Failed { arrived, needed } => return Err((arrived, needed)),
                    read::Event::Missing { shard, holder, lied } => {
                        if is_extra(&(shard, holder.clone())) {
                            window.missing_extras.push((shard, Tab(holder), lied));
                        } else {
                            window.missing.push((shard, holder, lied));
                        }
                    }
                }
            }
            tokio::select! {
                (id, (shard, fetched)) = running.next() => match fetched {
                    Ok(bytes) => {
                        window.shards.insert(shard, bytes);
                        read.handle_fetched(self.now(), id);
                    }
                    Err(failure) => {
                        tracing::debug!(shard, ?failure, "a shard did not come");
                        read.handle_failed(self.now(), id, failure);
                    }
                },
                () = self.until(read.poll_deadline()) => read.handle_time(self.now()),
            }
        }
    }
}

/// The verified bytes `range` of a shard, of what was answered to the wish to have them.
async fn open_payload(
    asked: Result<(Said, futures::io::ReadHalf<links::Stream>), ExchangeError>,
    root: BlobRoot,
    shard_bytes: u64,
    range: Range<u64>,
) -> Result<Pieces, FetchFailure> {
    let failure = |error| match error {
        ExchangeError::Refused(Refusal::NotFound) => FetchFailure::Lost,
        ExchangeError::Protocol => FetchFailure::Wrong,
        _ => FetchFailure::Unavailable,
    };
    let (said, mut reader) = asked.map_err(failure)?;
    match said {
        Said::Payload { shard_bytes: said, payload_bytes } => {
            if said != shard_bytes || payload_bytes > MAX_PAYLOAD_BYTES {
                return Err(FetchFailure::Wrong);
            }
            let slice = exchange::read_payload(&mut reader, payload_bytes, |_| {}).await.map_err(failure)?;
            let shape = BlobShape::new(shard_bytes).ok_or(FetchFailure::Wrong)?;
            // At most some milliseconds, for which another thread is not worth its price.
            store::open_slice(root, shape, &range, &slice).map_err(|_| FetchFailure::Wrong)
        }
        _ => Err(FetchFailure::Wrong),
    }
}
