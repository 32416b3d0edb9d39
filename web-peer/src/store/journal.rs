//! The journal: records, each with its checksum, of which slot holds what.
//!
//! A reader stops at the first record that is torn, rotten or unknown; what was before it counts.

use shared::base::BlobRoot;
use shared::cdn::part::Piece;

/// Enough to notice a torn or rotten record; an attacker who writes here has won already, and what the
/// journal claims is verified by hash anyway.
const CHECKSUM_BYTES: usize = 8;
/// A length byte, the kind, and the longest body.
const RECORD_BYTES_MAX: usize = 64 + CHECKSUM_BYTES;

const KIND_BLOB: u8 = 1;
const KIND_PIECE: u8 = 2;
const KIND_GONE: u8 = 3;
const KIND_LOST: u8 = 4;

/// One fact. Later facts about the same thing replace earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The blob that later records call by number, and how popular it is.
    Blob { number: u32, root: BlobRoot, size: u64, uses: u32, used_at: u64 },
    /// A slot holds a piece.
    Piece { number: u32, piece: Piece, slot: u32 },
    /// The blob and all its pieces are gone.
    Gone { number: u32 },
    /// One piece is gone: it had rotted.
    Lost { number: u32, piece: Piece },
}

impl Record {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(RECORD_BYTES_MAX);
        match self {
            Self::Blob { number, root, size, uses, used_at } => {
                body.push(KIND_BLOB);
                body.extend(number.to_le_bytes());
                body.extend(root.0);
                body.extend(size.to_le_bytes());
                body.extend(uses.to_le_bytes());
                body.extend(used_at.to_le_bytes());
            }
            Self::Piece { number, piece, slot } => {
                body.push(KIND_PIECE);
                body.extend(number.to_le_bytes());
                write_piece(piece, &mut body);
                body.extend(slot.to_le_bytes());
            }
            Self::Gone { number } => {
                body.push(KIND_GONE);
                body.extend(number.to_le_bytes());
            }
            Self::Lost { number, piece } => {
                body.push(KIND_LOST);
                body.extend(number.to_le_bytes());
                write_piece(piece, &mut body);
            }
        }
        out.push(u8::try_from(body.len()).expect("a record's body is short"));
        out.extend(checksum(&body));
        out.extend(body);
    }

    fn read(body: &[u8]) -> Option<Self> {
        let mut body = Body(body);
        let record = match body.byte()? {
            KIND_BLOB => Self::Blob {
                number: body.u32()?,
                root: BlobRoot(*body.array()?),
                size: body.u64()?,
                uses: body.u32()?,
                used_at: body.u64()?,
            },
            KIND_PIECE => Self::Piece { number: body.u32()?, piece: body.piece()?, slot: body.u32()? },
            KIND_GONE => Self::Gone { number: body.u32()? },
            KIND_LOST => Self::Lost { number: body.u32()?, piece: body.piece()? },
            _ => return None,
        };
        body.0.is_empty().then_some(record)
    }
}

/// The records of a journal, up to the first that does not hold.
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record> {
    std::iter::from_fn(move || {
        let (&length, rest) = bytes.split_first()?;
        let (sum, rest) = rest.split_at_checked(CHECKSUM_BYTES)?;
        let (body, rest) = rest.split_at_checked(usize::from(length))?;
        if checksum(body) != *sum {
            return None;
        }
        bytes = rest;
        Record::read(body)
    })
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECKSUM_BYTES]);
    sum
}

fn write_piece(piece: Piece, out: &mut Vec<u8>) {
    let (kind, index) = match piece {
        Piece::Top => (0, 0),
        Piece::Page(index) => (1, index),
        Piece::Group(index) => (2, index),
    };
    out.push(kind);
    out.extend(u32::to_le_bytes(index));
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(found)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| *byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().copied().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().copied().map(u64::from_le_bytes)
    }

    fn piece(&mut self) -> Option<Piece> {
        let kind = self.byte()?;
        let index = self.u32()?;
        match kind {
            0 => Some(Piece::Top),
            1 => Some(Piece::Page(index)),
            2 => Some(Piece::Group(index)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> (Vec<Record>, Vec<u8>) {
        let written = vec![
            Record::Blob { number: 1, root: BlobRoot([7; 32]), size: 99, uses: 2, used_at: 1_800_000_000 },
            Record::Piece { number: 1, piece: Piece::Group(3), slot: 9 },
            Record::Piece { number: 1, piece: Piece::Top, slot: 10 },
            Record::Lost { number: 1, piece: Piece::Page(4) },
            Record::Gone { number: 1 },
        ];
        let mut bytes = Vec::new();
        for record in &written {
            record.write(&mut bytes);
        }
        (written, bytes)
    }

    #[test]
    fn a_journal_reads_back() {
        let (written, bytes) = some();
        assert_eq!(records(&bytes).collect::<Vec<_>>(), written);
    }

    #[test]
    fn a_torn_or_rotten_journal_counts_up_to_the_damage() {
        let (written, bytes) = some();
        for cut in 0..bytes.len() {
            let read = records(&bytes[..cut]).collect::<Vec<_>>();
            assert!(written.starts_with(&read));
            let mut rotten = bytes.clone();
            rotten[cut] ^= 0x40;
            let read = records(&rotten).collect::<Vec<_>>();
            assert!(read.len() < written.len() && written.starts_with(&read), "byte {cut}");
        }
    }
}
