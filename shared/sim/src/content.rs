//! What travels: blobs, the pieces they are cut into, and the verdict on a piece that came.
//!
//! Small runs use real bytes, judged by the product's own [`BlobHashes`]. In large ones a blob is *synthetic*:
//! its root is made up, its payload is a length and a mark that says whether a liar touched it, and the
//! verdict follows the mark under the same rules (length, place, known page). A thousand peers with 100 MB
//! each would otherwise need 100 GB and an hour of hashing that teaches nothing about the protocol.

use core::ops::Range;
use std::sync::Arc;

use shared::{
    base::{BlobRoot, SeededRng},
    cdn::{
        blob::{BlobShape, HashTree, VerifyError},
        part::{Part, Piece},
    },
};

/// The number of the group or page; 0 for the top.
pub const fn index_of(piece: Piece) -> u32 {
    match piece {
        Piece::Group(index) | Piece::Page(index) => index,
        Piece::Top => 0,
    }
}

/// The pieces of a blob of `shape` that a part names, in ascending order. What does not exist is left out.
pub fn pieces_of(part: Part, shape: BlobShape) -> impl DoubleEndedIterator<Item = Piece> {
    let numbers: Range<u32> = match part {
        Part::Groups { first, count } => first..first.saturating_add(count).min(shape.groups()),
        Part::Page(page) => page..page.saturating_add(1).min(shape.pages()),
        Part::Top => 0..u32::from(shape.has_top()),
    };
    numbers.map(move |number| match part {
        Part::Groups { .. } => Piece::Group(number),
        Part::Page(_) => Piece::Page(number),
        Part::Top => Piece::Top,
    })
}

/// Whether a blob of `shape` has that piece.
fn exists(piece: Piece, shape: BlobShape) -> bool {
    match piece {
        Piece::Group(index) => index < shape.groups(),
        Piece::Page(page) => page < shape.pages(),
        Piece::Top => shape.has_top(),
    }
}

/// What a piece's bytes are.
#[derive(Clone, Debug)]
pub enum Truth {
    /// Synthetic, as published.
    Genuine,
    /// Synthetic, and not what was published.
    Forged,
    /// Real bytes; hashing will tell.
    Real(Arc<[u8]>),
}

/// A piece on its way.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The blob it truly belongs to,
    pub root: BlobRoot,
    /// and the place it truly belongs at.
    pub piece: Piece,
    /// Its length.
    pub bytes: u64,
    /// Its content.
    pub truth: Truth,
}

impl Payload {
    /// The same piece with something wrong in it.
    #[must_use]
    pub fn forged(mut self) -> Self {
        self.truth = match self.truth {
            Truth::Real(bytes) => {
                let mut wrong = bytes.to_vec();
                match wrong.first_mut() {
                    Some(first) => *first ^= 1,
                    None => wrong.push(0),
                }
                Truth::Real(wrong.into())
            }
            Truth::Genuine | Truth::Forged => Truth::Forged,
        };
        self
    }

    /// The same piece cut short.
    #[must_use]
    pub fn truncated(mut self, bytes: u64) -> Self {
        self.bytes = self.bytes.min(bytes);
        if let Truth::Real(real) = &self.truth {
            let length = usize::try_from(self.bytes).unwrap_or(usize::MAX).min(real.len());
            self.truth = Truth::Real(real[..length].into());
        }
        self
    }
}

/// A published blob, as its publisher has it.
#[derive(Debug)]
pub struct Blob {
    root: BlobRoot,
    shape: BlobShape,
    real: Option<(Vec<u8>, HashTree)>,
}

impl Blob {
    /// A blob of `size` random bytes.
    ///
    /// # Panics
    /// If `size` is more than a blob may have: a scenario's mistake.
    pub fn real(size: u64, rng: &mut SeededRng) -> Self {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
        }
        bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let tree = HashTree::of(&bytes).expect("a scenario's blob is not longer than a blob may be");
        Self { root: tree.root(), shape: tree.shape(), real: Some((bytes, tree)) }
    }

    /// A blob of `size` bytes that nobody has to store.
    ///
    /// # Panics
    /// If `size` is more than a blob may have: a scenario's mistake.
    pub fn synthetic(size: u64, rng: &mut SeededRng) -> Self {
        let mut root = [0; 32];
        for chunk in root.chunks_mut(8) {
            chunk.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        let shape = BlobShape::new(size).expect("a scenario's blob is not longer than a blob may be");
        Self { root: BlobRoot(root), shape, real: None }
    }

    /// Its name.
    pub const fn root(&self) -> BlobRoot {
        self.root
    }

    /// Its geometry.
    pub const fn shape(&self) -> BlobShape {
        self.shape
    }

    /// The bytes and hashes of a blob that is not synthetic.
    pub fn tree(&self) -> Option<&HashTree> {
        self.real.as_ref().map(|(_, tree)| tree)
    }

    /// A piece as published; nothing where there is none.
    pub fn payload(&self, piece: Piece) -> Option<Payload> {
        let bytes = piece.bytes(self.shape);
        if !exists(piece, self.shape) {
            return None;
        }
        let truth = match &self.real {
            None => Truth::Genuine,
            Some((content, tree)) => Truth::Real(match piece {
                Piece::Group(index) => {
                    let range = self.shape.group_bytes(index)?;
                    content.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)?.into()
                }
                Piece::Page(page) => tree.page(page)?.into(),
                Piece::Top => tree.top()?.into(),
            }),
        };
        Some(Payload { root: self.root, piece, bytes, truth })
    }
}

/// The verdict on a synthetic payload that came in the place of `wanted`, whose page is known or not.
///
/// # Errors
/// The [`VerifyError`] that hashing would have found.
pub fn judge(
    shape: BlobShape,
    root: BlobRoot,
    wanted: Piece,
    known: bool,
    came: &Payload,
) -> Result<(), VerifyError> {
    let index = index_of(wanted);
    if !exists(wanted, shape) {
        return Err(VerifyError::Absent { index });
    }
    let expected = wanted.bytes(shape);
    if !known {
        return Err(VerifyError::Unknown { index });
    }
    if came.bytes != expected {
        return Err(VerifyError::Length { index, found: came.bytes, expected });
    }
    if came.root != root || came.piece != wanted || matches!(came.truth, Truth::Forged) {
        return Err(VerifyError::Hash { index });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::cdn::blob::{BlobHashes, GROUP_BYTES};

    #[test]
    fn synthetic_verdicts_are_those_of_real_hashes() {
        let mut rng = SeededRng::from_number(1);
        let size = 3 * GROUP_BYTES + 5;
        let (real, synthetic) = (Blob::real(size, &mut rng), Blob::synthetic(size, &mut rng));
        let hashes = BlobHashes::from_tree(real.tree().unwrap());
        let changes: [fn(Payload) -> Payload; 3] =
            [|payload| payload, Payload::forged, |payload| payload.truncated(9)];
        for change in changes {
            for (wanted, sent) in [(1, 1), (3, 3), (1, 2), (3, 2), (4, 1)] {
                let came = change(real.payload(Piece::Group(sent)).unwrap());
                let Truth::Real(bytes) = &came.truth else { panic!("a real blob has real bytes") };
                let by_hash = hashes.verify_group(wanted, bytes);
                let came = change(synthetic.payload(Piece::Group(sent)).unwrap());
                let wanted = Piece::Group(wanted);
                assert_eq!(judge(synthetic.shape(), synthetic.root(), wanted, true, &came), by_hash);
            }
        }
    }
}
