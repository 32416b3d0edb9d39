//! The operator's door for the command line. Who holds shards for others has it too, to hear what they say of this node.
//!
//! A connection carries one command, a line of JSON; the object's bytes behind it, or behind the first line of the
//! answer. The answer is lines of JSON, the last of which says how it ended.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    hold::{Hold, HoldStatus},
    own::{Evidence, Listed, Own, Status},
};
use crate::socket::{self, COMMAND_WITHIN, say};

/// The socket's name in the data directory.
pub const SOCKET_FILE: &str = "storage.sock";
/// A command with a name of 1,024 bytes, each escaped.
const MAX_LINE_BYTES: u64 = 16 * 1024;
/// Opinions in a status, the worst first: a few hundred KiB of JSON.
const OPINIONS_SHOWN: usize = 500;
/// Read ahead of a slow caller.
const PIPE_BYTES: usize = 1 << 20;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Store what follows, `bytes` long, under this name.
    Put {
        /// The object's name.
        name: String,
        /// Its length.
        bytes: u64,
    },
    /// Hand out an object.
    Get {
        /// Its name.
        name: String,
    },
    /// Delete an object.
    Delete {
        /// Its name.
        name: String,
    },
    /// All objects.
    List,
    /// Where everything is.
    Status,
    /// What is kept against holders.
    Evidence,
}

/// What is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Bytes of shards that holders confirmed so far.
    Confirmed(u64),
    /// The object is stored: acknowledged, and so long.
    Stored(u64),
    /// The object's bytes follow, as many, unless the connection breaks off.
    Bytes(u64),
    /// The object is gone.
    Deleted,
    /// There is no object of that name.
    Absent,
    /// All objects.
    Objects(Vec<Listed>),
    /// Where everything is.
    Status(Box<Report>),
    /// What is kept against holders.
    Evidence(Vec<Evidence>),
    /// It was not done.
    Failed(String),
}

/// What the halves that are configured have to say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of objects with others.
    #[serde(flatten)]
    pub own: Option<Status>,
    /// Of others' shards here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<HoldStatus>,
}

/// The halves behind the door.
#[derive(Clone)]
pub struct Halves {
    /// This node's objects with others.
    pub own: Option<Arc<Own>>,
    /// Others' shards here.
    pub hold: Option<Arc<Hold>>,
}

impl Halves {
    fn own(&self) -> anyhow::Result<&Arc<Own>> {
        self.own.as_ref().context("this node keeps no objects with others: it has no section [storage.own]")
    }

    async fn report(&self) -> anyhow::Result<Report> {
        let own = match &self.own {
            Some(own) => Some(own.status().await?),
            None => None,
        };
        Ok(Report { own, held: self.hold.as_ref().map(|hold| hold.status(OPINIONS_SHOWN)) })
    }
}

/// Opens the door in `directory`, until `shutdown`.
///
/// # Errors
/// Where the socket cannot be made.
pub fn open(halves: Halves, directory: &Path, shutdown: CancellationToken) -> anyhow::Result<JoinHandle<()>> {
    socket::open(directory.join(SOCKET_FILE), shutdown, move |stream| {
        let halves = halves.clone();
        async move { serve(&halves, stream).await }
    })
}

async fn serve(halves: &Halves, stream: UnixStream) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    let mut first = (&mut reader).take(MAX_LINE_BYTES);
    let reading = first.read_line(&mut line);
    tokio::time::timeout(COMMAND_WITHIN, reading).await.context("no command came")??;
    let command: Command = serde_json::from_str(&line).context("not a command")?;
    let answer = match (command, halves.own()) {
        (Command::Status, _) => halves.report().await.map(|report| Answer::Status(Box::new(report))),
        (_, Err(error)) => Err(error),
        (Command::Put { name, bytes }, Ok(own)) => put(own, &name, bytes, reader, &mut writer).await,
        (Command::Get { name }, Ok(own)) => return get(own, &name, writer).await,
        (Command::Delete { name }, Ok(own)) => delete(own, &name).await,
        (Command::List, Ok(own)) => own.list().await.map(Answer::Objects),
        (Command::Evidence, Ok(own)) => own.evidence().await.map(Answer::Evidence),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
    say(&mut writer, &answer).await
}

async fn put(
    own: &Arc<Own>,
    name: &str,
    bytes: u64,
    source: BufReader<tokio::net::unix::OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> anyhow::Result<Answer> {
    let path = name.parse().context("the object's name")?;
    let (sender, mut confirmed) = watch::channel(0);
    let moved = Arc::new(move |bytes| sender.send_modify(|total| *total += bytes));
    let mut source = source.take(bytes);
    let putting = async {
        own.put(&path, &mut source, Some(bytes), moved).await?;
        Ok(Answer::Stored(bytes))
    };
    let mut putting = std::pin::pin!(putting);
    loop {
        tokio::select! {
            stored = &mut putting => return stored,
            Ok(()) = confirmed.changed() => {
                let total = *confirmed.borrow_and_update();
                if let Err(error) = say(writer, &Answer::Confirmed(total)).await {
                    tracing::debug!(%error, "who stores an object went away");
                    // What began goes to its end: stored, or given up.
                    return putting.await;
                }
            }
        }
    }
}

async fn delete(own: &Arc<Own>, name: &str) -> anyhow::Result<Answer> {
    let path = name.parse().context("the object's name")?;
    Ok(if own.delete(&path).await? { Answer::Deleted } else { Answer::Absent })
}

async fn get(own: &Arc<Own>, name: &str, mut writer: OwnedWriteHalf) -> anyhow::Result<()> {
    let found = async {
        let path = name.parse().context("the object's name")?;
        anyhow::Ok((own.find(&path).await?, path))
    };
    let (record, path) = match found.await {
        Ok((Some(record), path)) => (record, path),
        Ok((None, _)) => return say(&mut writer, &Answer::Absent).await,
        Err(error) => return say(&mut writer, &Answer::Failed(format!("{error:#}"))).await,
    };
    let bytes = record.public.plain_bytes();
    let (mut sink, mut source) = tokio::io::duplex(PIPE_BYTES);
    let reading = async {
        let read = own.get(&path, &record, 0..bytes, &mut sink, Arc::new(|_| {})).await;
        drop(sink);
        read
    };
    let sending = async {
        let mut first = [0; 1];
        // Nothing is promised before something is there.
        let some = source.read(&mut first).await? > 0;
        if some {
            say(&mut writer, &Answer::Bytes(bytes)).await?;
            writer.write_all(&first).await?;
            tokio::io::copy(&mut source, &mut writer).await?;
        }
        anyhow::Ok(some)
    };
    match tokio::join!(reading, sending) {
        // The caller went away.
        (_, Err(error)) => return Err(error),
        (Ok(()), Ok(false)) => say(&mut writer, &Answer::Bytes(bytes)).await?,
        (Err(error), Ok(false)) => say(&mut writer, &Answer::Failed(format!("{error:#}"))).await?,
        // The caller sees that less came than was announced.
        (Err(error), Ok(true)) => tracing::warn!(%error, "an object cannot be read on"),
        (Ok(()), Ok(true)) => {}
    }
    Ok(writer.flush().await?)
}
