//! dag-pb: a block with links and data (<https://ipld.io/specs/codecs/dag-pb/spec/>).

use prost::Message as _;

use super::{Cid, MAX_BLOCK_BYTES};
use crate::wire::{ipfs as wire, occurrences};

/// Links of one node. As many of the shortest, those of a file's chunks, fill a block of the largest size.
pub const MAX_LINKS: usize = 50_000;
/// The field of a node's links.
const LINKS_FIELD: u32 = 2;

/// Why a block is no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Longer than a block may be.
    #[error("the block is longer than {MAX_BLOCK_BYTES} bytes")]
    TooLong,
    /// More than [`MAX_LINKS`].
    #[error("the node has more than {MAX_LINKS} links")]
    TooManyLinks,
    /// No protobuf, or a link without a CID.
    #[error("the block is not dag-pb")]
    Malformed,
    /// dag-pb, and its data says nothing that UnixFS knows.
    #[error("the node is not UnixFS: {0}")]
    NotUnixFs(&'static str),
    /// UnixFS that contradicts itself.
    #[error("the node is not lawful UnixFS: {0}")]
    Invalid(&'static str),
}

/// A link to another block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where to.
    pub cid: Cid,
    /// Its name; empty for a part of a file.
    pub name: Vec<u8>,
    /// Bytes of all blocks from there down, as the writer claims.
    pub total_bytes: u64,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// In the block's order.
    pub links: Vec<Link>,
    /// What UnixFS says.
    pub data: Vec<u8>,
}

impl Node {
    /// Reads a block of others.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn parse(block: &[u8]) -> Result<Self, NodeError> {
        if block.len() > MAX_BLOCK_BYTES {
            return Err(NodeError::TooLong);
        }
        let links = occurrences(block, LINKS_FIELD).map_err(|_| NodeError::Malformed)?;
        if links > MAX_LINKS {
            return Err(NodeError::TooManyLinks);
        }
        let read = wire::PbLinks::decode(block).map_err(|_| NodeError::Malformed)?;
        let data = wire::PbData::decode(block).map_err(|_| NodeError::Malformed)?;
        let links = read.links.into_iter().map(|link| {
            let cid = Cid::try_from(link.hash.as_deref().unwrap_or_default());
            Ok(Link {
                cid: cid.map_err(|_| NodeError::Malformed)?,
                name: link.name.unwrap_or_default(),
                total_bytes: link.tsize.unwrap_or_default(),
            })
        });
        Ok(Self { links: links.collect::<Result<_, _>>()?, data: data.data.unwrap_or_default() })
    }

    /// The block: links first, in the order given, which for a directory is by name.
    pub fn encode(&self) -> Vec<u8> {
        let links = self.links.iter().map(|link| wire::PbLink {
            hash: Some(link.cid.to_bytes()),
            name: Some(link.name.clone()),
            tsize: Some(link.total_bytes),
        });
        let mut block = wire::PbLinks { links: links.collect() }.encode_to_vec();
        block.extend(wire::PbData { data: Some(self.data.clone()) }.encode_to_vec());
        block
    }
}
