//! Hashing a blob as it streams by, keeping the hash of each group.

use blake3::{
    Hasher,
    hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use super::{BlobShape, GROUP_BYTES, MAX_BLOB_BYTES, PAGE_GROUPS, SubtreeHash, VerifyError, hashes::split};
use crate::base::BlobRoot;

/// The hash of a group that is not the whole blob.
pub fn group_hash(index: u32, data: &[u8]) -> SubtreeHash {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(u64::from(index) * GROUP_BYTES);
    hasher.update(data).finalize_non_root()
}

/// The hash over neighbouring subtrees, all of one size but the last, which may be smaller. BLAKE3 puts
/// the largest power of two of them to the left.
pub(super) fn merge(hashes: &[SubtreeHash]) -> SubtreeHash {
    match hashes {
        [] => unreachable!("a subtree has at least one node"),
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(left_count(hashes.len()));
            merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
        }
    }
}

/// As [`merge`], for the whole blob. Takes two hashes or more: a single group has no tree above it.
pub(super) fn merge_root(hashes: &[SubtreeHash]) -> BlobRoot {
    assert!(hashes.len() > 1, "a root over several subtrees needs several");
    let (left, right) = hashes.split_at(left_count(hashes.len()));
    BlobRoot(*merge_subtrees_root(&merge(left), &merge(right), Mode::Hash).as_bytes())
}

fn left_count(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// Hashes a blob from front to back. Keeps 32 bytes a group, 1/512 of the payload.
#[derive(Debug, Default)]
pub struct BlobHasher {
    /// Groups of the blob before the first that is hashed here.
    before: u32,
    /// Finished groups.
    groups: Vec<SubtreeHash>,
    /// The group under way, at most [`GROUP_BYTES`]; a full one waits here until it is known not to be the
    /// only one.
    current: Vec<u8>,
    size: u64,
}

/// The blob grew over [`MAX_BLOB_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a blob may have at most {MAX_BLOB_BYTES} bytes; cut it into several")]
pub struct TooLong;

impl BlobHasher {
    /// Hashes a blob from its group `before` on; who hashes what comes before it takes this [in](Self::append).
    pub fn starting_at(before: u32) -> Self {
        Self { before, ..Self::default() }
    }

    /// Takes what another hashed of the bytes that come next. Here there were whole groups so far.
    ///
    /// # Errors
    /// [`TooLong`], after which the hasher is of no use.
    pub fn append(&mut self, next: Self) -> Result<(), TooLong> {
        if next.size == 0 {
            return Ok(());
        }
        self.size = self.size.saturating_add(next.size);
        if self.size > MAX_BLOB_BYTES {
            return Err(TooLong);
        }
        if !self.current.is_empty() {
            assert_eq!(self.current.len() as u64, GROUP_BYTES, "parts of a blob meet between groups");
            self.finish_group();
        }
        let hashed = self.before as usize + self.groups.len();
        assert_eq!(next.before as usize, hashed, "parts of a blob come in order");
        self.groups.extend(next.groups);
        self.current = next.current;
        Ok(())
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`TooLong`], after which the hasher is of no use.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > MAX_BLOB_BYTES {
            return Err(TooLong);
        }
        let group_bytes = usize::try_from(GROUP_BYTES).expect("16 KiB fit any usize");
        while !bytes.is_empty() {
            if self.current.len() == group_bytes {
                self.finish_group();
            }
            // With more behind it, a whole group need not wait, nor be copied.
            if self.current.is_empty() && bytes.len() > group_bytes {
                self.push_group(&bytes[..group_bytes]);
                bytes = &bytes[group_bytes..];
                continue;
            }
            let take = bytes.len().min(group_bytes - self.current.len());
            self.current.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
        }
        Ok(())
    }

    /// The finished tree.
    pub fn finish(mut self) -> HashTree {
        let shape = BlobShape::new(self.size).expect("update refused what is longer");
        if self.groups.is_empty() {
            let root = BlobRoot(*blake3::hash(&self.current).as_bytes());
            return HashTree { root, shape, groups: Vec::new() };
        }
        self.finish_group();
        HashTree { root: merge_root(&self.groups), shape, groups: self.groups }
    }

    fn finish_group(&mut self) {
        let current = core::mem::take(&mut self.current);
        self.push_group(&current);
        self.current = current;
        self.current.clear();
    }

    fn push_group(&mut self, group: &[u8]) {
        let index = u32::try_from(self.groups.len()).expect("bounded by MAX_BLOB_BYTES");
        self.groups.push(group_hash(self.before + index, group));
    }
}

/// The hashes of a blob that was seen whole: what a provider keeps beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTree {
    root: BlobRoot,
    shape: BlobShape,
    /// One a group; empty where there is a single group.
    groups: Vec<SubtreeHash>,
}

impl HashTree {
    /// The tree of bytes at hand.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn of(bytes: &[u8]) -> Result<Self, TooLong> {
        let mut hasher = BlobHasher::default();
        hasher.update(bytes)?;
        Ok(hasher.finish())
    }

    /// Reads back what [`HashTree::to_bytes`] wrote, if it is the tree of `root`.
    ///
    /// # Errors
    /// [`VerifyError`] with index 0: the stored hashes are damaged, or are another blob's.
    pub fn from_bytes(root: BlobRoot, shape: BlobShape, bytes: &[u8]) -> Result<Self, VerifyError> {
        let count = if shape.pages() == 0 { 0 } else { shape.groups() };
        let groups = split(0, bytes, count)?;
        if count > 0 && merge_root(&groups) != root {
            return Err(VerifyError::Hash { index: 0 });
        }
        Ok(Self { root, shape, groups })
    }

    /// The blob's name.
    pub const fn root(&self) -> BlobRoot {
        self.root
    }

    /// The blob's geometry.
    pub const fn shape(&self) -> BlobShape {
        self.shape
    }

    /// The hash of each group; none where there is a single group.
    pub(super) fn group_hashes(&self) -> &[SubtreeHash] {
        &self.groups
    }

    /// The bytes of hash page `page`, as they travel; nothing where there is no such page.
    pub fn page(&self, page: u32) -> Option<Vec<u8>> {
        let groups = self.shape.page_groups(page)?;
        let hashes = self.groups.get(groups.start as usize..groups.end as usize)?;
        Some(hashes.concat())
    }

    /// The bytes of the top: the hashes of all pages. Nothing where a single page says it all.
    pub fn top(&self) -> Option<Vec<u8>> {
        let pages = self.groups.chunks(PAGE_GROUPS as usize);
        self.shape.has_top().then(|| pages.flat_map(merge).collect())
    }

    /// All group hashes in a row, for storing beside the blob.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.groups.concat()
    }
}
