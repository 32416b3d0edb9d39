//! An object goes out: sealed, cut, coded, and sent to whoever promises to keep it.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use rand::TryRngCore as _;
use runtime::unix_now;
use shared::{
    base::SegmentId,
    storage::{
        erasure::{MAX_SEGMENT_BYTES, Profile, SegmentShape},
        holders::Lease,
        placement::{Holder, Need, place},
        record::{Body, MAX_INLINE_BYTES, ObjectDraft, ObjectSecret, Part},
        seal::{ObjectKey, ObjectPath, Sealer, Sealing},
        upload::{self, Upload},
    },
};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{
    Moved, Own, blocking,
    catalog::Stored,
    coding::{Coded, Sealed, encode, shards_bytes},
};
use crate::commits::committed;

/// Read at once from the source.
const PIECE_BYTES: usize = 256 * 1024;
/// Spare holders for so many shards, one more.
const SHARDS_TO_A_SPARE: u16 = 8;

impl Own {
    /// Stores an object under `path`, all of `source`; it replaces what was there. On return it is acknowledged: enough
    /// holders signed for it, and the catalogue is synced. A source that is not `expected` bytes long broke off, and
    /// nothing is stored. `moved` is told of bytes as holders confirm them.
    ///
    /// # Errors
    /// Says why it was not stored; what was there before still is.
    pub async fn put(
        self: &Arc<Self>,
        path: &ObjectPath,
        mut source: impl AsyncRead + Unpin + Send,
        expected: Option<u64>,
        moved: Moved,
    ) -> anyhow::Result<u64> {
        let sealing = Sealing::Aes256Gcm;
        let (object_key, mut salt) = (ObjectKey::from_bytes(runtime::random_seed()?), fresh::<16>()?);
        let mut first = Vec::new();
        let inline_bytes = usize::try_from(MAX_INLINE_BYTES)?;
        (&mut source).take(MAX_INLINE_BYTES + 1).read_to_end(&mut first).await?;
        let inline = first.len() <= inline_bytes;
        if inline {
            salt = [0; 16];
        }
        let mut sealer = Sealer::new(sealing, &object_key.stream(&salt));
        let mut sealed = Vec::new();
        sealer.update(&first, &mut sealed)?;
        let mut segments: Vec<Stored> = Vec::new();
        let stored = async {
            if !inline {
                let full = usize::try_from(MAX_SEGMENT_BYTES)?;
                let mut piece = vec![0; PIECE_BYTES];
                loop {
                    let read = source.read(&mut piece).await.context("reading the object")?;
                    if read == 0 {
                        break;
                    }
                    sealer.update(&piece[..read], &mut sealed)?;
                    // Cut only where more follows, so that no segment is empty.
                    if sealed.len() > full {
                        let rest = sealed.split_off(full);
                        let segment = std::mem::replace(&mut sealed, rest);
                        segments.push(self.put_segment(segment, &moved).await?);
                    }
                }
            }
            let shape = sealer.finish(&mut sealed);
            while !inline && !sealed.is_empty() {
                let rest = sealed.split_off(sealed.len().min(usize::try_from(MAX_SEGMENT_BYTES)?));
                let segment = std::mem::replace(&mut sealed, rest);
                segments.push(self.put_segment(segment, &moved).await?);
            }
            let ids: Vec<SegmentId> = segments.iter().map(|stored| stored.record.encode().0).collect();
            let body = if inline {
                Body::Inline(std::mem::take(&mut sealed))
            } else {
                Body::Parts(vec![Part { shape, salt, segments: ids }])
            };
            let bytes = shape.plain_bytes();
            if let Some(expected) = expected.filter(|expected| *expected != bytes) {
                bail!("{bytes} bytes came, where {expected} were announced");
            }
            self.commit(
                path,
                ObjectSecret { key: object_key, attributes: Vec::new() },
                sealing,
                body,
                &segments,
            )
            .await?;
            anyhow::Ok(bytes)
        };
        let stored = stored.await;
        if stored.is_err() {
            for stored in segments {
                self.give_up(stored.record.encode().0).await?;
            }
        }
        stored
    }

    pub(super) async fn commit(
        self: &Arc<Self>,
        path: &ObjectPath,
        secret: ObjectSecret,
        sealing: Sealing,
        body: Body,
        segments: &[Stored],
    ) -> anyhow::Result<()> {
        let bucket = self.bucket();
        let sealed_path = bucket.seal_path(path);
        let (_, record_key) = bucket.object(path);
        // Milliseconds since 1970, so that a later statement of the same path has the higher number.
        let sequence = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let sequence = u64::try_from(sequence)?;
        let draft = ObjectDraft { sequence, modified: unix_now(), sealing, body };
        let record = draft.sign(&secret, &record_key, &fresh::<24>()?, &self.key)?;
        // Whoever cannot be watched over is refused before anything refers to it.
        let mut watched = Vec::new();
        for stored in segments {
            match self.watch_over(stored) {
                Ok(segment) => watched.push(segment),
                Err(error) => {
                    watched.into_iter().for_each(|segment| self.state().custody.forget(segment));
                    return Err(error).context("the object's segments cannot be watched over");
                }
            }
        }
        // From here on it goes to its end, whether or not anybody waits.
        let (own, rows) = (Arc::clone(self), segments.to_vec());
        tokio::spawn(async move {
            let catalog = own.catalog.clone();
            let replaced = blocking(move || catalog.commit(&sealed_path, &record, &rows)).await;
            match replaced {
                Ok(replaced) => {
                    committed("put");
                    own.forget(replaced);
                    own.changed.notify_one();
                    Ok(())
                }
                Err(error) => {
                    watched.into_iter().for_each(|segment| own.state().custody.forget(segment));
                    Err(error)
                }
            }
        })
        .await?
    }

    async fn put_segment(self: &Arc<Self>, sealed: Vec<u8>, moved: &Moved) -> anyhow::Result<Stored> {
        let _place = self.segments_at_once.acquire().await?;
        let profile = Profile::for_network(independent(&self.holders()));
        self.spread(Sealed::Memory(sealed.into()), profile, moved).await
    }

    /// Codes a segment and sends its shards to holders. On return enough of them signed for it, and it is an intent with its
    /// leases. The caller has one of the places in memory.
    pub(super) async fn spread(
        self: &Arc<Self>,
        sealed: Sealed,
        profile: Profile,
        moved: &Moved,
    ) -> anyhow::Result<Stored> {
        let shape = SegmentShape::new(profile, sealed.size()).context("a segment without bytes")?;
        let memory = self.memory.take(shards_bytes(shape)?);
        let coded = blocking(move || encode(shape, &sealed, memory)).await?;
        self.send(coded, moved).await
    }

    /// The same for a segment that is coded already.
    pub(super) async fn send(self: &Arc<Self>, coded: Coded, moved: &Moved) -> anyhow::Result<Stored> {
        let holders = self.holders();
        let (record, shards) = (coded.record().clone(), coded.shards());
        let (shape, (segment, _)) = (record.shape(), record.encode());
        let profile = shape.profile();
        let need = Need {
            profile,
            shards: profile.total_shards(),
            spares: (profile.total_shards() / SHARDS_TO_A_SPARE).max(1),
            shard_bytes: shape.shard_bytes(),
            price_max: self.config.price_max,
            reputation_min: self.config.reputation_min,
        };
        let placement = place(segment, &need, [], &holders);
        let enough = upload::enough(&record);
        if placement.chosen.len() < usize::from(enough) {
            bail!(
                "{} holders are known, and of a segment's {} shards {} found one: {:?}",
                holders.len(),
                profile.total_shards(),
                placement.chosen.len(),
                placement.passed_over
            );
        }
        let lease_until = self.lease_until();
        let chosen: Vec<_> = (0..).zip(placement.chosen.iter().map(|holder| holder.node.clone())).collect();
        let spares = placement.spares.iter().map(|holder| holder.node.clone()).collect();
        let catalog = self.catalog.clone();
        let intended = Stored { record: record.clone(), leases: Vec::new(), asked: chosen.clone() };
        blocking(move || catalog.put_intent(&intended)).await?;
        committed("put.intended");
        let (owner, record_sent) = (self.key.public(), record.clone());
        let plan = upload::Plan { record: record_sent, owner, lease_until, chosen, spares };
        let upload = Upload::new(self.now(), plan);
        let (acknowledged, held) = self.drive_upload(upload, &record, lease_until, &shards, moved).await;
        drop(shards);
        self.memory.give_back(coded.into_memory());
        let leases = held.into_iter().map(|(shard, signed)| Ok((shard, Lease::open(&signed)?, signed)));
        let leases: Vec<_> = leases.collect::<anyhow::Result<_>>()?;
        // So that a process that dies before the object is whole has these let go.
        let catalog = self.catalog.clone();
        let stored = blocking(move || catalog.note_leases(segment, &leases)).await?;
        let stored = stored.context("a segment on its way was given up")?;
        committed("put.signed");
        if !acknowledged {
            let held = stored.leases.len();
            self.give_up(segment).await?;
            bail!("{held} holders took their shard, where {enough} would have been enough");
        }
        // Who failed or was cancelled may have been through with it.
        self.let_go_of_asked(&record, stored.asked.clone());
        Ok(stored)
    }
}

/// How many holders could hold a shard each: those that count, one an operator.
fn independent(holders: &[Holder]) -> usize {
    let operators = holders.iter().filter(|holder| holder.counts()).map(|holder| &holder.operator);
    operators.collect::<std::collections::BTreeSet<_>>().len()
}

/// Fresh bytes from the system.
fn fresh<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).context("the system gave no randomness")?;
    Ok(bytes)
}
