//! Fuzzing: libFuzzer over every parser of untrusted bytes, built by the ordinary toolchain.
//!
//! `unsafe` is forbidden in what is fuzzed, so coverage is all that is instrumented; no sanitizer, and hence
//! no nightly compiler, is needed. New inputs that reach new code are kept in `target/fuzz/corpus`; what is
//! worth keeping for ever is copied to `shared/fuzz/corpus` by hand.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, run};
use crate::steps::{Outcome, step};
use crate::workspace::root;

/// What libFuzzer steers by (LLVM SanitizerCoverage).
const COVERAGE: &str = "-Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table";
/// Instrumented code must not mix with build scripts, so the target is named even where it is the host.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Longer inputs than any control message find nothing new and cost time.
const INPUT_BYTES_MAX: u32 = 65_536;

/// Runs `inputs` inputs through the target named, or through each.
pub(crate) fn run_targets(only: Option<&str>, inputs: u64) -> Result<()> {
    step("build the fuzzer", || {
        let manifest = root().join("shared/fuzz/Cargo.toml");
        let manifest = manifest.to_string_lossy();
        let arguments = [
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--bin",
            "fuzz",
            "--target",
            TRIPLE,
            "--manifest-path",
        ];
        let mut build = cargo(&arguments);
        build.arg(manifest.as_ref()).env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", "target/fuzz");
        run(&mut build)?;
        Ok(Outcome::Done("instrumented".to_owned()))
    })?;
    let targets = targets()?;
    if let Some(only) = only
        && !targets.iter().any(|target| target == only)
    {
        bail!("there is no target {only}; there are: {}", targets.join(", "));
    }
    for target in targets.iter().filter(|target| only.is_none_or(|only| only == *target)) {
        step(target, || fuzz(target, inputs))?;
    }
    Ok(())
}

fn fuzz(target: &str, inputs: u64) -> Result<Outcome> {
    let found = root().join("target/fuzz/corpus").join(target);
    fs::create_dir_all(&found)?;
    let mut fuzzer =
        command(&format!("target/fuzz/{TRIPLE}/release/fuzz"), &["-print_final_stats=0", "-verbosity=0"]);
    fuzzer
        .env("BLACKHOLE_FUZZ_TARGET", target)
        .arg(format!("-runs={inputs}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .args(["-timeout=10", "-rss_limit_mb=1024"])
        .arg(format!("-artifact_prefix=target/fuzz/finding-{target}-"))
        .arg(&found)
        .arg(root().join("shared/fuzz/corpus").join(target));
    run(&mut fuzzer).context("a finding; the input is in target/fuzz/")?;
    Ok(Outcome::Done(format!("{inputs} inputs without a finding")))
}

/// A folder of the corpus is a target.
fn targets() -> Result<Vec<String>> {
    let corpus = root().join("shared/fuzz/corpus");
    let entries = fs::read_dir(&corpus).with_context(|| format!("{} cannot be read", corpus.display()))?;
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}
