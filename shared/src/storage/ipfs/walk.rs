//! Which blocks belong to an answer, depth first, and which bytes of a file each of them holds.
//!
//! While [`Walk::next_visit`] names a block, hand it in. Nothing is fetched ahead, so a walk holds the links that are
//! still to be followed and no bytes.

use core::ops::Range;
use std::collections::BTreeSet;

use super::{Cid, Entry, MAX_BLOCK_BYTES, Node, NodeError, RAW, unixfs::FileNode};

/// Blocks below each other. A file of the largest size is 7 deep, a path is walked name by name.
pub const MAX_DEPTH: u32 = 64;
/// Links that wait to be followed: some 26 MB of them. A directory of 50,000 names within another of that size, and on.
const MAX_PENDING: usize = 256 * 1024;

/// How much of what a path leads to (`dag-scope` of the trustless gateway).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// One block.
    Block,
    /// A whole file, or what is needed to list a directory.
    Entity,
    /// All that is linked.
    #[default]
    All,
}

/// A range of a file, its ends counted from the start or, below zero, from the end (`entity-bytes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityBytes {
    from: i64,
    to: Option<i64>,
}

/// Why a walk cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// A block is not what it should be.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A part of a file is of another length than its parent says.
    #[error("a part of a file has {found} bytes where {said} are said")]
    Size {
        /// In the parent.
        said: u64,
        /// In the part.
        found: u64,
    },
    /// A part of a file is something else.
    #[error("a part of a file is no file")]
    NotAFile,
    /// Deeper than [`MAX_DEPTH`].
    #[error("blocks too deep below their root")]
    TooDeep,
    /// More links to follow than are remembered.
    #[error("too many blocks at once")]
    TooWide,
}

/// What a block of a file contributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes of the block.
    OfBlock(Range<usize>),
    /// These bytes, which the block held among others.
    Inline(Vec<u8>),
    /// Links alone.
    Nothing,
}

/// A block to look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Its name.
    pub cid: Cid,
    /// Whether it belongs into the answer; otherwise it was there already.
    pub fresh: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    cid: Cid,
    role: Role,
    depth: u32,
}

/// As what a block was reached.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// The end of the path.
    Root,
    /// Any block below.
    Any,
    /// A further shard of the directory.
    Shard,
    /// A part of the file, from this byte on, of this length.
    Part { from: u64, bytes: u64 },
}

/// A walk under way.
#[derive(Clone, Debug)]
pub struct Walk {
    scope: Scope,
    bytes: Option<EntityBytes>,
    pending: Vec<Pending>,
    current: Option<Pending>,
    seen: Option<BTreeSet<Cid>>,
    /// Parts of the file that were followed whole. Others are at the ends of the range: two a level at most.
    whole: BTreeSet<Cid>,
    range: Range<u64>,
}

impl EntityBytes {
    /// `from:to`, both counted in; `*` is the end.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once(':')?;
        let to = if to == "*" { None } else { Some(to.parse().ok()?) };
        Some(Self { from: from.parse().ok()?, to })
    }

    /// The bytes `range`; the end is left out.
    pub fn of(range: &Range<u64>) -> Self {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self { from: number(range.start), to: Some(number(range.end).saturating_sub(1)) }
    }

    /// Which bytes of so many; empty where none of them.
    fn within(self, bytes: u64) -> Range<u64> {
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        let from = if self.from < 0 { length.saturating_add(self.from).max(0) } else { self.from };
        let last = match self.to {
            None => length.saturating_sub(1),
            Some(to) if to < 0 => length.saturating_add(to),
            Some(to) => to.min(length.saturating_sub(1)),
        };
        if from > last || from >= length {
            return 0..0;
        }
        u64::try_from(from).unwrap_or(0)..u64::try_from(last).unwrap_or(0) + 1
    }
}

impl Walk {
    /// A walk from the end of a path. With `bytes`, of a file only the blocks that hold them. With `once`, a block that
    /// was in the answer is not in it again.
    pub fn new(root: Cid, scope: Scope, bytes: Option<EntityBytes>, once: bool) -> Self {
        // A range is of an entity.
        let scope = if bytes.is_some() && scope == Scope::All { Scope::Entity } else { scope };
        Self {
            scope,
            bytes,
            pending: vec![Pending { cid: root, role: Role::Root, depth: 0 }],
            current: None,
            seen: once.then(BTreeSet::new),
            whole: BTreeSet::new(),
            range: 0..u64::MAX,
        }
    }

    /// Says that a block is in the answer already, as those on the way to the root of the walk are.
    pub fn mark_sent(&mut self, cid: Cid) {
        if let Some(seen) = &mut self.seen {
            seen.insert(cid);
        }
    }

    /// The next block; nothing at the end.
    pub fn next_visit(&mut self) -> Option<Visit> {
        loop {
            let next = self.pending.pop()?;
            let Some(seen) = &mut self.seen else {
                self.current = Some(next);
                return Some(Visit { cid: next.cid, fresh: true });
            };
            let fresh = seen.insert(next.cid);
            // A part of a file that comes twice may be cut by the range in another way.
            let followed = match next.role {
                Role::Part { from, bytes } if next.cid.codec() != RAW => {
                    let inside = from >= self.range.start && from.saturating_add(bytes) <= self.range.end;
                    inside && !self.whole.insert(next.cid)
                }
                _ => !fresh,
            };
            if !followed {
                self.current = Some(next);
                return Some(Visit { cid: next.cid, fresh });
            }
        }
    }

    /// Takes the block that was named last, whose hash the caller has checked or trusts.
    ///
    /// # Errors
    /// [`WalkError`]; the walk is of no use then.
    pub fn handle_block(&mut self, block: &[u8]) -> Result<Piece, WalkError> {
        let Some(at) = self.current.take() else { return Ok(Piece::Nothing) };
        match (self.scope, at.role) {
            (Scope::Block, _) => Ok(Piece::Nothing),
            (Scope::All, _) => self.all(at, block),
            (Scope::Entity, Role::Part { from, bytes }) => match Entry::parse(&at.cid, block)? {
                Entry::Raw => self.leaf(from, bytes, block),
                Entry::File(file) if file.bytes == bytes => self.file(at, file, from),
                Entry::File(file) => Err(WalkError::Size { said: bytes, found: file.bytes }),
                _ => Err(WalkError::NotAFile),
            },
            (Scope::Entity, _) => self.entity(at, block),
        }
    }

    fn all(&mut self, at: Pending, block: &[u8]) -> Result<Piece, WalkError> {
        match at.cid.codec() {
            RAW if block.len() > MAX_BLOCK_BYTES => Err(NodeError::TooLong.into()),
            RAW => Ok(Piece::Nothing),
            super::DAG_PB => {
                let links = Node::parse(block)?.links;
                self.follow(at.depth, links.into_iter().map(|link| (link.cid, Role::Any)))?;
                Ok(Piece::Nothing)
            }
            _ => Err(NodeError::NotUnixFs("its codec is another").into()),
        }
    }

    /// The end of the path, or a further shard of the directory that it is.
    fn entity(&mut self, at: Pending, block: &[u8]) -> Result<Piece, WalkError> {
        let whole = |bytes| self.bytes.map_or(0..bytes, |asked| asked.within(bytes));
        match (Entry::parse(&at.cid, block), at.role) {
            (Ok(Entry::Raw), Role::Root) => {
                let bytes = block.len() as u64;
                self.range = whole(bytes);
                self.leaf(0, bytes, block)
            }
            (Ok(Entry::File(file)), Role::Root) => {
                self.range = whole(file.bytes);
                self.file(at, file, 0)
            }
            (Ok(Entry::Shard(shard)), _) => {
                let shards = shard.links.iter().filter(|link| shard.name(link).is_none());
                let shards: Vec<_> = shards.map(|link| (link.cid, Role::Shard)).collect();
                self.follow(at.depth, shards.into_iter())?;
                Ok(Piece::Nothing)
            }
            (Ok(_), Role::Root) => Ok(Piece::Nothing),
            (Ok(_), _) => Err(NodeError::Invalid("a shard of a directory is something else").into()),
            // Of what is not UnixFS, an entity is its block.
            (Err(NodeError::NotUnixFs(_)), Role::Root) => Ok(Piece::Nothing),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn leaf(&self, from: u64, bytes: u64, block: &[u8]) -> Result<Piece, WalkError> {
        if block.len() as u64 != bytes {
            return Err(WalkError::Size { said: bytes, found: block.len() as u64 });
        }
        Ok(Piece::OfBlock(self.cut(from, block.len())))
    }

    /// Which of `bytes` bytes, the first of which is the file's byte `from`, are in the range.
    fn cut(&self, from: u64, bytes: usize) -> Range<usize> {
        let within = |at: u64| usize::try_from(at.saturating_sub(from)).unwrap_or(bytes).min(bytes);
        let (start, end) = (within(self.range.start), within(self.range.end));
        start..end.max(start)
    }

    fn file(&mut self, at: Pending, file: FileNode, from: u64) -> Result<Piece, WalkError> {
        let range = self.range.clone();
        let mut next = from.saturating_add(file.inline.len() as u64);
        let mut wanted = Vec::new();
        for (cid, bytes) in file.parts {
            // The sum was checked when the node was read.
            let end = next.saturating_add(bytes);
            if next < range.end && end > range.start && bytes > 0 {
                wanted.push((cid, Role::Part { from: next, bytes }));
            }
            next = end;
        }
        self.follow(at.depth, wanted.into_iter())?;
        let cut = self.cut(from, file.inline.len());
        Ok(if cut.is_empty() { Piece::Nothing } else { Piece::Inline(file.inline[cut].to_vec()) })
    }

    fn follow(
        &mut self,
        depth: u32,
        links: impl DoubleEndedIterator<Item = (Cid, Role)> + ExactSizeIterator,
    ) -> Result<(), WalkError> {
        if links.len() > 0 && depth >= MAX_DEPTH {
            return Err(WalkError::TooDeep);
        }
        if self.pending.len() + links.len() > MAX_PENDING {
            return Err(WalkError::TooWide);
        }
        // The first link is the next to be taken.
        self.pending.extend(links.rev().map(|(cid, role)| Pending { cid, role, depth: depth + 1 }));
        Ok(())
    }

    /// The file's bytes that the walk gives, once its root was handed in.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}
