//! The programs that `up` started: each tells when it is ready, and all of them end with it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::shown;

/// Longer than any start takes on a loaded machine; then something is wrong and waiting shows nothing.
const READY_WAIT: Duration = Duration::from_secs(60);
/// Time to close stores and connections properly.
const STOP_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// One program that runs beside us.
pub(super) struct Running {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it, and returns it with the JSON object that is its ready line.
    pub(super) fn start(name: &'static str, command: &mut Command) -> Result<(Self, Value)> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name}: `{}` cannot be started", shown(command)))?;
        let output = child.stdout.take().context("its output was not captured")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || pass_on(BufReader::new(output), &sender));
        let mut running = Self { name, child, lines };
        let ready = running.wait_until_ready()?;
        Ok((running, ready))
    }

    fn wait_until_ready(&mut self) -> Result<Value> {
        let until = Instant::now() + READY_WAIT;
        loop {
            match self.lines.recv_timeout(POLL) {
                Ok(line) => match serde_json::from_str::<Value>(&line) {
                    Ok(value) if value.is_object() => return Ok(value),
                    _ => println!("  {}: {line}", self.name),
                },
                Err(RecvTimeoutError::Disconnected) => bail!("{} ended before it was ready", self.name),
                Err(RecvTimeoutError::Timeout) if Instant::now() > until => {
                    bail!("{} was not ready after {} s", self.name, READY_WAIT.as_secs())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What it has said since it was ready; fails when it has ended by itself.
    pub(super) fn look_after(&mut self) -> Result<()> {
        while let Ok(line) = self.lines.try_recv() {
            println!("  {}: {line}", self.name);
        }
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended by itself with {status}", self.name),
            None => Ok(()),
        }
    }
}

fn pass_on(output: impl BufRead, sender: &Sender<String>) {
    for line in output.lines().map_while(Result::ok) {
        if sender.send(line).is_err() {
            return;
        }
    }
}

impl Drop for Running {
    /// Asks it to end, waits, and ends it when it will not.
    fn drop(&mut self) {
        // A program that reads its input sees the end of it; one that does not gets the signal.
        drop(self.child.stdin.take());
        if cfg!(unix) {
            let id = self.child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &id]).stderr(Stdio::null()).status();
        }
        let until = Instant::now() + STOP_WAIT;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        eprintln!("{} did not end within {} s and is stopped", self.name, STOP_WAIT.as_secs());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
