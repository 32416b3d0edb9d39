//! What is kept, and what is said to whoever asks about it.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
};

use core::time::Duration;

use shared::{
    base::{
        BlobRoot, RequestId, UnixSeconds,
        blob::{BlobHashes, BlobShape, HashTree},
    },
    identity::{Keypair, PublicKey},
    storage::{
        extras::{Kept, MAX_EXTRA_BYTES, Room, SHARDS_OF_A_TAB},
        holders::{Lease, MAX_LEASE_SECONDS},
        messages::{Ask, Said, ShardAnswer, ShardRequest},
        proof::{self, Challenge},
    },
    wire::Refusal,
};

use crate::{
    conversation::{Broken, Conversation, Stream},
    files::{File, FileError, Files},
    header::{HEADER_BYTES, Header, hashes_bytes},
};

/// Requests answered at once: a hand-out has 4 MiB in memory.
const SERVED_AT_ONCE: usize = 8;
/// Shards taken in a minute, as an owner should offer them at most: a visitor's line is for the visitor.
const TAKEN_A_MINUTE: usize = 12;
/// A supernode that sent what is not the shard so often is refused for the rest of the visit.
const FORGERIES_MAX: u32 = 3;
/// Who is sent away comes back after so long.
const BUSY_FOR: Duration = Duration::from_secs(5);

/// What the visitor sees of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Bytes on the disk.
    pub bytes: u64,
    /// What the visitor allowed, or the browser, where that is less.
    pub quota: u64,
    /// Shards.
    pub shards: usize,
    /// Proofs given in this visit.
    pub proofs: u32,
    /// When the last was given, in seconds since 1970.
    pub proved_at: u64,
    /// Shards found rotten in this visit.
    pub lost: u32,
    /// Offers refused because what came was not the shard.
    pub forgeries: u32,
}

/// What is asked, beyond what can be answered in the affirmative.
type Answered = Result<(Said, Vec<u8>), Refusal>;

struct Held<F> {
    header: Header,
    file: F,
}

/// The shards of this tab.
pub struct Shelf<F: Files> {
    files: F,
    key: Keypair,
    clock: fn() -> UnixSeconds,
    quota: Cell<u64>,
    held: RefCell<BTreeMap<BlobRoot, Held<F::File>>>,
    /// The file of the one shard that is being taken.
    taking: Cell<u64>,
    taken: RefCell<VecDeque<UnixSeconds>>,
    serving: Cell<usize>,
    status: Cell<Status>,
    /// The visitor changed their mind.
    closed: Cell<bool>,
}

/// Counts what is served, also where a conversation is dropped in the middle.
struct Place<'a>(&'a Cell<usize>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The same of the shard that is being taken.
struct Taking<'a>(&'a Cell<u64>);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

impl<F: Files> Shelf<F> {
    /// Opens the shelf with what lies on it; what is torn, ended or beyond `quota` goes.
    pub async fn open(
        files: F,
        found: Vec<(String, F::File)>,
        key: Keypair,
        quota: u64,
        clock: fn() -> UnixSeconds,
    ) -> Self {
        let shelf = Self {
            files,
            key,
            clock,
            quota: Cell::new(quota),
            held: RefCell::default(),
            taking: Cell::new(0),
            taken: RefCell::default(),
            serving: Cell::new(0),
            status: Cell::default(),
            closed: Cell::new(false),
        };
        let now = clock();
        for (name, file) in found {
            let mut bytes = vec![0; usize::try_from(HEADER_BYTES).unwrap_or_default()];
            let header = file.read(0, &mut bytes).ok().and_then(|()| Header::read(&bytes));
            let header = header.filter(|header| {
                let whole = file.size() == header.file_bytes() && name == name_of(header.root);
                let fits = shelf.used() + header.file_bytes() <= quota;
                whole && fits && header.until > now && shelf.held.borrow().len() < SHARDS_OF_A_TAB
            });
            match header {
                Some(header) => drop(shelf.held.borrow_mut().insert(header.root, Held { header, file })),
                None => shelf.files.remove(&name, file).await,
            }
        }
        shelf
    }

    /// What the visitor sees.
    pub fn status(&self) -> Status {
        Status {
            bytes: self.used(),
            quota: self.quota.get(),
            shards: self.held.borrow().len(),
            ..self.status.get()
        }
    }

    /// What there is room for, and what is kept; what has ended goes first.
    pub async fn room(&self) -> Room {
        let now = (self.clock)();
        let ended: Vec<_> = {
            let held = self.held.borrow();
            held.values().filter(|held| held.header.until <= now).map(|held| held.header.root).collect()
        };
        for root in ended {
            self.remove(root).await;
        }
        let held = self.held.borrow();
        let kept = held.values().map(|Held { header, .. }| Kept {
            root: header.root,
            segment: header.segment,
            until: header.until,
        });
        let full = held.len() >= SHARDS_OF_A_TAB || self.closed.get();
        let free = self.quota.get().saturating_sub(self.used() + self.taking.get() + HEADER_BYTES);
        // The hashes beside a shard are a five-hundredth of it.
        let bytes = if full { 0 } else { free - free / 500 };
        Room { bytes, kept: kept.collect() }
    }

    /// Says on `stream` what there is room for. Whether the supernode takes it.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn offer(&self, stream: impl Stream, request: u64) -> Result<bool, Broken> {
        let request = ShardRequest { request: RequestId(request), ask: Ask::OfferRoom(self.room().await) };
        let frame = request.encode().ok_or(Broken)?;
        let answer = Conversation::new(stream).ask(&frame).await?;
        let answer = ShardAnswer::read(&answer).map_err(|_| Broken)?;
        Ok(answer.request == request.request && answer.said == Said::Done)
    }

    /// Answers what `owner` asks on `stream`.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn serve(&self, owner: &PublicKey, stream: impl Stream) -> Result<(), Broken> {
        self.serving.set(self.serving.get() + 1);
        let _place = Place(&self.serving);
        let mut conversation = Conversation::new(stream);
        let frame = conversation.frame().await?;
        let ShardRequest { request, ask } = ShardRequest::read(&frame).map_err(|_| Broken)?;
        let answered = if self.serving.get() > SERVED_AT_ONCE {
            Err(Refusal::Busy)
        } else if self.closed.get() {
            Err(Refusal::Withdrawn)
        } else {
            self.answer(owner, ask, &mut conversation).await
        };
        let (said, payload) = answered.unwrap_or_else(|refusal| {
            let retry_after = if refusal == Refusal::Busy { BUSY_FOR } else { Duration::ZERO };
            (Said::Refused { refusal, retry_after }, Vec::new())
        });
        conversation.answer(&ShardAnswer { request, said }, &payload).await
    }

    /// The visitor has changed their mind: nothing is kept, or taken any more.
    pub async fn clear(&self) {
        self.closed.set(true);
        let roots: Vec<_> = self.held.borrow().keys().copied().collect();
        for root in roots {
            self.remove(root).await;
        }
    }

    async fn answer(
        &self,
        owner: &PublicKey,
        ask: Ask,
        conversation: &mut Conversation<impl Stream>,
    ) -> Answered {
        match ask {
            Ask::Keep { root, bytes, lease_until, segment } => {
                let shape = BlobShape::new(bytes).ok_or(Refusal::Malformed)?;
                let header = Header { root, segment, owner: owner.clone(), shape, until: lease_until };
                self.keep(header, conversation).await
            }
            Ask::HandOut { root, range } => self.hand_out(root, range).await,
            Ask::Challenge { root, beacon, .. } => self.prove(root, beacon).await,
            Ask::Drop { root } => {
                let is_theirs = self.held.borrow().get(&root).is_some_and(|held| held.header.owner == *owner);
                if is_theirs {
                    self.remove(root).await;
                }
                Ok((Said::Done, Vec::new()))
            }
            _ => Err(Refusal::Version),
        }
    }

    /// Takes a shard, or has it already, and promises to keep it.
    async fn keep(&self, header: Header, conversation: &mut Conversation<impl Stream>) -> Answered {
        let issued = (self.clock)();
        if !(1..MAX_LEASE_SECONDS).contains(&issued.until(header.until)) {
            return Err(Refusal::Expired);
        }
        let lease = Lease {
            root: header.root,
            bytes: header.shape.size(),
            owner: header.owner.clone(),
            holder: self.key.public(),
            issued,
            until: header.until,
        };
        if self.held.borrow().contains_key(&header.root) {
            self.renew(&header)?;
        } else {
            self.admit(&header, issued)?;
            self.taking.set(header.file_bytes());
            let _taking = Taking(&self.taking);
            self.take(header, conversation).await?;
        }
        Ok((Said::Lease(lease.sign(&self.key)), Vec::new()))
    }

    fn renew(&self, header: &Header) -> Result<(), Refusal> {
        let mut held = self.held.borrow_mut();
        let held = held.get_mut(&header.root).ok_or(Refusal::NotFound)?;
        if held.header.owner != header.owner {
            return Err(Refusal::Forbidden);
        }
        if held.header.shape != header.shape {
            return Err(Refusal::Malformed);
        }
        // A shorter lease never takes away from a longer one.
        let until = held.header.until.max(header.until);
        let renewed = Header { until, ..header.clone() };
        let written = held.file.write(0, &renewed.write()).and_then(|()| held.file.flush());
        written.map_err(|_| Refusal::Unspecified)?;
        held.header = renewed;
        Ok(())
    }

    /// Whether a shard may be taken now.
    fn admit(&self, header: &Header, now: UnixSeconds) -> Result<(), Refusal> {
        if self.status.get().forgeries >= FORGERIES_MAX {
            return Err(Refusal::Forbidden);
        }
        let room = self.quota.get().saturating_sub(self.used());
        let full = self.held.borrow().len() >= SHARDS_OF_A_TAB;
        if full || header.file_bytes() > room || header.shape.size() > MAX_EXTRA_BYTES {
            return Err(Refusal::OverBudget);
        }
        let mut taken = self.taken.borrow_mut();
        while taken.front().is_some_and(|at| at.until(now) >= 60) {
            taken.pop_front();
        }
        if self.taking.get() > 0 || taken.len() >= TAKEN_A_MINUTE {
            return Err(Refusal::Busy);
        }
        taken.push_back(now);
        Ok(())
    }

    /// Takes the hashes, then each group that they judge. Whatever fails, nothing of it stays.
    async fn take(
        &self,
        header: Header,
        conversation: &mut Conversation<impl Stream>,
    ) -> Result<(), Refusal> {
        let name = name_of(header.root);
        let file = self.files.create(&name).await.map_err(|error| self.refusal(error))?;
        let written = self.write(&header, &file, conversation).await;
        if written.is_ok() && !self.closed.get() {
            self.held.borrow_mut().insert(header.root, Held { header, file });
            return Ok(());
        }
        self.files.remove(&name, file).await;
        Err(written.err().unwrap_or(Refusal::Withdrawn))
    }

    async fn write(
        &self,
        header: &Header,
        file: &F::File,
        conversation: &mut Conversation<impl Stream>,
    ) -> Result<(), Refusal> {
        let (root, shape) = (header.root, header.shape);
        let forged = || {
            self.count(|status| status.forgeries += 1);
            Refusal::Malformed
        };
        let broken = |Broken| Refusal::Unspecified;
        let hashes = conversation.payload(hashes_bytes(shape)).await.map_err(broken)?;
        let tree = HashTree::from_bytes(root, shape, &hashes).map_err(|_| forged())?;
        let judge = BlobHashes::from_tree(&tree);
        for group in 0..shape.groups() {
            let place = shape.groups_bytes(&(group..group + 1));
            let length = usize::try_from(place.end - place.start).unwrap_or_default();
            let bytes = conversation.payload(length).await.map_err(broken)?;
            judge.verify_group(group, &bytes).map_err(|_| forged())?;
            file.write(HEADER_BYTES + place.start, &bytes).map_err(|error| self.refusal(error))?;
            if self.closed.get() {
                return Err(Refusal::Withdrawn);
            }
        }
        let finished = file
            .write(HEADER_BYTES + shape.size(), &hashes)
            .and_then(|()| file.flush())
            .and_then(|()| file.write(0, &header.write()))
            .and_then(|()| file.flush());
        finished.map_err(|error| self.refusal(error))
    }

    async fn hand_out(&self, root: BlobRoot, range: Range<u64>) -> Answered {
        let shape = self.shape(root)?;
        if range.end > shape.size() {
            return Err(Refusal::Malformed);
        }
        let groups = shape.groups_touched(&range);
        let read =
            self.hashes(root).and_then(|(tree, judge)| Some((self.groups(&judge, groups.clone())?, tree)));
        match read {
            Some((bytes, tree)) => {
                let slice = tree.slice(&groups, &bytes).ok_or(Refusal::Unspecified)?;
                let said = Said::Payload { shard_bytes: shape.size(), payload_bytes: slice.len() as u64 };
                Ok((said, slice))
            }
            None => {
                self.lose(root).await;
                Err(Refusal::NotFound)
            }
        }
    }

    async fn prove(&self, root: BlobRoot, beacon: [u8; 32]) -> Answered {
        let challenge = Challenge { root, beacon, holder: self.key.public() };
        let shape = self.shape(root)?;
        let groups: BTreeSet<u32> =
            challenge.leaves(shape).iter().map(|leaf| shape.group_of_leaf(*leaf)).collect();
        let read = self.hashes(root).and_then(|(tree, judge)| {
            let bytes = groups.into_iter().map(|group| Some((group, self.groups(&judge, group..group + 1)?)));
            Some((bytes.collect::<Option<Vec<_>>>()?, tree))
        });
        let proof = match &read {
            Some((read, tree)) => {
                let groups = read.iter().map(|(group, bytes)| (*group, bytes.as_slice())).collect();
                self.count(|status| {
                    status.proofs += 1;
                    status.proved_at = (self.clock)().0;
                });
                proof::answer(&challenge, tree, &groups, &self.key)
            }
            None => {
                self.lose(root).await;
                let nothing = HashTree::of(b"").map_err(|_| Refusal::Unspecified)?;
                proof::answer(&challenge, &nothing, &BTreeMap::new(), &self.key)
            }
        };
        Ok((Said::Proof(proof), Vec::new()))
    }

    fn shape(&self, root: BlobRoot) -> Result<BlobShape, Refusal> {
        self.held.borrow().get(&root).map(|held| held.header.shape).ok_or(Refusal::NotFound)
    }

    /// A shard's hashes as they are on the disk, and what judges groups by them; nothing where they have rotted.
    fn hashes(&self, root: BlobRoot) -> Option<(HashTree, BlobHashes)> {
        let held = self.held.borrow();
        let Held { header: Header { shape, .. }, file } = held.get(&root)?;
        let mut hashes = vec![0; hashes_bytes(*shape)];
        file.read(HEADER_BYTES + shape.size(), &mut hashes).ok()?;
        let tree = HashTree::from_bytes(root, *shape, &hashes).ok()?;
        let judge = BlobHashes::from_tree(&tree);
        Some((tree, judge))
    }

    /// Some groups as they are on the disk, each verified; nothing where one has rotted.
    fn groups(&self, judge: &BlobHashes, groups: Range<u32>) -> Option<Vec<u8>> {
        let held = self.held.borrow();
        let Held { header: Header { shape, .. }, file } = held.get(&judge.root())?;
        let place = shape.groups_bytes(&groups);
        let mut bytes = vec![0; usize::try_from(place.end - place.start).ok()?];
        file.read(HEADER_BYTES + place.start, &mut bytes).ok()?;
        for group in groups {
            let of_group = shape.groups_bytes(&(group..group + 1));
            let at = |byte: u64| usize::try_from(byte - place.start).ok();
            judge.verify_group(group, bytes.get(at(of_group.start)?..at(of_group.end)?)?).ok()?;
        }
        Some(bytes)
    }

    /// A shard has rotted.
    async fn lose(&self, root: BlobRoot) {
        self.count(|status| status.lost += 1);
        self.remove(root).await;
    }

    async fn remove(&self, root: BlobRoot) {
        let held = self.held.borrow_mut().remove(&root);
        if let Some(Held { file, .. }) = held {
            self.files.remove(&name_of(root), file).await;
        }
    }

    fn used(&self) -> u64 {
        self.held.borrow().values().map(|held| held.header.file_bytes()).sum()
    }

    /// Where the browser allows no more, no more is offered.
    fn refusal(&self, error: FileError) -> Refusal {
        match error {
            FileError::Quota => {
                self.quota.set(self.used());
                Refusal::OverBudget
            }
            FileError::Failed => Refusal::Unspecified,
        }
    }

    fn count(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.get();
        change(&mut status);
        self.status.set(status);
    }
}

/// The name of a shard's file.
fn name_of(root: BlobRoot) -> String {
    root.to_string()
}
