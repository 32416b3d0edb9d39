//! Bytes, directories and symbolic links into blocks, by the profile `unixfs-v1-2025` (IPIP-499).

use std::collections::BTreeMap;

use super::{
    Cid, DAG_PB, Link, Node, RAW, cid_of, hamt,
    unixfs::{directory_data, file_data, shard_data, symlink_data},
};

/// A file is cut into so many bytes, the last piece shorter.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Links of a file's inner node.
const WIDTH: usize = 1024;
/// A directory whose block would be longer becomes a trie.
const DIRECTORY_BYTES: usize = 256 * 1024;

/// A block that import made; to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// Its name.
    pub cid: Cid,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What was imported, as a directory links to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its root.
    pub cid: Cid,
    /// Bytes of all its blocks (UnixFS's `Tsize`).
    pub total_bytes: u64,
}

/// Why something has no place in a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Empty, `.`, `..`, or with a slash or a zero byte.
    #[error("{0:?} can be no name in a directory")]
    Name(String),
    /// A file and a directory of one name, or two files.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// Deeper than [`super::MAX_TREE_DEPTH`].
    #[error("directories too deep within each other")]
    TooDeep,
    /// Two names whose hashes are equal in all 64 bits.
    #[error("two names of a large directory have the same hash")]
    Collision,
}

/// Takes a file's chunks in order and gives the nodes above them: a tree whose leaves are all equally deep. Holds at
/// most 1,024 links a level.
#[derive(Debug)]
pub struct FileBuilder {
    levels: Vec<Vec<Part>>,
    width: usize,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    imported: Imported,
    bytes: u64,
}

impl Default for FileBuilder {
    fn default() -> Self {
        Self { levels: Vec::new(), width: WIDTH }
    }
}

impl FileBuilder {
    /// Nodes of another width, so that a test sees high trees.
    #[cfg(test)]
    pub(super) fn of_width(width: usize) -> Self {
        Self { levels: Vec::new(), width }
    }

    /// The next chunk, of [`CHUNK_BYTES`] unless it is the last. Returns its CID; nodes that are complete by it go to
    /// `emit`. An empty file is one empty chunk.
    pub fn chunk(&mut self, chunk: &[u8], emit: &mut impl FnMut(NewBlock)) -> Cid {
        let cid = cid_of(RAW, chunk);
        let bytes = chunk.len() as u64;
        self.push(0, Part { imported: Imported { cid, total_bytes: bytes }, bytes }, emit);
        cid
    }

    fn push(&mut self, level: usize, part: Part, emit: &mut impl FnMut(NewBlock)) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        // A full level is closed only once there is more: 1,024 chunks alone are one node.
        if self.levels[level].len() == self.width {
            let node = self.close(level, emit);
            self.push(level + 1, node, emit);
        }
        self.levels[level].push(part);
    }

    fn close(&mut self, level: usize, emit: &mut impl FnMut(NewBlock)) -> Part {
        let parts = std::mem::take(&mut self.levels[level]);
        let sizes: Vec<u64> = parts.iter().map(|part| part.bytes).collect();
        let links = parts.iter().map(|part| link(Vec::new(), part.imported)).collect();
        let imported = store(&Node { links, data: file_data(&sizes) }, emit);
        Part { imported, bytes: sizes.iter().sum() }
    }

    /// Closes what is open. Without any chunk, the file is empty; its chunk must still be stored.
    pub fn finish(mut self, emit: &mut impl FnMut(NewBlock)) -> Imported {
        if self.levels.is_empty() {
            let cid = self.chunk(&[], emit);
            emit(NewBlock { cid, bytes: Vec::new() });
        }
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            if top && self.levels[level].len() == 1 {
                return self.levels[level][0].imported;
            }
            if !self.levels[level].is_empty() {
                let node = self.close(level, emit);
                self.push(level + 1, node, emit);
            }
            level += 1;
        }
    }
}

/// A symbolic link.
pub fn symlink(target: &[u8], emit: &mut impl FnMut(NewBlock)) -> Imported {
    store(&Node { links: Vec::new(), data: symlink_data(target) }, emit)
}

/// A directory of these entries, in one block or as a trie.
pub(super) fn directory(
    entries: &BTreeMap<Vec<u8>, Imported>,
    emit: &mut impl FnMut(NewBlock),
) -> Result<Imported, ImportError> {
    let links: Vec<Link> = entries.iter().map(|(name, entry)| link(name.clone(), *entry)).collect();
    let node = Node { links, data: directory_data() };
    // Names of a million entries need not be encoded to see that they are too many.
    if node.links.iter().map(|link| link.name.len() + 40).sum::<usize>() <= DIRECTORY_BYTES {
        let bytes = node.encode();
        if bytes.len() <= DIRECTORY_BYTES {
            return Ok(store_encoded(&node, bytes, emit));
        }
    }
    let mut hashed: Vec<(u64, Link)> =
        node.links.into_iter().map(|link| (hamt::hash(&link.name), link)).collect();
    hashed.sort_by(|(one, first), (other, second)| (one, &first.name).cmp(&(other, &second.name)));
    shard(&hashed, 0, emit)
}

/// One level of the trie; recursion ends with the hash's bits.
fn shard(
    hashed: &[(u64, Link)],
    level: u32,
    emit: &mut impl FnMut(NewBlock),
) -> Result<Imported, ImportError> {
    let bits = hamt::FANOUT.trailing_zeros();
    let mut occupied = [0_u8; hamt::FANOUT / 8];
    let mut links = Vec::new();
    let mut rest = hashed;
    while let Some((first, _)) = rest.first() {
        let bucket = hamt::bucket(*first, level, bits).ok_or(ImportError::Collision)?;
        let inside = rest.iter().take_while(|(hash, _)| hamt::bucket(*hash, level, bits) == Some(bucket));
        let (inside, after) = rest.split_at(inside.count());
        rest = after;
        let prefix = hamt::prefix(bucket, bits).into_bytes();
        links.push(match inside {
            [(_, only)] => Link { name: [prefix, only.name.clone()].concat(), ..only.clone() },
            _ => link(prefix, shard(inside, level + 1, emit)?),
        });
        let bucket = usize::try_from(bucket).expect("below 256");
        // The lowest bucket is the lowest bit of the last byte.
        occupied[hamt::FANOUT / 8 - 1 - bucket / 8] |= 1 << (bucket % 8);
    }
    let bitfield = occupied.iter().copied().skip_while(|byte| *byte == 0).collect();
    Ok(store(&Node { links, data: shard_data(bitfield) }, emit))
}

fn link(name: Vec<u8>, imported: Imported) -> Link {
    Link { cid: imported.cid, name, total_bytes: imported.total_bytes }
}

fn store(node: &Node, emit: &mut impl FnMut(NewBlock)) -> Imported {
    store_encoded(node, node.encode(), emit)
}

fn store_encoded(node: &Node, bytes: Vec<u8>, emit: &mut impl FnMut(NewBlock)) -> Imported {
    let below = node.links.iter().fold(0_u64, |sum, link| sum.saturating_add(link.total_bytes));
    let imported =
        Imported { cid: cid_of(DAG_PB, &bytes), total_bytes: below.saturating_add(bytes.len() as u64) };
    emit(NewBlock { cid: imported.cid, bytes });
    imported
}
