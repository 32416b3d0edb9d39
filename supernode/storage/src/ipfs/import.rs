//! Files and trees into blocks.

use anyhow::Context as _;
use bytes::Bytes;
use shared::storage::ipfs::{CHUNK_BYTES, Cid, FileBuilder, Imported, NewBlock, Tree, symlink};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::watch,
};

use super::{Ipfs, sink::Sink};

/// A tree that comes in piece by piece. What is not finished is removed by [`Import::abandon`], or at the next start.
pub(super) struct Import<'a> {
    sink: Sink<'a>,
    tree: Tree,
    /// A file alone, which is its own root.
    alone: Option<Imported>,
    total_bytes: u64,
}

impl<'a> Import<'a> {
    pub(super) async fn begin(ipfs: &'a Ipfs) -> anyhow::Result<Self> {
        let sink = Sink::begin(ipfs).await?;
        Ok(Self { sink, tree: Tree::default(), alone: None, total_bytes: 0 })
    }

    /// Takes a file of `bytes` bytes; without a path it is all there is. `moved` hears what was read.
    pub(super) async fn file(
        &mut self,
        path: &str,
        bytes: u64,
        source: &mut (impl AsyncRead + Unpin + Send),
        moved: &watch::Sender<u64>,
    ) -> anyhow::Result<()> {
        let own = bytes >= CHUNK_BYTES as u64;
        if own {
            self.sink.begin_own().await?;
        }
        let (mut builder, mut left) = (FileBuilder::default(), bytes);
        let mut nodes = Vec::new();
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let mut chunk = vec![0; length];
            source.read_exact(&mut chunk).await.with_context(|| format!("{path:?} broke off"))?;
            let (chunk, with, made) = hash(builder, chunk).await?;
            builder = with;
            nodes.extend(made.1);
            self.sink.leaf(&made.0, chunk).await?;
            left -= length as u64;
            self.total_bytes += length as u64;
            moved.send_replace(self.total_bytes);
            for node in nodes.drain(..) {
                self.sink.node(node).await?;
            }
        }
        let imported = builder.finish(&mut |block| nodes.push(block));
        for node in nodes {
            if bytes == 0 {
                self.sink.leaf(&node.cid, node.bytes.into()).await?;
            } else {
                self.sink.node(node).await?;
            }
        }
        if own {
            self.sink.end_own().await?;
        }
        self.insert(path, imported)
    }

    /// Takes a symbolic link.
    pub(super) async fn symlink(&mut self, path: &str, target: &str) -> anyhow::Result<()> {
        let mut nodes = Vec::new();
        let imported = symlink(target.as_bytes(), &mut |block| nodes.push(block));
        for node in nodes {
            self.sink.node(node).await?;
        }
        self.insert(path, imported)
    }

    /// Takes a directory, which may stay empty.
    pub(super) fn directory(&mut self, path: &str) -> anyhow::Result<()> {
        Ok(self.tree.directory(&names(path))?)
    }

    fn insert(&mut self, path: &str, imported: Imported) -> anyhow::Result<()> {
        if path.is_empty() {
            anyhow::ensure!(
                self.alone.replace(imported).is_none(),
                "one file without a name is all there can be"
            );
            return Ok(());
        }
        Ok(self.tree.insert(&names(path), imported)?)
    }

    /// Makes it count, and says what its root is.
    pub(super) async fn finish(mut self, name: String) -> anyhow::Result<Imported> {
        let imported = match self.alone {
            Some(imported) => imported,
            None => {
                let tree = std::mem::take(&mut self.tree);
                let mut nodes = Vec::new();
                let imported = tree.finish(&mut |block| nodes.push(block))?;
                for node in nodes {
                    self.sink.node(node).await?;
                }
                imported
            }
        };
        self.sink.finish(imported.cid, name, imported.total_bytes).await?;
        Ok(imported)
    }

    /// Removes what came.
    pub(super) async fn abandon(self) -> anyhow::Result<()> {
        self.sink.abandon().await
    }
}

/// Hashes a chunk where it does not hold up others.
async fn hash(
    mut builder: FileBuilder,
    chunk: Vec<u8>,
) -> anyhow::Result<(Bytes, FileBuilder, (Cid, Vec<NewBlock>))> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut nodes = Vec::new();
        let cid = builder.chunk(&chunk, &mut |block| nodes.push(block));
        (Bytes::from(chunk), builder, (cid, nodes))
    });
    hashed.await.context("hashing ended in a panic")
}

fn names(path: &str) -> Vec<&[u8]> {
    path.split('/').map(str::as_bytes).collect()
}
