//! Bytes that come in pieces, wanted in others.

use std::collections::VecDeque;

use bytes::Bytes;

/// Pieces in a row. Nothing is copied until it is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Pieces {
    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Adds what comes next.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push_back(piece);
    }

    /// Adds all of `more`.
    pub(crate) fn append(&mut self, more: Self) {
        self.length += more.length;
        self.pieces.extend(more.pieces);
    }

    /// The next `count` bytes, or all there are.
    pub(crate) fn take(&mut self, count: usize) -> Self {
        let mut taken = Self::default();
        while taken.length < count
            && let Some(mut piece) = self.pieces.pop_front()
        {
            let rest = piece.split_off(piece.len().min(count - taken.length));
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            taken.push(piece);
        }
        self.length -= taken.length;
        taken
    }

    /// Moves the next `count` bytes, or all there are, behind what is in `out`.
    pub(crate) fn take_into(&mut self, count: usize, out: &mut Vec<u8>) {
        for piece in self.take(count).pieces {
            out.extend_from_slice(&piece);
        }
    }

    /// All of it in one piece.
    pub(crate) fn into_whole(mut self) -> Bytes {
        if self.pieces.len() == 1 {
            return self.pieces.pop_front().unwrap_or_default();
        }
        let mut whole = Vec::with_capacity(self.length);
        self.take_into(self.length, &mut whole);
        whole.into()
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = std::collections::vec_deque::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_order_however_they_are_cut() {
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 1..40 {
            for wanted in 1..40 {
                let mut pieces = Pieces::default();
                bytes.chunks(cut).for_each(|piece| pieces.push(Bytes::copy_from_slice(piece)));
                let (mut moved, mut taken) = (Vec::new(), Pieces::default());
                pieces.clone().take_into(wanted, &mut moved);
                assert_eq!(moved, bytes[..wanted]);
                while pieces.len() > 0 {
                    taken.append(pieces.take(wanted));
                }
                assert_eq!(taken.len(), 100);
                assert_eq!(taken.into_whole(), bytes);
            }
        }
        assert_eq!(Pieces::default().take(7).into_whole(), Bytes::new());
    }
}
