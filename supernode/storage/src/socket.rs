//! Doors for the command line: Unix sockets in the data directory, which only who may read that directory can open.

use std::{io, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::Context as _;
use serde::Serialize;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// A caller that says nothing does not hold a place.
pub(crate) const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// After a caller that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Has `serve` answer everybody who calls at `path`, until `shutdown`.
///
/// # Errors
/// Where the socket cannot be made.
pub(crate) fn open<Served: Future<Output = anyhow::Result<()>> + Send + 'static>(
    path: PathBuf,
    shutdown: CancellationToken,
    serve: impl Fn(UnixStream) -> Served + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    // The data directory's lock says that no other process listens here.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing the old {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    let permissions = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, permissions).context("keeping others from the socket")?;
    Ok(tokio::spawn(async move {
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let served = serve(stream);
                    let door = path.clone();
                    tokio::spawn(async move {
                        if let Err(error) = served.await {
                            tracing::debug!(door = %door.display(), %error, "a caller went away");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(door = %path.display(), %error, "a caller cannot be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // Nobody listens here any more.
        let _ = std::fs::remove_file(&path);
    }))
}

/// Says something in a line of JSON.
pub(crate) async fn say(writer: &mut (impl AsyncWrite + Unpin), what: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(writer.write_all(&line).await?)
}
