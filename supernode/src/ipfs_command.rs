//! `blackhole ipfs`: files, directories and names, through the socket of the running node.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use shared::storage::ipfs::{CHUNK_BYTES, FileBuilder, Imported, Tree, symlink};
use storage::ipfs::door::{Answer, Command, Part, SOCKET_FILE, read_line};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use walkdir::{DirEntry, WalkDir};

/// Moved at once between file and socket.
const PIECE_BYTES: usize = 256 * 1024;
/// How often a bar is drawn anew.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// Whose node it is.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The data directory of the running node.
    #[arg(long, env = "BLACKHOLE_DATA_DIR")]
    data_dir: PathBuf,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Pin a file or a directory, and print its CID.
    Add {
        /// The data directory of the running node. Not needed where the CID alone is wanted.
        #[arg(long, env = "BLACKHOLE_DATA_DIR", required_unless_present = "only_hash")]
        data_dir: Option<PathBuf>,
        /// The file or directory.
        path: PathBuf,
        /// Also what begins with a dot.
        #[arg(long)]
        hidden: bool,
        /// Store nothing: print the CID that it would have.
        #[arg(long)]
        only_hash: bool,
    },
    /// Write what is at a path to a file or directory.
    Get {
        #[command(flatten)]
        at: At,
        /// `CID` or `CID/a/b`.
        path: String,
        /// What to write. It must not exist.
        into: PathBuf,
    },
    /// List what is pinned.
    Ls {
        #[command(flatten)]
        at: At,
    },
    /// End a pin.
    Rm {
        #[command(flatten)]
        at: At,
        /// The pin's root.
        cid: String,
    },
    /// Fetch all below a CID from peers, and pin it.
    Pull {
        #[command(flatten)]
        at: At,
        /// The root.
        cid: String,
        /// Where a peer is that has it, as a multiaddress with the peer's id. Without, the DHT is asked.
        #[arg(long)]
        from: Vec<String>,
    },
    /// Let the node's name stand for a CID or path, and print the name.
    Publish {
        #[command(flatten)]
        at: At,
        /// `/ipfs/CID` or `/ipfs/CID/a/b`.
        path: String,
        /// For so many hours.
        #[arg(long, default_value_t = 48)]
        hours: u64,
    },
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match what {
            What::Add { path, hidden, only_hash: true, .. } => {
                println!("{}", hash(path, *hidden)?.cid);
                Ok(())
            }
            What::Add { data_dir, path, hidden, .. } => {
                let data_dir = data_dir.as_deref().context("the node's data directory is wanted")?;
                add(data_dir, path, *hidden).await
            }
            What::Get { at, path, into } => get(&at.data_dir, path, into).await,
            What::Ls { at } => list(&at.data_dir).await,
            What::Rm { at, cid } => {
                let asked = Command::Remove { root: cid.clone() };
                match Door::ask(&at.data_dir, &asked).await?.hear().await? {
                    Answer::Removed(true) => Ok(()),
                    Answer::Removed(false) => bail!("{cid} is not pinned"),
                    _ => bail!("the node speaks another version"),
                }
            }
            What::Pull { at, cid, from } => {
                let asked = Command::Pull { root: cid.clone(), from: from.clone() };
                pinned(&mut Door::ask(&at.data_dir, &asked).await?.reader, None).await
            }
            What::Publish { at, path, hours } => {
                let lifetime_seconds = hours.saturating_mul(3600);
                let path = if path.starts_with('/') { path.clone() } else { format!("/ipfs/{path}") };
                let asked = Command::Publish { path, lifetime_seconds };
                match Door::ask(&at.data_dir, &asked).await?.hear().await? {
                    Answer::Name(name) => {
                        println!("{name}");
                        Ok(())
                    }
                    _ => bail!("the node speaks another version"),
                }
            }
        }
    })
}

/// The node's socket, once it was asked something.
struct Door {
    reader: BufReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
}

impl Door {
    async fn ask(data_dir: &Path, command: &Command) -> anyhow::Result<Self> {
        let path = data_dir.join(SOCKET_FILE);
        let stream = UnixStream::connect(&path).await.with_context(|| {
            format!(
                "no node answers at {}; it must be running, with a section [storage.ipfs]",
                path.display()
            )
        })?;
        let (reader, writer) = stream.into_split();
        let mut door = Self { reader: BufReader::new(reader), writer: BufWriter::new(writer) };
        say(&mut door.writer, command).await?;
        door.writer.flush().await?;
        Ok(door)
    }

    async fn hear(&mut self) -> anyhow::Result<Answer> {
        hear(&mut self.reader).await
    }
}

async fn hear(reader: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<Answer> {
    match serde_json::from_str(&read_line(reader).await?)? {
        Answer::Failed(why) => bail!(why),
        answer => Ok(answer),
    }
}

/// Hears how far it is, and prints the root at the end.
async fn pinned(reader: &mut BufReader<OwnedReadHalf>, bytes: Option<u64>) -> anyhow::Result<()> {
    let bar = bar(bytes)?;
    loop {
        match hear(reader).await? {
            Answer::Moved(total) => bar.set_position(total),
            Answer::Pinned { root, .. } => {
                bar.finish_and_clear();
                println!("{root}");
                return Ok(());
            }
            _ => bail!("the node speaks another version"),
        }
    }
}

async fn say(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    what: &impl serde::Serialize,
) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(writer.write_all(&line).await?)
}

/// What lies below a path, itself first, in the order of names.
fn entries(path: &Path, hidden: bool) -> impl Iterator<Item = anyhow::Result<DirEntry>> {
    let shown = move |entry: &DirEntry| {
        entry.depth() == 0 || hidden || !entry.file_name().to_string_lossy().starts_with('.')
    };
    WalkDir::new(path).sort_by_file_name().into_iter().filter_entry(shown).map(|entry| Ok(entry?))
}

/// The path below the root, as a tree has it.
fn below(root: &Path, entry: &DirEntry) -> anyhow::Result<String> {
    let path = entry.path().strip_prefix(root)?;
    let names = path
        .iter()
        .map(|name: &OsStr| name.to_str().with_context(|| format!("{} is no text", entry.path().display())));
    Ok(names.collect::<anyhow::Result<Vec<_>>>()?.join("/"))
}

fn target(entry: &DirEntry) -> anyhow::Result<String> {
    let target = std::fs::read_link(entry.path())?;
    let target =
        target.to_str().with_context(|| format!("{} points at what is no text", entry.path().display()));
    target.map(str::to_owned)
}

async fn add(data_dir: &Path, path: &Path, hidden: bool) -> anyhow::Result<()> {
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let mut bytes = 0;
    for entry in entries(path, hidden) {
        let metadata = entry?.metadata()?;
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
    }
    let Door { mut reader, mut writer } = Door::ask(data_dir, &Command::Add { name }).await?;
    let sending = async {
        let sent = send_all(path, hidden, &mut writer).await;
        // The node says whether all came; what failed here, it is told.
        let last = match &sent {
            Ok(()) => Part::End,
            Err(error) => Part::Failed(format!("{error:#}")),
        };
        say(&mut writer, &last).await?;
        writer.flush().await?;
        anyhow::Ok(())
    };
    let mut heard = std::pin::pin!(pinned(&mut reader, Some(bytes)));
    let mut sending = std::pin::pin!(sending);
    tokio::select! {
        // A node that refuses stops reading: what it says is the reason.
        pinned = &mut heard => pinned,
        sent = &mut sending => {
            let pinned = heard.await;
            if pinned.is_ok() { sent?; }
            pinned
        }
    }
}

async fn send_all(path: &Path, hidden: bool, writer: &mut BufWriter<OwnedWriteHalf>) -> anyhow::Result<()> {
    for entry in entries(path, hidden) {
        let entry = entry?;
        let below = below(path, &entry)?;
        let kind = entry.file_type();
        if kind.is_symlink() {
            say(writer, &Part::Symlink { path: below, target: target(&entry)? }).await?;
        } else if kind.is_dir() {
            // The root is there without being said.
            if !below.is_empty() {
                say(writer, &Part::Directory { path: below }).await?;
            }
        } else if kind.is_file() {
            send_file(&entry, below, writer).await?;
        } else {
            bail!("{} is neither a file nor a directory", entry.path().display());
        }
    }
    Ok(())
}

async fn send_file(
    entry: &DirEntry,
    path: String,
    writer: &mut BufWriter<OwnedWriteHalf>,
) -> anyhow::Result<()> {
    let mut file = tokio::fs::File::open(entry.path())
        .await
        .with_context(|| format!("opening {}", entry.path().display()))?;
    let mut left = file.metadata().await?.len();
    say(writer, &Part::File { path, bytes: left }).await?;
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let read = file.read(&mut piece[..room]).await?;
        ensure!(read > 0, "{} became shorter while it was read", entry.path().display());
        writer.write_all(&piece[..read]).await?;
        left -= read as u64;
    }
    Ok(())
}

/// The CID that a file or directory would have.
fn hash(path: &Path, hidden: bool) -> anyhow::Result<Imported> {
    let mut tree = Tree::default();
    for entry in entries(path, hidden) {
        let entry = entry?;
        let below = below(path, &entry)?;
        let names: Vec<_> = below.split('/').map(str::as_bytes).collect();
        let kind = entry.file_type();
        let imported = if kind.is_symlink() {
            symlink(target(&entry)?.as_bytes(), &mut drop)
        } else if kind.is_dir() {
            if !below.is_empty() {
                tree.directory(&names)?;
            }
            continue;
        } else {
            hash_file(entry.path())?
        };
        if below.is_empty() {
            return Ok(imported);
        }
        tree.insert(&names, imported)?;
    }
    Ok(tree.finish(&mut drop)?)
}

fn hash_file(path: &Path) -> anyhow::Result<Imported> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut builder = FileBuilder::default();
    loop {
        let mut chunk = Vec::new();
        (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(builder.finish(&mut drop));
        }
        builder.chunk(&chunk, &mut drop);
    }
}

async fn get(data_dir: &Path, path: &str, into: &Path) -> anyhow::Result<()> {
    ensure!(std::fs::symlink_metadata(into).is_err(), "{} is there already", into.display());
    let mut door = Door::ask(data_dir, &Command::Get { path: path.to_owned() }).await?;
    let bar = bar(None)?;
    loop {
        match serde_json::from_str(&read_line(&mut door.reader).await?)? {
            Part::Directory { path } => std::fs::create_dir(place(into, &path)?)?,
            Part::Symlink { path, target } => std::os::unix::fs::symlink(target, place(into, &path)?)?,
            Part::File { path, bytes } => {
                let path = place(into, &path)?;
                let mut file = tokio::fs::File::create_new(&path)
                    .await
                    .with_context(|| format!("making {}", path.display()))?;
                let mut source = (&mut door.reader).take(bytes);
                let mut piece = vec![0; PIECE_BYTES];
                let mut written = 0;
                loop {
                    let read = source.read(&mut piece).await?;
                    if read == 0 {
                        break;
                    }
                    file.write_all(&piece[..read]).await?;
                    written += read as u64;
                    bar.inc(read as u64);
                }
                ensure!(written == bytes, "{} broke off after {written} of {bytes} bytes", path.display());
                file.flush().await?;
            }
            Part::End => {
                bar.finish_and_clear();
                println!("{}", into.display());
                return Ok(());
            }
            Part::Failed(why) => bail!(why),
        }
    }
}

/// Where a part goes: never outside, and never through a symbolic link that came with it.
fn place(into: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let mut place = into.to_owned();
    for component in Path::new(path).components() {
        let Component::Normal(name) = component else { bail!("{path:?} leads elsewhere") };
        let through = std::fs::symlink_metadata(&place).is_ok_and(|metadata| metadata.is_symlink());
        ensure!(!through, "{path:?} leads through a symbolic link");
        place.push(name);
    }
    Ok(place)
}

async fn list(data_dir: &Path) -> anyhow::Result<()> {
    let Answer::Pins(pins) = Door::ask(data_dir, &Command::List).await?.hear().await? else {
        bail!("the node speaks another version")
    };
    let mut out = std::io::stdout().lock();
    for pin in pins {
        writeln!(out, "{}  {:>15}  {:>11}  {}", pin.root, pin.total_bytes, pin.since_unix, pin.name)?;
    }
    Ok(())
}

/// A bar with a rate, where somebody looks at it.
fn bar(bytes: Option<u64>) -> anyhow::Result<ProgressBar> {
    let (bar, style) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bytes}/{total_bytes} {bar:30} {bytes_per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    bar.set_style(ProgressStyle::with_template(style)?);
    bar.enable_steady_tick(DRAWN_EVERY);
    Ok(bar)
}
