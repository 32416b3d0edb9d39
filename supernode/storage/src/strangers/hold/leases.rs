//! Who asked for which shard, and until when: the store's leases, whose names say it, and the same in memory; and what
//! those who have some say of this node.

use std::collections::BTreeMap;

use shared::{
    base::{BlobRoot, UnixSeconds},
    identity::PublicKey,
};

use super::owners::Owners;
use crate::store::{Blobs, StoreError};

/// Some 40 MB of table. A shard of a full segment has a megabyte or more: these are 256 GiB at least in honest use.
pub(super) const MAX_LEASES: usize = 262_144;
/// In front of a lease's name.
const PREFIX: &[u8] = b"until/";
/// Read at once when a process starts.
const PAGE: usize = 1000;

/// A lease's name: when it ends, and whose it is.
fn name(owner: &PublicKey, until: UnixSeconds) -> Vec<u8> {
    [PREFIX, &until.0.to_be_bytes(), &owner.to_bytes()].concat()
}

fn read_name(name: &[u8]) -> Option<(PublicKey, UnixSeconds)> {
    let (until, owner) = name.strip_prefix(PREFIX)?.split_first_chunk::<8>()?;
    Some((PublicKey::from_bytes(owner).ok()?, UnixSeconds(u64::from_be_bytes(*until))))
}

/// Until when each shard is promised to whom.
#[derive(Default)]
pub(super) struct Leases {
    until: BTreeMap<(BlobRoot, [u8; 32]), UnixSeconds>,
    /// What is being taken in; as many as are served at once.
    taking: BTreeMap<(BlobRoot, [u8; 32]), Taking>,
    /// Whose they are.
    pub(super) owners: Owners,
}

/// A shard on its way in, for one owner.
#[derive(Clone, Copy, Default)]
struct Taking {
    times: usize,
    /// Its owner does not want it any more.
    unwanted: bool,
}

impl Leases {
    /// What the store says from before.
    pub(super) async fn load(blobs: &dyn Blobs) -> Result<Self, StoreError> {
        let (mut leases, mut after) = (Self::default(), None);
        loop {
            let page = blobs.leases(PREFIX, after, PAGE).await?;
            for (name, root) in &page {
                if let Some((owner, until)) = read_name(name) {
                    // Of two ends that a process was killed between, the later one holds.
                    let known = leases.get(*root, &owner);
                    leases.note(*root, &owner, known.map_or(until, |known| known.max(until)));
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(leases),
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.until.len() >= MAX_LEASES
    }

    pub(super) fn count(&self) -> usize {
        self.until.len()
    }

    /// Whether anybody was promised this shard.
    pub(super) fn is_promised(&self, root: BlobRoot) -> bool {
        self.until.range((root, [0; 32])..=(root, [255; 32])).next().is_some()
    }

    /// Until when it is promised to this owner.
    pub(super) fn get(&self, root: BlobRoot, owner: &PublicKey) -> Option<UnixSeconds> {
        self.until.get(&(root, owner.to_bytes())).copied()
    }

    /// A shard is being taken in.
    pub(super) fn begin(&mut self, root: BlobRoot, owner: &PublicKey) {
        self.taking.entry((root, owner.to_bytes())).or_default().times += 1;
    }

    /// It is here, or never will be. Says whether its owner let go of it meanwhile: that word came in time, and holds.
    pub(super) fn end(&mut self, root: BlobRoot, owner: &PublicKey) -> bool {
        let key = (root, owner.to_bytes());
        let Some(taking) = self.taking.get_mut(&key) else { return false };
        taking.times -= 1;
        let Taking { times, unwanted } = *taking;
        if times == 0 {
            self.taking.remove(&key);
        }
        unwanted
    }

    /// Notes a promise; returns the name of the one that it replaces.
    pub(super) fn note(&mut self, root: BlobRoot, owner: &PublicKey, until: UnixSeconds) -> Option<Vec<u8>> {
        let before = self.until.insert((root, owner.to_bytes()), until);
        if before.is_none() {
            self.owners.add(owner);
        }
        before.filter(|before| *before != until).map(|before| name(owner, before))
    }

    /// Its owner lets go of a shard, also of one that is still on its way in. Forgets the promise; returns its name.
    pub(super) fn forget(&mut self, root: BlobRoot, owner: &PublicKey) -> Option<Vec<u8>> {
        let key = (root, owner.to_bytes());
        if let Some(taking) = self.taking.get_mut(&key) {
            taking.unwanted = true;
        }
        let until = self.until.remove(&key)?;
        self.owners.remove(owner);
        Some(name(owner, until))
    }

    /// Forgets what ended before `now`; returns the names.
    pub(super) fn expire(&mut self, now: UnixSeconds) -> Vec<(BlobRoot, Vec<u8>)> {
        let (mut ended, owners) = (Vec::new(), &mut self.owners);
        self.until.retain(|(root, owner), until| {
            let keep = *until > now;
            if !keep && let Ok(owner) = PublicKey::from_bytes(owner) {
                owners.remove(&owner);
                ended.push((*root, name(&owner, *until)));
            }
            keep
        });
        ended
    }

    /// The name that a promise of this end gets.
    pub(super) fn name(owner: &PublicKey, until: UnixSeconds) -> Vec<u8> {
        name(owner, until)
    }
}

#[cfg(test)]
mod tests {
    use shared::identity::Keypair;

    use super::*;

    #[test]
    fn who_lets_go_of_a_shard_on_its_way_is_heard() {
        let (owner, root) = (Keypair::from_secret([1; 32]).public(), BlobRoot([2; 32]));
        let other = Keypair::from_secret([2; 32]).public();
        let mut leases = Leases::default();
        leases.begin(root, &owner);
        leases.begin(root, &other);
        assert_eq!(leases.forget(root, &owner), None, "nothing was promised yet");
        assert!(leases.end(root, &owner) && !leases.end(root, &other));
        leases.begin(root, &owner);
        assert!(!leases.end(root, &owner), "asked anew, it is wanted");
        assert!(leases.taking.is_empty());
    }

    #[test]
    fn promises_end_and_the_newest_counts() {
        let (owner, root) = (Keypair::from_secret([1; 32]).public(), BlobRoot([2; 32]));
        let mut leases = Leases::default();
        assert_eq!(leases.note(root, &owner, UnixSeconds(10)), None);
        assert_eq!(leases.note(root, &owner, UnixSeconds(20)), Some(name(&owner, UnixSeconds(10))));
        assert_eq!(leases.note(root, &owner, UnixSeconds(20)), None, "the same again replaces nothing");
        assert_eq!(read_name(&name(&owner, UnixSeconds(20))), Some((owner.clone(), UnixSeconds(20))));
        assert!(leases.expire(UnixSeconds(19)).is_empty() && leases.is_promised(root));
        assert_eq!(leases.expire(UnixSeconds(20)), [(root, name(&owner, UnixSeconds(20)))]);
        assert!(!leases.is_promised(root));
    }

    #[test]
    fn an_owner_is_one_while_it_has_a_lease() {
        let owner = Keypair::from_secret([1; 32]).public();
        let roots: Vec<_> = (0..4).map(|n| BlobRoot([n; 32])).collect();
        let mut leases = Leases::default();
        assert_eq!(leases.owners.count(), 0);
        for (root, until) in roots.iter().zip([10, 20, 30, 30]) {
            leases.note(*root, &owner, UnixSeconds(5));
            leases.note(*root, &owner, UnixSeconds(until));
        }
        leases.forget(BlobRoot([9; 32]), &owner);
        leases.forget(roots[3], &owner);
        leases.forget(roots[3], &owner);
        leases.expire(UnixSeconds(20));
        assert_eq!((leases.count(), leases.owners.count()), (1, 1));
        leases.expire(UnixSeconds(30));
        assert_eq!((leases.count(), leases.owners.count()), (0, 0));
    }
}
