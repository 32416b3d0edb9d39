//! Which programs run, with what configuration, and what is printed about them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::children::Running;
use crate::process::{command, run as run_to_end};
use crate::steps::{Outcome, step};
use crate::tab;
use crate::workspace::root;

/// Everything the network keeps from one start to the next.
const DATA: &str = ".blackhole";
const LOOK: Duration = Duration::from_millis(200);

/// Starts a supernode and a publisher's web server, and stays until it is interrupted.
pub(super) fn run(port: u16) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = stop.clone();
    ctrlc::set_handler(move || stopper.store(true, Ordering::SeqCst)).context("listening for Ctrl-C")?;

    let site = format!("localhost:{port}");
    let data = root().join(DATA);
    std::fs::create_dir_all(&data)?;
    let publisher = publisher_key(&data)?;
    publish(&data, &site)?;

    let mut running = Vec::new();
    let mut edge = String::new();
    step("starting the supernode", || {
        let config = write_config(&data, port + 1, &site, &publisher)?;
        let (supernode, ready) =
            Running::start("supernode", blackhole(&["node", "run", "--config"]).arg(config))?;
        edge = ready["edge"].as_str().context("the supernode did not say where its edge is")?.to_owned();
        running.push(supernode);
        Ok(Outcome::Done(edge.clone()))
    })?;
    step("starting the publisher's web server", || {
        let tag = tag(&edge, &site, &publisher);
        let (origin, _) = Running::start("publisher", &mut origin(port, &tag))?;
        running.push(origin);
        Ok(Outcome::Done(format!("http://{site}")))
    })?;

    println!("\n  site       http://{site}   (open it in two windows)");
    println!("  supernode  {edge}/status");
    println!("  data       {DATA}/   (kept; remove it to begin anew)\n\nCtrl-C ends it.");
    while !stop.load(Ordering::SeqCst) {
        running.iter_mut().try_for_each(Running::look_after)?;
        std::thread::sleep(LOOK);
    }
    println!("\nending");
    Ok(())
}

fn blackhole(arguments: &[&str]) -> Command {
    command(&tab::cargo_target().join("debug/blackhole").to_string_lossy(), arguments)
}

/// The publisher's key, made at the first start; returns its public half.
fn publisher_key(data: &Path) -> Result<String> {
    let file = key_file(data);
    let verb = if file.exists() { "show" } else { "new" };
    let output = blackhole(&["key", verb]).arg(&file).output().context("`blackhole` cannot be started")?;
    if !output.status.success() {
        bail!("{} is no key: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn key_file(data: &Path) -> PathBuf {
    data.join("publisher.key")
}

/// Puts the site into the supernode's store. What has not changed is not stored again.
fn publish(data: &Path, site: &str) -> Result<()> {
    step("publishing the site", || {
        let mut publish = blackhole(&["publish", "target/site", "--site", site]);
        publish.arg("--key").arg(key_file(data)).arg("--data-dir").arg(data.join("supernode"));
        run_to_end(&mut publish)?;
        Ok(Outcome::Done(site.to_owned()))
    })
}

fn write_config(data: &Path, port: u16, site: &str, publisher: &str) -> Result<PathBuf> {
    let file = data.join("supernode.toml");
    let text = format!(
        "# Written by `cargo xtask up` at each start.\n\
         [node]\ndata_dir = {data_dir:?}\n\n\
         [edge]\nlisten = \"127.0.0.1:{port}\"\ntab_dir = {tab_dir:?}\n\n\
         [network]\nlocal_network = true\n\
         listen = [\"/ip4/127.0.0.1/tcp/{p2p}\", \"/ip4/127.0.0.1/tcp/{web}/ws\"]\n\n\
         [[cdn.sites]]\nname = \"{site}\"\npublisher = \"{publisher}\"\n",
        data_dir = data.join("supernode"),
        tab_dir = tab::directory(),
        p2p = port + 1,
        web = port + 2,
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

fn origin(port: u16, tag: &str) -> Command {
    let mut origin =
        command("node", &["playwright/servers/origin.mjs", "--root", "target/site", "--tag", tag]);
    let worker = format!("/sw.js={}", tab::directory().join("sw.js").display());
    origin.args(["--port", &port.to_string(), "--file", &worker]);
    origin
}

/// What a publisher pastes into a page. Everything here is on one machine, so the tabs may use its addresses.
fn tag(edge: &str, site: &str, publisher: &str) -> String {
    format!(
        "<script data-loader=\"{edge}/blackhole/tab/loader.js\" data-publisher=\"{publisher}\" \
         data-site=\"{site}\" data-sw=\"/sw.js\" data-consent=\"on\" data-local-network>{}</script>",
        include_str!("../../../web-peer/js/tag.js").trim_end()
    )
}
