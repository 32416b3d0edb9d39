//! UnixFS: what a block is part of (<https://specs.ipfs.tech/unixfs/>).

use prost::Message as _;

use super::{Cid, DAG_PB, Link, MAX_BLOCK_BYTES, Node, NodeError, RAW, hamt};
use crate::wire::ipfs::{UnixFsData, unix_fs_data::DataType};

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The block is the bytes of a file, or of a part of one.
    Raw,
    /// A file, or a part of one.
    File(FileNode),
    /// A directory in one block. Where a name occurs twice, the first counts.
    Directory(Vec<Link>),
    /// A directory in many blocks, or a part of one.
    Shard(Shard),
    /// A symbolic link, and where it points.
    Symlink(Vec<u8>),
}

/// Bytes, and then the bytes of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNode {
    /// What stands before all parts.
    pub inline: Vec<u8>,
    /// The parts and how long each is said to be.
    pub parts: Vec<(Cid, u64)>,
    /// All of it together.
    pub bytes: u64,
}

/// A node of a hashed trie of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Bits of a name's hash that a level takes: 3 to 10.
    pub bits: u32,
    /// Each name begins with its bucket, in [`Shard::prefix_bytes`] hexadecimal digits.
    pub links: Vec<Link>,
}

impl Entry {
    /// Reads the block that `cid` names.
    ///
    /// # Errors
    /// [`NodeError`]; blocks of other codecs than dag-pb and raw are not UnixFS.
    pub fn parse(cid: &Cid, block: &[u8]) -> Result<Self, NodeError> {
        match cid.codec() {
            RAW if block.len() > MAX_BLOCK_BYTES => Err(NodeError::TooLong),
            RAW => Ok(Self::Raw),
            DAG_PB => Self::of(Node::parse(block)?),
            _ => Err(NodeError::NotUnixFs("its codec is another")),
        }
    }

    fn of(node: Node) -> Result<Self, NodeError> {
        let said = UnixFsData::decode(node.data.as_slice()).map_err(|_| NodeError::Malformed)?;
        let kind = said.kind.ok_or(NodeError::NotUnixFs("it has no type"))?;
        let data = said.data.unwrap_or_default();
        match DataType::try_from(kind) {
            Ok(DataType::File | DataType::Raw) => {
                FileNode::of(node.links, said.blocksizes, said.filesize, data).map(Self::File)
            }
            Ok(DataType::Directory) => Ok(Self::Directory(node.links)),
            Ok(DataType::HamtShard) => {
                if said.hash_type != Some(hamt::MURMUR3) {
                    return Err(NodeError::Invalid("its names are hashed by another function"));
                }
                let bits = said.fanout.and_then(hamt::bits_of);
                let bits = bits.ok_or(NodeError::Invalid("a trie of another width than 8 to 1,024"))?;
                let shard = Shard { bits, links: node.links };
                let named = shard.links.iter().all(|link| link.name.len() >= shard.prefix_bytes());
                if named {
                    Ok(Self::Shard(shard))
                } else {
                    Err(NodeError::Invalid("a bucket without number"))
                }
            }
            Ok(DataType::Symlink) if node.links.is_empty() => Ok(Self::Symlink(data)),
            Ok(DataType::Symlink) => Err(NodeError::Invalid("a symbolic link with children")),
            Ok(DataType::Metadata) | Err(_) => Err(NodeError::NotUnixFs("of a type that nobody writes")),
        }
    }
}

impl FileNode {
    fn of(
        links: Vec<Link>,
        sizes: Vec<u64>,
        claimed: Option<u64>,
        inline: Vec<u8>,
    ) -> Result<Self, NodeError> {
        if links.len() != sizes.len() {
            return Err(NodeError::Invalid("as many sizes as parts are wanted"));
        }
        if links.iter().any(|link| !link.name.is_empty()) {
            return Err(NodeError::Invalid("a part of a file has a name"));
        }
        let bytes = sizes.iter().try_fold(inline.len() as u64, |sum, size| sum.checked_add(*size));
        let bytes = bytes.ok_or(NodeError::Invalid("sizes beyond 64 bits"))?;
        if claimed.unwrap_or(0) != bytes {
            return Err(NodeError::Invalid("the file's size is not its parts'"));
        }
        let parts = links.into_iter().map(|link| link.cid).zip(sizes).collect();
        Ok(Self { inline, parts, bytes })
    }
}

impl Shard {
    /// Hexadecimal digits before each name.
    pub const fn prefix_bytes(&self) -> usize {
        self.bits.div_ceil(4) as usize
    }

    /// Splits a link's name: a further shard of the same directory has none after its bucket.
    pub fn name<'a>(&self, link: &'a Link) -> Option<&'a [u8]> {
        link.name.get(self.prefix_bytes()..).filter(|name| !name.is_empty())
    }
}

/// The data of a file's inner node, of a directory, a shard or a symbolic link, as UnixFS writes it.
pub(super) fn file_data(sizes: &[u64]) -> Vec<u8> {
    let filesize = Some(sizes.iter().sum());
    encode(DataType::File, UnixFsData { filesize, blocksizes: sizes.to_vec(), ..Default::default() })
}

pub(super) fn directory_data() -> Vec<u8> {
    encode(DataType::Directory, UnixFsData::default())
}

pub(super) fn symlink_data(target: &[u8]) -> Vec<u8> {
    encode(DataType::Symlink, UnixFsData { data: Some(target.to_vec()), ..Default::default() })
}

pub(super) fn shard_data(bitfield: Vec<u8>) -> Vec<u8> {
    let (hash_type, fanout) = (Some(hamt::MURMUR3), Some(hamt::FANOUT as u64));
    let said = UnixFsData { data: Some(bitfield), hash_type, fanout, ..Default::default() };
    encode(DataType::HamtShard, said)
}

fn encode(kind: DataType, said: UnixFsData) -> Vec<u8> {
    UnixFsData { kind: Some(kind.into()), ..said }.encode_to_vec()
}
