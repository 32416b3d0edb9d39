//! `blackhole storage`: an owner's objects, through the socket of its running node.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use storage::strangers::{
    door::{Answer, Command, Report, SOCKET_FILE},
    hold::{HoldStatus, OwnerOpinion},
    own::{Evidence, ExtraStatus, Status},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Moved at once between file and socket.
const PIECE_BYTES: usize = 256 * 1024;

/// Whose objects they are.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The data directory of the running node whose objects they are.
    #[arg(long, env = "BLACKHOLE_DATA_DIR")]
    data_dir: PathBuf,
}

/// What is to be done with objects.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Store a file. Returns once enough holders have promised to keep it.
    Put {
        #[command(flatten)]
        at: At,
        /// The file.
        file: PathBuf,
        /// The object's name; the file's without.
        name: Option<String>,
    },
    /// Read an object back.
    Get {
        #[command(flatten)]
        at: At,
        /// The object's name.
        name: String,
        /// The file to write; it appears when it is whole.
        file: PathBuf,
    },
    /// Delete an object. Its holders are told to let its shards go, also once the node was away meanwhile.
    Delete {
        #[command(flatten)]
        at: At,
        /// The object's name.
        name: String,
    },
    /// List the objects.
    Ls {
        #[command(flatten)]
        at: At,
    },
    /// Say where each object's shards are and how their holders stand; and of a holder, how it stands with those whose
    /// shards it has.
    Status {
        #[command(flatten)]
        at: At,
        /// As one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the signed accounts of audits that holders failed, a line of JSON each.
    Evidence {
        #[command(flatten)]
        at: At,
    },
    /// Check accounts of failed audits, with nothing but the shard's root: no node, no shard, and no trust in who signed.
    CheckEvidence {
        /// What `evidence` printed.
        file: PathBuf,
        /// The shard's root, where it is known: accounts of others are refused.
        #[arg(long)]
        root: Option<String>,
    },
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    let at = match what {
        What::Put { at, .. }
        | What::Get { at, .. }
        | What::Delete { at, .. }
        | What::Ls { at }
        | What::Status { at, .. }
        | What::Evidence { at } => at,
        What::CheckEvidence { file, root } => return check_evidence(file, root.as_deref()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut door = Door::open(&at.data_dir).await?;
        match what {
            What::Put { file, name, .. } => door.put(file, name.as_deref()).await,
            What::Get { name, file, .. } => door.get(name, file).await,
            What::Delete { name, .. } => door.delete(name).await,
            What::Ls { .. } => door.list().await,
            What::Status { json, .. } => door.status(*json).await,
            What::Evidence { .. } => door.evidence().await,
            What::CheckEvidence { .. } => Ok(()),
        }
    })
}

/// Says of each account in the file whether it convicts; fails where one does not.
fn check_evidence(file: &Path, root: Option<&str>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut out = std::io::stdout().lock();
    let mut doubtful = 0_usize;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let told: Evidence = serde_json::from_str(line).context("a line that is no account")?;
        // All but the account itself is what somebody says of it.
        let found = told.checked()?;
        if root.is_some_and(|root| root != found.root) {
            bail!("the account is of another shard, {}", found.root);
        }
        let said = match (found.convicts, found.admits) {
            (true, _) => "its own signature convicts it",
            (false, true) => "it admits by its signature that it lost the shard",
            (false, false) => "the auditor's word alone",
        };
        writeln!(out, "{} {} {}: {said}", found.holder, found.root, found.verdict)?;
        doubtful += usize::from(!found.convicts && !found.admits);
    }
    anyhow::ensure!(doubtful == 0, "of {doubtful} accounts there is the auditor's word alone");
    Ok(())
}

/// The node's socket.
struct Door {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Door {
    async fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(SOCKET_FILE);
        let stream = UnixStream::connect(&path).await.with_context(|| {
            format!(
                "no node answers at {}; it must be running, with a section [storage.own] or [storage.hold]",
                path.display()
            )
        })?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer })
    }

    async fn say(&mut self, command: &Command) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        Ok(self.writer.write_all(&line).await?)
    }

    async fn hear(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).await? == 0 {
            bail!("the node went away");
        }
        match serde_json::from_str(&line)? {
            Answer::Failed(why) => bail!(why),
            answer => Ok(answer),
        }
    }

    async fn put(&mut self, file: &Path, name: Option<&str>) -> anyhow::Result<()> {
        let name = match (name, file.file_name()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) => name.to_string_lossy().into_owned(),
            (None, None) => bail!("{} has no name; give one", file.display()),
        };
        let mut source =
            tokio::fs::File::open(file).await.with_context(|| format!("opening {}", file.display()))?;
        let bytes = source.metadata().await?.len();
        self.say(&Command::Put { name: name.clone(), bytes }).await?;
        let reading = bar(bytes, "sealing")?;
        let confirmed = bar(0, "confirmed by holders")?;
        let Self { reader, writer } = self;
        let sending = async {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let read = source.read(&mut piece).await?;
                if read == 0 {
                    return anyhow::Ok(());
                }
                writer.write_all(&piece[..read]).await?;
                reading.inc(read as u64);
            }
        };
        let hearing = async {
            let mut line = String::new();
            loop {
                line.clear();
                if reader.read_line(&mut line).await? == 0 {
                    bail!("the node went away: {name} was not stored");
                }
                match serde_json::from_str(&line)? {
                    Answer::Confirmed(total) => {
                        confirmed.set_length(confirmed.length().unwrap_or(0).max(total));
                        confirmed.set_position(total);
                    }
                    Answer::Stored(bytes) => return Ok(bytes),
                    Answer::Failed(why) => bail!("{name} was not stored: {why}"),
                    _ => bail!("the node speaks another version"),
                }
            }
        };
        let mut sending = std::pin::pin!(sending);
        let mut hearing = std::pin::pin!(hearing);
        let stored = tokio::select! {
            // A node that refuses stops reading: what it says is the reason.
            stored = &mut hearing => stored?,
            sent = &mut sending => {
                sent.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })?;
                hearing.await?
            }
        };
        reading.finish_and_clear();
        confirmed.finish_and_clear();
        println!("{name}: {stored} bytes are stored");
        Ok(())
    }

    async fn get(&mut self, name: &str, file: &Path) -> anyhow::Result<()> {
        self.say(&Command::Get { name: name.to_owned() }).await?;
        let bytes = match self.hear().await? {
            Answer::Bytes(bytes) => bytes,
            Answer::Absent => bail!("there is no object {name:?}"),
            _ => bail!("the node speaks another version"),
        };
        let mut unfinished = file.as_os_str().to_owned();
        unfinished.push(".part");
        let unfinished = PathBuf::from(unfinished);
        let mut sink = tokio::fs::File::create(&unfinished)
            .await
            .with_context(|| format!("making {}", unfinished.display()))?;
        let bar = bar(bytes, "reading")?;
        let (mut piece, mut written) = (vec![0; PIECE_BYTES], 0);
        loop {
            let read = self.reader.read(&mut piece).await?;
            if read == 0 {
                break;
            }
            sink.write_all(&piece[..read]).await?;
            written += read as u64;
            bar.set_position(written);
        }
        bar.finish_and_clear();
        sink.flush().await?;
        sink.sync_all().await?;
        if written != bytes {
            tokio::fs::remove_file(&unfinished).await?;
            bail!("{name} broke off after {written} of {bytes} bytes: too few of its shards can be read now");
        }
        tokio::fs::rename(&unfinished, file).await?;
        println!("{}: {bytes} bytes", file.display());
        Ok(())
    }

    async fn delete(&mut self, name: &str) -> anyhow::Result<()> {
        self.say(&Command::Delete { name: name.to_owned() }).await?;
        match self.hear().await? {
            Answer::Deleted => println!("{name}: deleted"),
            Answer::Absent => bail!("there is no object {name:?}"),
            _ => bail!("the node speaks another version"),
        }
        Ok(())
    }

    async fn list(&mut self) -> anyhow::Result<()> {
        self.say(&Command::List).await?;
        let Answer::Objects(objects) = self.hear().await? else { bail!("the node speaks another version") };
        let mut out = std::io::stdout().lock();
        for object in objects {
            writeln!(out, "{:>15}  {:>11}  {}", object.bytes, object.modified_unix, object.name)?;
        }
        Ok(())
    }

    async fn evidence(&mut self) -> anyhow::Result<()> {
        self.say(&Command::Evidence).await?;
        let Answer::Evidence(accounts) = self.hear().await? else { bail!("the node speaks another version") };
        let mut out = std::io::stdout().lock();
        for account in accounts {
            writeln!(out, "{}", serde_json::to_string(&account)?)?;
        }
        Ok(())
    }

    async fn status(&mut self, json: bool) -> anyhow::Result<()> {
        self.say(&Command::Status).await?;
        let Answer::Status(report) = self.hear().await? else { bail!("the node speaks another version") };
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
            return Ok(());
        }
        let Report { own, held } = *report;
        own.map_or(Ok(()), |own| show_own(&mut out, &own))?;
        held.map_or(Ok(()), |held| show_held(&mut out, &held))
    }
}

fn show_own(out: &mut impl io::Write, status: &Status) -> anyhow::Result<()> {
    writeln!(out, "{} holders are known, {} of them count", status.holders, status.counted)?;
    for segment in &status.segments {
        let (alive, total, needed) = (segment.alive, segment.total, segment.needed);
        writeln!(
            out,
            "{}: {alive} of {total} shards held, {needed} needed ({})",
            segment.name.as_deref().unwrap_or("an object of the S3 door"),
            segment.segment
        )?;
        for (shard, holder) in &segment.holders {
            writeln!(out, "    {shard:>3}  {holder}")?;
        }
    }
    if !status.extras.is_empty() {
        writeln!(out, "extra shards in visitors' tabs, which count nothing:")?;
    }
    for ExtraStatus { tab, segment, shard, bytes, proved } in &status.extras {
        let proved = match proved {
            Some((found, ago)) => format!("{found} {ago} s ago"),
            None => "not asked yet".to_owned(),
        };
        writeln!(out, "    {shard:>3}  {tab}: {bytes} bytes of {segment}, {proved}")?;
    }
    for (holder, standing) in &status.standings {
        writeln!(out, "{holder}: {standing}")?;
    }
    for (holder, how) in &status.failed_audits {
        writeln!(out, "{holder} failed an audit: {how}")?;
    }
    Ok(())
}

/// What a holder's operator may want to mend.
fn show_held(out: &mut impl io::Write, held: &HoldStatus) -> anyhow::Result<()> {
    let HoldStatus { leases, stored_bytes, quota_bytes, repute, opinions } = held;
    writeln!(
        out,
        "{leases} shards are held for {} owners, in {stored_bytes} of {quota_bytes} bytes",
        repute.owners
    )?;
    if !opinions.is_empty() {
        writeln!(
            out,
            "What {} of them say of this node, each by its own audits and its word alone. Doubted by {}, who place \
             nothing new here, and dismissed by {}:",
            repute.said, repute.doubted, repute.dismissed
        )?;
    }
    for OwnerOpinion { owner, words, advice, .. } in opinions {
        writeln!(out, "{owner}: {words}")?;
        for advice in advice {
            writeln!(out, "    {advice}")?;
        }
    }
    if opinions.len() < repute.said {
        writeln!(out, "{} more, none of them worse", repute.said - opinions.len())?;
    }
    Ok(())
}

/// Whether the other side closed the socket.
fn is_gone(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset))
}

/// A bar with a rate, where somebody looks at it.
fn bar(bytes: u64, what: &'static str) -> anyhow::Result<ProgressBar> {
    let style = "{msg:>20} {bytes}/{total_bytes} {bar:30} {bytes_per_sec} {eta}";
    let bar = ProgressBar::new(bytes).with_style(ProgressStyle::with_template(style)?).with_message(what);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    Ok(bar)
}
