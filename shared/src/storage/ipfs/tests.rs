//! What is written reads back, and what is forged does not.

mod exchange;
mod reading;
mod statements;

use std::collections::BTreeMap;

use super::{bitswap::*, redirects::*, *};
use crate::base::{Instant, SeededRng};

/// Blocks in memory.
#[derive(Default)]
struct Blocks(BTreeMap<Cid, Vec<u8>>);

impl Blocks {
    fn take(&mut self, block: NewBlock) {
        assert_eq!(check(&block.cid, &block.bytes), Ok(()), "import names what it makes");
        self.0.insert(block.cid, block.bytes);
    }

    fn file(&mut self, bytes: &[u8]) -> Imported {
        self.chunks(FileBuilder::default(), &mut bytes.chunks(CHUNK_BYTES))
    }

    fn chunks(&mut self, mut builder: FileBuilder, chunks: &mut dyn Iterator<Item = &'_ [u8]>) -> Imported {
        for chunk in chunks {
            let cid = builder.chunk(chunk, &mut |block| self.take(block));
            self.0.insert(cid, chunk.to_vec());
        }
        builder.finish(&mut |block| self.take(block))
    }

    fn tree(&mut self, entries: &[(&str, &[u8])]) -> Imported {
        let mut tree = Tree::default();
        for (path, bytes) in entries {
            let names: Vec<_> = path.split('/').map(str::as_bytes).collect();
            let file = self.file(bytes);
            tree.insert(&names, file).expect("a lawful tree");
        }
        tree.finish(&mut |block| self.take(block)).expect("no collision")
    }

    fn resolve(&self, path: &str) -> Result<Cid, PathError> {
        let mut resolver = Resolver::new(ContentPath::parse(path)?);
        while let Some(cid) = resolver.wants() {
            resolver.handle_block(&self.0[&cid])?;
        }
        Ok(resolver.at())
    }

    /// The bytes that a walk gives, and the blocks that it sends.
    fn walk(&self, mut walk: Walk) -> Result<(Vec<u8>, Vec<Cid>), WalkError> {
        let (mut bytes, mut sent) = (Vec::new(), Vec::new());
        while let Some(visit) = walk.next_visit() {
            let block = &self.0[&visit.cid];
            match walk.handle_block(block)? {
                Piece::OfBlock(range) => bytes.extend_from_slice(&block[range]),
                Piece::Inline(inline) => bytes.extend(inline),
                Piece::Nothing => {}
            }
            if visit.fresh {
                sent.push(visit.cid);
            }
        }
        Ok((bytes, sent))
    }
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut rng = SeededRng::from_number(seed);
    let mut noise = vec![0; bytes];
    for chunk in noise.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]);
    }
    noise
}
