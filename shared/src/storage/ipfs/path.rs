//! `/ipfs/CID/a/b`: from a root to what a path names, block by block.

use std::collections::VecDeque;

use super::{Cid, Entry, Link, MAX_DEPTH, NodeError, hamt, unixfs::Shard};

/// Names in a path. As many as directories can be within each other.
pub(super) const MAX_NAMES: usize = super::MAX_TREE_DEPTH + 1;

/// A root, and the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentPath {
    /// Where it begins.
    pub root: Cid,
    /// Names, none of them empty, `.` or `..`.
    pub names: Vec<Vec<u8>>,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not a CID.
    #[error("not a CID: {0}")]
    Cid(String),
    /// It leaves its root, or is too long.
    #[error("a path that leaves its root, or of more than {MAX_NAMES} names")]
    Names,
    /// There is no such name.
    #[error("no link named {0:?} here")]
    NoLink(String),
    /// A file has no children.
    #[error("{0:?} is below what is no directory")]
    NotADirectory(String),
    /// Symbolic links are told, not followed.
    #[error("{0:?} is below a symbolic link, which is not followed")]
    Symlink(String),
    /// A block on the way is not what it should be.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A trie that goes on where no hash does.
    #[error("a directory's trie is too deep")]
    TooDeep,
}

impl ContentPath {
    /// Reads `CID/a/b`. Segments are taken as they are: whoever reads a URL undoes its escapes first.
    ///
    /// # Errors
    /// [`PathError::Cid`], [`PathError::Names`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let (root, rest) = text.split_once('/').unwrap_or((text, ""));
        let cid = root.parse::<Cid>().map_err(|_| PathError::Cid(root.chars().take(100).collect()))?;
        Ok(Self { root: cid, names: names(rest)? })
    }
}

/// The names of a path below a root.
pub(super) fn names(path: &str) -> Result<Vec<Vec<u8>>, PathError> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop().ok_or(PathError::Names)?),
            name => names.push(name.as_bytes().to_vec()),
        }
        if names.len() > MAX_NAMES {
            return Err(PathError::Names);
        }
    }
    Ok(names)
}

/// Follows a path: while it [`wants`](Resolver::wants) a block, hand it in.
#[derive(Clone, Debug)]
pub struct Resolver {
    at: Cid,
    names: VecDeque<Vec<u8>>,
    /// Within a trie: how far down.
    level: u32,
    logical: Vec<Cid>,
}

impl Resolver {
    /// Begins at the root.
    pub fn new(path: ContentPath) -> Self {
        Self { at: path.root, names: path.names.into(), level: 0, logical: vec![path.root] }
    }

    /// The block to look into; nothing once the path has ended.
    pub fn wants(&self) -> Option<Cid> {
        (!self.names.is_empty()).then_some(self.at)
    }

    /// Where the path has come to; its end, once nothing is wanted.
    pub const fn at(&self) -> Cid {
        self.at
    }

    /// The root of each part of the path that was followed (`X-Ipfs-Roots`).
    pub fn logical_roots(&self) -> &[Cid] {
        &self.logical
    }

    /// The names that are left.
    pub fn left(&self) -> usize {
        self.names.len()
    }

    /// Takes the block that was wanted.
    ///
    /// # Errors
    /// [`PathError`]; the path is of no use then.
    pub fn handle_block(&mut self, block: &[u8]) -> Result<(), PathError> {
        let Some(name) = self.names.front() else { return Ok(()) };
        match Entry::parse(&self.at, block)? {
            Entry::Directory(links) => {
                let found = links.iter().find(|link| link.name == *name).map(|link| link.cid);
                self.enter(found)
            }
            Entry::Shard(shard) => match next_in(&shard, name, self.level)? {
                Some(Next::Shard(cid)) => {
                    self.level += 1;
                    if self.level > MAX_DEPTH {
                        return Err(PathError::TooDeep);
                    }
                    self.at = cid;
                    Ok(())
                }
                Some(Next::Entry(cid)) => self.enter(Some(cid)),
                None => self.enter(None),
            },
            Entry::Raw | Entry::File(_) => Err(PathError::NotADirectory(shown(name))),
            Entry::Symlink(_) => Err(PathError::Symlink(shown(name))),
        }
    }

    fn enter(&mut self, found: Option<Cid>) -> Result<(), PathError> {
        let name = self.names.pop_front().unwrap_or_default();
        self.at = found.ok_or_else(|| PathError::NoLink(shown(&name)))?;
        self.level = 0;
        self.logical.push(self.at);
        Ok(())
    }
}

enum Next {
    Shard(Cid),
    Entry(Cid),
}

fn next_in(shard: &Shard, name: &[u8], level: u32) -> Result<Option<Next>, PathError> {
    let bucket = hamt::bucket(hamt::hash(name), level, shard.bits).ok_or(PathError::TooDeep)?;
    let prefix = hamt::prefix(bucket, shard.bits).into_bytes();
    let inside = |link: &&Link| link.name.starts_with(&prefix);
    Ok(shard.links.iter().find(inside).and_then(|link| match shard.name(link) {
        None => Some(Next::Shard(link.cid)),
        Some(found) if found == name => Some(Next::Entry(link.cid)),
        Some(_) => None,
    }))
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(200).collect()
}
