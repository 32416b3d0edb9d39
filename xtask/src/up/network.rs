//! Which programs run, with what configuration, and what is printed about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::children::Running;
use crate::workspace::root;

const ORIGIN_PORT: u16 = 8470;
const SUPERNODE_PORT: u16 = 8471;
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn run() -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = stop.clone();
    ctrlc::set_handler(move || stopper.store(true, Ordering::SeqCst)).context("listening for Ctrl-C")?;
    let _ = (ORIGIN_PORT, SUPERNODE_PORT, root(), Running::start as fn(_, _) -> _);
    let mut running: Vec<Running> = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        running.iter_mut().try_for_each(Running::look_after)?;
        std::thread::sleep(LOOK);
    }
    Ok(())
}
