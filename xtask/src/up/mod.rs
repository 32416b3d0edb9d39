//! The whole network on this machine: a publisher with a real site, a supernode, and the URLs to open.
//!
//! Everything that is missing is installed first, each step said aloud with its time. What the supernode
//! stores stays in `.blackhole/` and is there again at the next start.

mod children;
mod network;

use anyhow::{Result, bail};

use crate::process::{answer, cargo, run};
use crate::steps::{Outcome, step};
use crate::{tab, tools};

/// Who will use what is prepared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Somebody with a browser of their own.
    People,
    /// Specs that bring a browser along.
    Tests,
}

/// Prepares, starts, and stays until Ctrl-C.
pub(crate) fn run_network(port: u16) -> Result<()> {
    prepare(For::People)?;
    network::run(port)
}

/// Builds what an operator runs: one program, optimised, with the tab's files in it.
pub(crate) fn dist() -> Result<()> {
    tools::wasm_target()?;
    tab::build()?;
    step("the supernode, with the tab in it", || {
        let build = ["build", "--locked", "--release", "-p", "supernode", "--bin", "blackhole"];
        run(cargo(&build).args(["--features", "embedded-tab"]))?;
        Ok(Outcome::Done("target/release/blackhole".into()))
    })
}

/// Installs what is missing and builds what has changed.
pub(crate) fn prepare(whom: For) -> Result<()> {
    step("tools", || {
        if answer("cc", &["--version"]).is_none() {
            bail!("no C compiler: {}", tools::how_to_get("cc"));
        }
        tools::node_is_there()?;
        Ok(Outcome::Already("a C compiler and Node are there".into()))
    })?;
    tools::wasm_target()?;
    tools::npm_packages("playwright/site")?;
    if whom == For::Tests {
        tools::npm_packages("playwright")?;
        tools::chromium()?;
    }
    tab::build()?;
    step("the supernode", || {
        match whom {
            For::People => run(&mut cargo(&["build", "--locked", "-p", "supernode", "--bin", "blackhole"]))?,
            For::Tests => crate::supernode::build_for_tests()?,
        }
        Ok(Outcome::Done("target/debug/blackhole".into()))
    })?;
    step("the demonstration site", || {
        run(&mut crate::process::command("node", &["playwright/site/assemble.mjs"]))?;
        Ok(Outcome::Done("target/site".into()))
    })
}
