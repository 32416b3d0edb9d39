//! The supernode's program and tests, built with one selection of packages.
//!
//! What a library has switched on follows from all packages that are built at once: with two selections most
//! libraries would be compiled twice, which takes longer than all tests of a suite.

use anyhow::Result;

use crate::process::{cargo, run};
use crate::workspace::packages;

/// The packages that another suite tests, in seconds.
pub(crate) const UNIT_PACKAGES: [&str; 4] = ["shared", "sim", "xtask", "shelf"];

/// This one is built for the browser and tested there.
const BROWSER_PACKAGE: &str = "web-peer";

/// All packages that are tested natively with the supernode, as cargo's arguments.
pub(crate) fn selection() -> Result<Vec<String>> {
    let mut packages = packages()?;
    packages.retain(|name| name != BROWSER_PACKAGE && !UNIT_PACKAGES.contains(&name.as_str()));
    Ok(packages.into_iter().flat_map(|name| ["-p".into(), name]).collect())
}

/// Builds `target/debug/blackhole` as its own tests use it.
pub(crate) fn build_for_tests() -> Result<()> {
    let mut build = cargo(&["test", "--no-run", "--locked", "--test", "node"]);
    run(build.args(selection()?))
}
