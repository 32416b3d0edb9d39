//! What is asked for at once, and what comes at once.

use super::blob::{BlobShape, GROUP_BYTES, HASH_BYTES, PAGE_GROUPS};

/// Groups one request may ask for: 1 MiB. Longer requests gain nothing and cancel badly.
pub const MAX_REQUEST_GROUPS: u32 = 64;

/// What a request asks of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The hashes of all pages.
    Top,
    /// One hash page.
    Page(u32),
    /// Neighbouring groups. Requests have at least one and at most [`MAX_REQUEST_GROUPS`] of them.
    Groups {
        /// The lowest.
        first: u32,
        /// How many.
        count: u32,
    },
}

/// What is verified at once; at most 16 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// The hashes of all pages.
    Top,
    /// A hash page.
    Page(u32),
    /// A group.
    Group(u32),
}

/// What one HTTP answer brings: groups under one page, and before them those of their hashes that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// What comes first.
    pub hashes: Hashes,
    /// The lowest group.
    pub first: u32,
    /// How many, at least one.
    pub count: u32,
}

/// The hashes that come before the groups of a [`Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hashes {
    /// None: they are here or on their way.
    Here,
    /// The groups' page.
    Page,
    /// The top, and then the groups' page.
    TopAndPage,
}

impl Run {
    /// The groups.
    pub const fn groups(self) -> Part {
        Part::Groups { first: self.first, count: self.count }
    }

    /// Its parts, in the order of the answer.
    pub fn parts(self) -> impl DoubleEndedIterator<Item = Part> {
        let page = Part::Page(self.first / PAGE_GROUPS);
        let hashes = match self.hashes {
            Hashes::Here => [None, None],
            Hashes::Page => [None, Some(page)],
            Hashes::TopAndPage => [Some(Part::Top), Some(page)],
        };
        hashes.into_iter().flatten().chain([self.groups()])
    }

    /// Its payload in bytes.
    pub fn bytes(self, shape: BlobShape) -> u64 {
        self.parts().map(|part| part.bytes(shape)).sum()
    }
}

impl Part {
    /// Whether the blob has all of it, and it is within the bounds of a request.
    pub fn fits(self, shape: BlobShape) -> bool {
        match self {
            Self::Top => shape.has_top(),
            Self::Page(page) => page < shape.pages(),
            Self::Groups { first, count } => {
                (1..=MAX_REQUEST_GROUPS).contains(&count)
                    && first.checked_add(count).is_some_and(|end| end <= shape.groups())
            }
        }
    }

    /// How many pieces answer it.
    pub const fn pieces(self) -> u32 {
        match self {
            Self::Top | Self::Page(_) => 1,
            Self::Groups { count, .. } => count,
        }
    }

    /// Its payload in bytes.
    pub fn bytes(self, shape: BlobShape) -> u64 {
        match self {
            Self::Top => Piece::Top.bytes(shape),
            Self::Page(page) => Piece::Page(page).bytes(shape),
            Self::Groups { first, count } => {
                let range = shape.groups_bytes(&(first..first.saturating_add(count)));
                range.end - range.start
            }
        }
    }

    /// Whether `piece` answers it.
    pub const fn contains(self, piece: Piece) -> bool {
        match (self, piece) {
            (Self::Top, Piece::Top) => true,
            (Self::Page(asked), Piece::Page(page)) => asked == page,
            (Self::Groups { first, count }, Piece::Group(group)) => group >= first && group - first < count,
            _ => false,
        }
    }
}

impl Piece {
    /// Its payload in bytes; 0 where the blob has no such piece.
    pub fn bytes(self, shape: BlobShape) -> u64 {
        match self {
            Self::Top if shape.has_top() => u64::from(shape.pages()) * HASH_BYTES as u64,
            Self::Top => 0,
            Self::Page(page) => shape
                .page_groups(page)
                .map_or(0, |groups| u64::from(groups.end - groups.start) * HASH_BYTES as u64),
            Self::Group(group) => shape.group_bytes(group).map_or(0, |range| range.end - range.start),
        }
    }

    /// The longest payload of any piece.
    pub const MAX_BYTES: u64 = GROUP_BYTES;
}
