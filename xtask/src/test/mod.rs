//! All tests, from a clean checkout, each suite counted by what its own runner reports.
//!
//! What failed tests said stands below all suites. The last line is alone on its line and says `N passed, N failed`: the sum over all suites that were
//! asked for. A suite that could not run counts as a failure, never as nothing.

mod analysers;
pub(crate) mod contracts;
mod count;
mod failures;
pub(crate) mod s3;

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::process::{cargo, command, follow, run};
use crate::steps::Elapsed;
use crate::supernode::{UNIT_PACKAGES, selection};
use crate::tools;
use crate::workspace::root;
use count::Count;
use failures::Failures;

/// What can be tested by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// The protocol core, this tool, formatting, lints and the tree's own rules
    Unit,
    /// The simulator: many peers, one seed
    Sim,
    /// The supernode's crates and real processes on loopback, with the contracts on a real chain
    Net,
    /// Real browsers against real processes
    Web,
    /// Other implementations of the same protocols
    Interop,
    /// The S3 door, by unmodified clients
    S3,
    /// The contracts: their tests, gas and proofs
    Contracts,
}

const ALL: [Suite; 7] =
    [Suite::Unit, Suite::Sim, Suite::Net, Suite::S3, Suite::Web, Suite::Interop, Suite::Contracts];

/// Runs the suites asked for, or every one that exists.
pub(crate) fn run_suites(asked: &[Suite]) -> Result<()> {
    let suites = match asked {
        [] => ALL.into_iter().filter(|suite| suite.exists()).collect(),
        asked => asked.to_vec(),
    };
    let mut total = Count::default();
    let (mut lines, mut failures) = (Vec::new(), Failures::default());
    for suite in suites {
        let started = Instant::now();
        println!("\n── {suite:?} ──");
        let count = suite.run(&mut failures).unwrap_or_else(|error| {
            println!("✗ {suite:?} did not run: {error:#}");
            Count::one(false)
        });
        total.add(count);
        let time = Elapsed(started.elapsed());
        lines.push(format!("{suite:?}: {} passed, {} failed ({time})", count.passed, count.failed));
    }
    if !failures.lines().is_empty() {
        println!("\n── What failed ──\n{}", failures.lines().join("\n"));
    }
    println!("\n{}\n{} passed, {} failed", lines.join("\n"), total.passed, total.failed);
    if total.failed > 0 {
        // The closing line stays the last one: no report of an error after it.
        std::process::exit(1);
    }
    Ok(())
}

impl Suite {
    fn exists(self) -> bool {
        match self {
            Self::Unit | Self::Net => true,
            Self::Sim => root().join("shared/sim/src/main.rs").exists(),
            Self::Web => !scripts("playwright/specs").is_empty(),
            Self::Interop => !interop_directories().is_empty(),
            Self::S3 => root().join(s3::DIRECTORY).exists(),
            Self::Contracts => root().join("contracts").exists(),
        }
    }

    fn run(self, failures: &mut Failures) -> Result<Count> {
        match self {
            Self::Unit => unit(failures),
            Self::Sim => sim(),
            Self::Net => net(failures),
            Self::Web => web(failures),
            Self::Interop => interop(failures),
            Self::S3 => s3::run_suite(failures),
            Self::Contracts => contracts::run_suite(),
        }
    }
}

fn unit(failures: &mut Failures) -> Result<Count> {
    let mut count = Count::default();
    count.add(check("formatting", || run(&mut cargo(&["fmt", "--all", "--check"]))));
    count.add(check("the wire's generated code", || crate::codegen::run(true)));
    count.add(check("the tree's rules", crate::tidy::run));
    let mut lints = vec!["clippy", "--quiet", "--locked", "--all-targets"];
    let packages = UNIT_PACKAGES.iter().flat_map(|package| ["-p", package]);
    lints.extend(packages.clone());
    lints.extend(["--", "-D", "warnings"]);
    count.add(check("lints", || run(&mut cargo(&lints))));
    count.add(cargo_test(&packages.map(str::to_owned).collect::<Vec<_>>(), failures)?);
    Ok(count)
}

fn sim() -> Result<Count> {
    // The unit suite tests the simulator; here the program runs a small scenario with real peers, as a person
    // would. It ends badly where an invariant breaks or a tab does not finish.
    let mut arguments = vec!["run", "--locked", "--quiet", "-p", "sim", "--"];
    arguments.extend(["--scenario", "cdn_flash_crowd", "--seed", "1", "--peers", "10", "--size", "3000000"]);
    Ok(check("a small network, from one seed", || run(&mut cargo(&arguments))))
}

fn net(failures: &mut Failures) -> Result<Count> {
    // What is about money is tested on the chain that comes with the contracts.
    tools::npm_packages(contracts::DIRECTORY)?;
    cargo_test(&selection()?, failures)
}

fn web(failures: &mut Failures) -> Result<Count> {
    crate::up::prepare(crate::up::For::Tests)?;
    // An operator's wallet signs as the chain of the contracts does.
    tools::npm_packages(contracts::DIRECTORY)?;
    let mut count = check("the tab's weight", crate::tidy::tab_is_within_budget);
    count.add(node_test("playwright/specs", failures)?);
    Ok(count)
}

/// Each directory is one other implementation, with packages and a `test` script of its own.
fn interop(failures: &mut Failures) -> Result<Count> {
    tools::wasm_target()?;
    let wasm_bindgen = tools::wasm_bindgen()?;
    tools::chromium()?;
    let mut total = Count::default();
    for directory in interop_directories() {
        println!("· {directory}");
        tools::npm_packages(&directory)?;
        let mut test = command("npm", &["test", "--silent", "--prefix", &directory]);
        test.env("PATH", with_directory_of(&wasm_bindgen)?);
        let mut count = Count::default();
        let ended_well = follow(&mut test, |line| {
            count.read_check_line(line);
            failures.read_check_line(line);
        })?;
        if ended_well && count == Count::default() {
            count = Count::one(true);
        }
        total.add(count.judged(ended_well));
    }
    Ok(total)
}

fn interop_directories() -> Vec<String> {
    let parent = "playwright/interop";
    let Ok(entries) = std::fs::read_dir(root().join(parent)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut directories: Vec<_> = names.map(|name| format!("{parent}/{name}")).collect();
    directories.retain(|directory| root().join(directory).join("package.json").exists());
    directories.sort();
    directories
}

/// The search path with the directory of a tool that we built ourselves in front.
fn with_directory_of(tool: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = tool.parent().filter(|directory| directory.is_absolute()).map(Path::to_path_buf);
    Ok(std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))?)
}

/// One yes-or-no check, counted as one test.
fn check(name: &str, work: impl FnOnce() -> Result<()>) -> Count {
    let result = work();
    match &result {
        Ok(()) => println!("✓ {name}"),
        Err(error) => println!("✗ {name}: {error:#}"),
    }
    Count::one(result.is_ok())
}

fn cargo_test(packages: &[String], failures: &mut Failures) -> Result<Count> {
    let mut count = Count::default();
    let mut test = cargo(&["test", "--locked", "--no-fail-fast"]);
    let ended_well = follow(test.args(packages), |line| {
        count.read_cargo_line(line);
        failures.read_cargo_line(line);
    })?;
    Ok(count.judged(ended_well))
}

fn node_test(directory: &str, failures: &mut Failures) -> Result<Count> {
    let scripts = scripts(directory);
    let mut count = Count::default();
    let tap = root().join("target").join(format!("{}.tap", directory.replace('/', "-")));
    let _ = std::fs::remove_file(&tap);
    let mut command =
        command("node", &["--test", "--test-reporter=spec", "--test-reporter-destination=stdout"]);
    command.arg("--test-reporter=tap").arg(format!("--test-reporter-destination={}", tap.display()));
    // Browsers are heavy: on two cores, specs that run side by side time out on each other.
    command.arg("--test-concurrency=1").args(&scripts);
    let ended_well = follow(&mut command, |_| {})?;
    for line in std::fs::read_to_string(&tap).unwrap_or_default().lines() {
        count.read_tap_line(line);
        failures.read_tap_line(line);
    }
    Ok(count.judged(ended_well))
}

/// The test scripts of a directory, in order, from the top of the tree.
fn scripts(directory: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root().join(directory)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_test = |name: &String| name.ends_with(".spec.mjs") || name.ends_with(".test.mjs");
    let mut scripts: Vec<_> =
        names.filter(is_test).map(|name| Path::new(directory).join(name).display().to_string()).collect();
    scripts.sort();
    scripts
}
