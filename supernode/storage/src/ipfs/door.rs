//! The operator's door for the command line.
//!
//! A connection carries one command, a line of JSON. Trees go over it in both directions as [`Part`]s: a line of JSON
//! each, a file's bytes behind its line. The answer to everything else is lines of JSON, the last of which says how it
//! ended.

use std::{collections::VecDeque, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use shared::storage::ipfs::{Cid, EntityBytes, Entry, Piece, Scope, Walk};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Ipfs, import::Import};
use crate::socket::{self, COMMAND_WITHIN, say};

/// The socket's name in the data directory.
pub const SOCKET_FILE: &str = "ipfs.sock";
/// A line with a path of 4,096 bytes, each escaped.
pub const MAX_LINE_BYTES: u64 = 32 * 1024;
/// Directories that wait while a tree is handed out: entries of a few directories of 50,000.
const MAX_WAITING: usize = 1 << 20;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Pin the tree that follows.
    Add {
        /// What to call it.
        name: String,
    },
    /// Hand out what is at a path `CID/a/b`, as parts.
    Get {
        /// The path.
        path: String,
    },
    /// All pins.
    List,
    /// End a pin.
    Remove {
        /// Its root.
        root: String,
    },
    /// Fetch all below a root from peers, and pin it.
    Pull {
        /// The root.
        root: String,
        /// Where peers are that have it; whoever the DHT names is asked too.
        from: Vec<String>,
    },
    /// Say that this node's name stands for a path.
    Publish {
        /// `/ipfs/…`.
        path: String,
        /// For how long.
        lifetime_seconds: u64,
    },
}

/// A part of a tree; paths are below its root, with slashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A file; its bytes follow. A tree that is one file has an empty path.
    File {
        /// Where.
        path: String,
        /// How long.
        bytes: u64,
    },
    /// A directory.
    Directory {
        /// Where.
        path: String,
    },
    /// A symbolic link.
    Symlink {
        /// Where.
        path: String,
        /// Where to.
        target: String,
    },
    /// All parts have come.
    End,
    /// No more parts come, and why.
    Failed(String),
}

/// What is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// So many bytes are here.
    Moved(u64),
    /// It is pinned.
    Pinned {
        /// The root.
        root: String,
        /// Bytes of all its blocks.
        total_bytes: u64,
    },
    /// All pins.
    Pins(Vec<Listed>),
    /// The pin has ended, or there was none.
    Removed(bool),
    /// What this node's name is.
    Name(String),
    /// It was not done.
    Failed(String),
}

/// A pin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its root.
    pub root: String,
    /// What it was called.
    pub name: String,
    /// Bytes of all its blocks.
    pub total_bytes: u64,
    /// When it came.
    pub since_unix: u64,
}

/// Opens the door in `directory`, until `shutdown`.
///
/// # Errors
/// Where the socket cannot be made.
pub fn open(
    ipfs: Arc<Ipfs>,
    directory: &Path,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let ends = shutdown.clone();
    socket::open(directory.join(SOCKET_FILE), shutdown, move |stream| {
        let (ipfs, ends) = (Arc::clone(&ipfs), ends.clone());
        async move { ends.run_until_cancelled(serve(&ipfs, stream)).await.unwrap_or(Ok(())) }
    })
}

async fn serve(ipfs: &Arc<Ipfs>, stream: UnixStream) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let line =
        tokio::time::timeout(COMMAND_WITHIN, read_line(&mut reader)).await.context("no command came")??;
    let command: Command = serde_json::from_str(&line).context("not a command")?;
    let done = match command {
        Command::Get { path } => return get(ipfs, &path, writer).await,
        Command::Add { name } => telling(&mut writer, |moved| add(ipfs, name, reader, moved)).await,
        Command::Pull { root, from } => {
            telling(&mut writer, |moved| async move {
                let root: Cid = root.parse().context("the root is no CID")?;
                let total_bytes = ipfs.pull(root, &from, &moved).await?;
                Ok(Answer::Pinned { root: root.to_string(), total_bytes })
            })
            .await
        }
        Command::List => ipfs.pins().await.map(|pins| {
            let listed = pins.into_iter().map(|pin| Listed {
                root: pin.root.to_string(),
                name: pin.name,
                total_bytes: pin.total_bytes,
                since_unix: pin.since_unix,
            });
            Answer::Pins(listed.collect())
        }),
        Command::Remove { root } => match root.parse() {
            Ok(root) => ipfs.unpin(&root).await.map(Answer::Removed),
            Err(_) => Err(anyhow::anyhow!("{root:?} is no CID")),
        },
        Command::Publish { path, lifetime_seconds } => {
            ipfs.publish(path, lifetime_seconds).await.map(|name| Answer::Name(name.to_string()))
        }
    };
    let answer = done.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
    say(&mut writer, &answer).await
}

/// Reads a line, which has a bound.
pub async fn read_line<R: tokio::io::AsyncBufRead + Unpin>(reader: &mut R) -> anyhow::Result<String> {
    let mut line = String::new();
    (&mut *reader).take(MAX_LINE_BYTES).read_line(&mut line).await?;
    if !line.ends_with('\n') {
        bail!("the other side went away, or said too much at once");
    }
    Ok(line)
}

/// Works, and tells the caller meanwhile how far it is. Work whose caller went away hears it, as a channel that nobody
/// listens to, and goes on until it has cleaned up.
async fn telling<Work: Future<Output = anyhow::Result<Answer>>>(
    writer: &mut OwnedWriteHalf,
    work: impl FnOnce(watch::Sender<u64>) -> Work,
) -> anyhow::Result<Answer> {
    let (sender, mut moved) = watch::channel(0);
    let mut work = std::pin::pin!(work(sender));
    loop {
        tokio::select! {
            done = &mut work => return done,
            Ok(()) = moved.changed() => {
                let total = *moved.borrow_and_update();
                if say(writer, &Answer::Moved(total)).await.is_err() {
                    break;
                }
            }
        }
    }
    drop(moved);
    work.await
}

async fn add(
    ipfs: &Ipfs,
    name: String,
    mut reader: BufReader<OwnedReadHalf>,
    moved: watch::Sender<u64>,
) -> anyhow::Result<Answer> {
    let mut import = Import::begin(ipfs).await?;
    let taken = tokio::select! {
        taken = take_parts(&mut import, &mut reader, &moved) => taken,
        () = moved.closed() => Err(anyhow::anyhow!("the other side went away")),
    };
    match taken {
        Ok(()) => {
            let imported = import.finish(name).await?;
            Ok(Answer::Pinned { root: imported.cid.to_string(), total_bytes: imported.total_bytes })
        }
        Err(error) => {
            import.abandon().await?;
            Err(error)
        }
    }
}

async fn take_parts(
    import: &mut Import<'_>,
    reader: &mut BufReader<OwnedReadHalf>,
    moved: &watch::Sender<u64>,
) -> anyhow::Result<()> {
    loop {
        match serde_json::from_str(&read_line(reader).await?)? {
            Part::File { path, bytes } => import.file(&path, bytes, reader, moved).await?,
            Part::Directory { path } => import.directory(&path)?,
            Part::Symlink { path, target } => import.symlink(&path, &target).await?,
            Part::End => return Ok(()),
            Part::Failed(why) => bail!(why),
        }
    }
}

async fn get(ipfs: &Ipfs, path: &str, writer: OwnedWriteHalf) -> anyhow::Result<()> {
    let mut writer = BufWriter::new(writer);
    let last = match give_parts(ipfs, path, &mut writer).await {
        Ok(()) => Part::End,
        Err(error) => Part::Failed(format!("{error:#}")),
    };
    say(&mut writer, &last).await?;
    Ok(writer.flush().await?)
}

async fn give_parts(ipfs: &Ipfs, path: &str, writer: &mut BufWriter<OwnedWriteHalf>) -> anyhow::Result<()> {
    let root = ipfs.resolve(path).await?;
    let mut waiting = VecDeque::from([(String::new(), root)]);
    while let Some((path, cid)) = waiting.pop_front() {
        let block = ipfs.block(&cid).await?.with_context(|| format!("{cid} is not here"))?;
        match Entry::parse(&cid, &block)? {
            Entry::Raw => {
                say(writer, &Part::File { path, bytes: block.len() as u64 }).await?;
                writer.write_all(&block).await?;
            }
            Entry::File(file) => {
                say(writer, &Part::File { path, bytes: file.bytes }).await?;
                give_file(ipfs, cid, file.bytes, writer).await?;
            }
            Entry::Symlink(target) => {
                let target = String::from_utf8(target).context("a symbolic link that is no text")?;
                say(writer, &Part::Symlink { path, target }).await?;
            }
            Entry::Directory(_) | Entry::Shard(_) => {
                say(writer, &Part::Directory { path: path.clone() }).await?;
                for (name, child, _) in ipfs.list(cid).await? {
                    let name = String::from_utf8(name).context("a name that is no text")?;
                    let lawful = !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0']);
                    anyhow::ensure!(lawful, "{name:?} can be no file's name");
                    let below = if path.is_empty() { name } else { format!("{path}/{name}") };
                    waiting.push_back((below, child));
                }
                anyhow::ensure!(waiting.len() <= MAX_WAITING, "too many entries at once");
            }
        }
    }
    Ok(())
}

async fn give_file(
    ipfs: &Ipfs,
    cid: Cid,
    bytes: u64,
    writer: &mut BufWriter<OwnedWriteHalf>,
) -> anyhow::Result<()> {
    let mut walk = Walk::new(cid, Scope::Entity, Some(EntityBytes::of(&(0..bytes))), false);
    while let Some(visit) = walk.next_visit() {
        let block = ipfs.block(&visit.cid).await?.with_context(|| format!("{} is not here", visit.cid))?;
        match walk.handle_block(&block)? {
            Piece::OfBlock(range) => writer.write_all(&block[range]).await?,
            Piece::Inline(inline) => writer.write_all(&inline).await?,
            Piece::Nothing => {}
        }
    }
    Ok(())
}
