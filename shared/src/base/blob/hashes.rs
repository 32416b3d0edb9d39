//! What a receiver knows of a blob's tree, and the verdict on each group and page it is given.

use litemap::LiteMap;

use super::{
    BlobShape, HASH_BYTES, HashTree, SubtreeHash,
    hasher::{group_hash, merge, merge_root},
};
use crate::base::BlobRoot;

/// Why bytes were not accepted. Only [`VerifyError::Unknown`] is our own shortcoming; every other kind
/// convicts the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The blob has no group or page of that number.
    #[error("the blob has no part {index}")]
    Absent {
        /// The number asked about.
        index: u32,
    },
    /// The hash that would judge these bytes has not arrived yet.
    #[error("the hash page of part {index} is not known yet")]
    Unknown {
        /// The number asked about.
        index: u32,
    },
    /// The length is not what the blob's size says.
    #[error("part {index} has {found} bytes, where {expected} belong")]
    Length {
        /// The number asked about.
        index: u32,
        /// What came.
        found: u64,
        /// What belongs there.
        expected: u64,
    },
    /// The bytes are not the blob's.
    #[error("part {index} does not have the hash that the blob's name promises")]
    Hash {
        /// The number asked about.
        index: u32,
    },
}

/// The verified part of a blob's hashes. Grows page by page, to at most 1/512 of the blob.
#[derive(Clone, Debug)]
pub struct BlobHashes {
    root: BlobRoot,
    shape: BlobShape,
    /// Page hashes; empty until the top came, and for ever where there is none.
    top: Vec<SubtreeHash>,
    pages: LiteMap<u32, Vec<SubtreeHash>>,
}

impl BlobHashes {
    /// Knows nothing yet but the name and the size, which a signed manifest states together.
    pub const fn new(root: BlobRoot, shape: BlobShape) -> Self {
        Self { root, shape, top: Vec::new(), pages: LiteMap::new() }
    }

    /// The blob's name.
    pub const fn root(&self) -> BlobRoot {
        self.root
    }

    /// The blob's geometry.
    pub const fn shape(&self) -> BlobShape {
        self.shape
    }

    /// Whether the top must come before any page can be judged.
    pub fn needs_top(&self) -> bool {
        self.shape.has_top() && self.top.is_empty()
    }

    /// Whether group `index` can be judged now.
    pub fn knows_group(&self, index: u32) -> bool {
        index < self.shape.groups()
            && (self.shape.pages() == 0 || self.pages.contains_key(&self.shape.page_of(index)))
    }

    /// Whether page `page` is here.
    pub fn knows_page(&self, page: u32) -> bool {
        self.pages.contains_key(&page)
    }

    /// Judges and keeps the top.
    ///
    /// # Errors
    /// [`VerifyError`] with index 0; nothing is kept then.
    pub fn insert_top(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        if !self.shape.has_top() {
            return Err(VerifyError::Absent { index: 0 });
        }
        let hashes = split(0, bytes, self.shape.pages())?;
        if merge_root(&hashes) != self.root {
            return Err(VerifyError::Hash { index: 0 });
        }
        self.top = hashes;
        Ok(())
    }

    /// Judges and keeps page `page`.
    ///
    /// # Errors
    /// [`VerifyError`] with the page's index; nothing is kept then.
    pub fn insert_page(&mut self, page: u32, bytes: &[u8]) -> Result<(), VerifyError> {
        let groups = self.shape.page_groups(page).ok_or(VerifyError::Absent { index: page })?;
        let hashes = split(page, bytes, groups.end - groups.start)?;
        let good = if self.shape.has_top() {
            let expected = self.top.get(page as usize).ok_or(VerifyError::Unknown { index: page })?;
            merge(&hashes) == *expected
        } else {
            merge_root(&hashes) == self.root
        };
        if !good {
            return Err(VerifyError::Hash { index: page });
        }
        self.pages.insert(page, hashes);
        Ok(())
    }

    /// Judges the bytes of group `index`.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify_group(&self, index: u32, data: &[u8]) -> Result<(), VerifyError> {
        let range = self.shape.group_bytes(index).ok_or(VerifyError::Absent { index })?;
        let (found, expected) = (data.len() as u64, range.end - range.start);
        if found != expected {
            return Err(VerifyError::Length { index, found, expected });
        }
        let good = if self.shape.pages() == 0 {
            *blake3::hash(data).as_bytes() == self.root.0
        } else {
            let page = self.pages.get(&self.shape.page_of(index)).ok_or(VerifyError::Unknown { index })?;
            let place = index - self.shape.page_of(index) * super::PAGE_GROUPS;
            page.get(place as usize) == Some(&group_hash(index, data))
        };
        if good { Ok(()) } else { Err(VerifyError::Hash { index }) }
    }

    /// All hashes of a blob that we hashed ourselves.
    pub fn from_tree(tree: &HashTree) -> Self {
        let mut hashes = Self::new(tree.root(), tree.shape());
        if let Some(top) = tree.top() {
            hashes.insert_top(&top).expect("a tree agrees with itself");
        }
        for page in 0..tree.shape().pages() {
            let bytes = tree.page(page).expect("the page is in the shape");
            hashes.insert_page(page, &bytes).expect("a tree agrees with itself");
        }
        hashes
    }

    /// The bytes of page `page` as they travel, if known: receivers pass pages on.
    pub fn page(&self, page: u32) -> Option<Vec<u8>> {
        self.pages.get(&page).map(|hashes| hashes.concat())
    }

    /// The bytes of the top as they travel, if known.
    pub fn top(&self) -> Option<Vec<u8>> {
        (!self.top.is_empty()).then(|| self.top.concat())
    }
}

/// Cuts `count` hashes in a row, which must be all there is.
pub(super) fn split(index: u32, bytes: &[u8], count: u32) -> Result<Vec<SubtreeHash>, VerifyError> {
    let (found, expected) = (bytes.len() as u64, u64::from(count) * HASH_BYTES as u64);
    if found != expected {
        return Err(VerifyError::Length { index, found, expected });
    }
    let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
    Ok(hashes.to_vec())
}
