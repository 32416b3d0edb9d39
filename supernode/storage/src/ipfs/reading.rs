//! Paths and directories, read off what is held here.

use anyhow::Context as _;
use shared::storage::ipfs::{Cid, ContentPath, Entry, PathError, Resolver, Scope, Walk};

use super::Ipfs;

/// Entries of a directory that is listed: more than anybody reads, and some 100 MB.
const MAX_LISTED: usize = 1 << 20;

/// Why there is nothing at a path.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// A block is not held.
    #[error("{0} is not here")]
    Absent(Cid),
    /// The path leads nowhere.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The map or the store cannot be read.
    #[error(transparent)]
    Store(#[from] anyhow::Error),
}

/// What a path came to.
pub(super) struct Resolved {
    /// Its end.
    pub(super) cid: Cid,
    /// Blocks on the way, without the end.
    pub(super) way: Vec<Cid>,
    /// The root of each part of the path.
    pub(super) roots: Vec<Cid>,
}

impl Ipfs {
    /// Follows a path.
    pub(super) async fn follow(&self, path: ContentPath) -> Result<Resolved, ReadError> {
        let mut resolver = Resolver::new(path);
        let mut way = Vec::new();
        while let Some(cid) = resolver.wants() {
            let block = self.block(&cid).await?.ok_or(ReadError::Absent(cid))?;
            resolver.handle_block(&block)?;
            way.push(cid);
        }
        Ok(Resolved { cid: resolver.at(), way, roots: resolver.logical_roots().to_vec() })
    }

    /// The end of a path as text, with or without `/ipfs/` before it.
    pub(super) async fn resolve(&self, path: &str) -> anyhow::Result<Cid> {
        let path = ContentPath::parse(path.strip_prefix("/ipfs/").unwrap_or(path))?;
        Ok(self.follow(path).await?.cid)
    }

    /// Names, what they stand for, and how large that is said to be: of a directory, small or large.
    pub(super) async fn list(&self, directory: Cid) -> anyhow::Result<Vec<(Vec<u8>, Cid, u64)>> {
        let mut walk = Walk::new(directory, Scope::Entity, None, true);
        let mut listed = Vec::new();
        while let Some(visit) = walk.next_visit() {
            let block =
                self.block(&visit.cid).await?.with_context(|| format!("{} is not here", visit.cid))?;
            match Entry::parse(&visit.cid, &block)? {
                Entry::Directory(links) => {
                    listed.extend(links.into_iter().map(|link| (link.name, link.cid, link.total_bytes)));
                }
                Entry::Shard(shard) => {
                    let named = shard
                        .links
                        .iter()
                        .filter_map(|link| Some((shard.name(link)?.to_vec(), link.cid, link.total_bytes)));
                    listed.extend(named);
                }
                Entry::Raw | Entry::File(_) | Entry::Symlink(_) => {
                    anyhow::bail!("{directory} is no directory")
                }
            }
            anyhow::ensure!(listed.len() <= MAX_LISTED, "a directory of more than {MAX_LISTED} entries");
            walk.handle_block(&block)?;
        }
        listed.sort_unstable();
        // Where a name occurs twice, the first counts; which that is, readers need not agree on.
        listed.dedup_by(|next, before| next.0 == before.0);
        Ok(listed)
    }
}
