//! Where the groups and hash pages of a blob of a given size lie.

use core::ops::Range;

/// What is verified as one: 16 chunks of BLAKE3, as iroh-blobs and bao-tree have it.
pub const GROUP_BYTES: u64 = 16 * 1024;
/// A BLAKE3 hash.
pub const HASH_BYTES: usize = 32;
/// Groups under one hash page: so many that a page is as long as a group.
pub const PAGE_GROUPS: u32 = 512;
/// Payload under one hash page: 8 MiB.
pub const PAGE_BYTES: u64 = GROUP_BYTES * PAGE_GROUPS as u64;
/// The top holds at most as many hashes as a page, so 4 GiB is the longest blob. What is longer is cut
/// into several by the service that stores it.
pub const MAX_BLOB_BYTES: u64 = PAGE_BYTES * PAGE_GROUPS as u64;

/// The geometry of a blob: a length that was checked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobShape {
    size: u64,
}

impl BlobShape {
    /// The shape of a blob of `size` bytes, if that is at most [`MAX_BLOB_BYTES`].
    pub const fn new(size: u64) -> Option<Self> {
        if size <= MAX_BLOB_BYTES { Some(Self { size }) } else { None }
    }

    /// Length in bytes.
    pub const fn size(self) -> u64 {
        self.size
    }

    /// Number of groups, the last one possibly short. The empty blob has one, empty.
    pub fn groups(self) -> u32 {
        count(self.size, GROUP_BYTES)
    }

    /// Number of hash pages. A blob of a single group needs none, its root says all.
    pub fn pages(self) -> u32 {
        if self.groups() == 1 { 0 } else { count(self.size, PAGE_BYTES) }
    }

    /// Whether the page hashes are a page of their own; with a single page its hash is the root.
    pub fn has_top(self) -> bool {
        self.pages() > 1
    }

    /// The bytes of group `index`, or nothing beyond the end.
    pub fn group_bytes(self, index: u32) -> Option<Range<u64>> {
        (index < self.groups()).then(|| self.clip(u64::from(index) * GROUP_BYTES, GROUP_BYTES))
    }

    /// The bytes of the `groups` that exist, as one range.
    pub fn groups_bytes(self, groups: &Range<u32>) -> Range<u64> {
        let at = |group: u32| (u64::from(group) * GROUP_BYTES).min(self.size);
        at(groups.start)..at(groups.end.max(groups.start))
    }

    /// The page that holds the hash of group `index`.
    pub const fn page_of(self, index: u32) -> u32 {
        index / PAGE_GROUPS
    }

    /// The groups under page `page`, or nothing where there is no such page.
    pub fn page_groups(self, page: u32) -> Option<Range<u32>> {
        (page < self.pages()).then(|| {
            let first = page * PAGE_GROUPS;
            first..(first + PAGE_GROUPS).min(self.groups())
        })
    }

    /// The groups that the bytes `range` touch; empty for an empty range.
    pub fn groups_touched(self, range: &Range<u64>) -> Range<u32> {
        let end = range.end.min(self.size);
        if range.start >= end {
            return 0..0;
        }
        let first = range.start / GROUP_BYTES;
        let last = (end - 1) / GROUP_BYTES;
        // Both are below MAX_BLOB_BYTES / GROUP_BYTES = 2^18.
        u32::try_from(first).unwrap_or(u32::MAX)..u32::try_from(last + 1).unwrap_or(u32::MAX)
    }

    fn clip(self, start: u64, length: u64) -> Range<u64> {
        start.min(self.size)..(start + length).min(self.size)
    }
}

/// How many units of `unit` bytes cover `size`, at least one. Fits: sizes are at most 2^32.
fn count(size: u64, unit: u64) -> u32 {
    u32::try_from(size.div_ceil(unit).max(1)).unwrap_or(u32::MAX)
}
