//! The contracts: forge's unit, fuzz and invariant tests, what each act costs in gas, what is proved of them and
//! what slither says. The supernode's side of them is tested with the supernode.
//!
//! forge, anvil and the compiler come from npm (`contracts/package.json`). Gas is measured by itself, each call as a
//! transaction of its own, and compared with the committed snapshots to the last unit: a change of cost is then seen
//! in the change that caused it, as a change of `contracts/snapshots/`, which `cargo xtask bench gas` writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::check;
use super::count::Count;
use crate::process::{run, shown};
use crate::tools;
use crate::workspace::root;

pub(super) const DIRECTORY: &str = "contracts";
const FORGE: &str = "node_modules/@foundry-rs/forge-linux-amd64/bin/forge";
const GAS_TESTS: &str = "test/gas/*";
const SNAPSHOTS: &str = "snapshots";

/// What x402 publishes for its batch settlement, to stand beside our own figures.
const BESIDE: [(&str, &str, u64); 2] = [
    ("PaymentChannels", "claim, later, hot signer", 40_252),
    ("PaymentChannels", "claimPacked 10, hot signers", 192_043),
];

/// Group, name, figure.
type Snapshots = BTreeMap<String, BTreeMap<String, u64>>;

/// Writes or checks what Rust knows of the contracts.
pub(crate) fn interfaces(check: bool) -> Result<()> {
    crate::abi::generate(&forge()?, check)
}

pub(super) fn run_suite() -> Result<Count> {
    let forge = forge()?;
    let mut count = check("the contracts' formatting", || {
        run(Command::new(&forge).args(["fmt", "--check"]).current_dir(root().join(DIRECTORY)))
    });
    count.add(judge(&mut forge_test(&forge, &["--no-match-path", GAS_TESTS])).0);
    let (gas, snapshots) = judge(&mut forge_test(&forge, &["--isolate", "--match-path", GAS_TESTS]));
    count.add(gas);
    print_gas(&snapshots);
    count.add(check("gas is what the snapshots say", || compare(&committed()?, &snapshots)));
    count.add(check("Rust's interfaces are the contracts'", || interfaces(true)));
    count.add(super::analysers::run_suite(&forge));
    Ok(count)
}

/// Measures gas and writes the snapshots.
pub(crate) fn bench_gas() -> Result<()> {
    let (count, snapshots) = judge(&mut forge_test(&forge()?, &["--isolate", "--match-path", GAS_TESTS]));
    print_gas(&snapshots);
    if count.failed > 0 {
        bail!("a promise about gas is broken");
    }
    for (group, figures) in &snapshots {
        let figures: BTreeMap<_, _> =
            figures.iter().map(|(name, figure)| (name, figure.to_string())).collect();
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        std::fs::write(root().join(DIRECTORY).join(SNAPSHOTS).join(format!("{group}.json")), text)?;
    }
    println!("written to {DIRECTORY}/{SNAPSHOTS}");
    Ok(())
}

/// The invariants, for as many calls as are asked for.
pub(crate) fn bench_invariants(calls: u64) -> Result<()> {
    // As deep as in the suite's own run; what grows is how often a new history begins.
    const DEPTH: u64 = 200;
    // Each invariant contract gets as many; there are at least five.
    let runs = calls.div_ceil(DEPTH * 5);
    let mut test = forge_test(&forge()?, &["--match-path", "test/invariant/*"]);
    test.env("FOUNDRY_INVARIANT_RUNS", runs.to_string()).env("FOUNDRY_INVARIANT_DEPTH", DEPTH.to_string());
    let count = judge(&mut test).0;
    if count.failed > 0 {
        bail!("{} invariants are broken", count.failed);
    }
    Ok(())
}

fn forge() -> Result<PathBuf> {
    tools::npm_packages(DIRECTORY)?;
    let forge = root().join(DIRECTORY).join(FORGE);
    if !forge.exists() {
        bail!("npm has forge for Linux on x86-64 here, and {} is not there", crate::workspace::shown(&forge));
    }
    Ok(forge)
}

fn forge_test(forge: &Path, arguments: &[&str]) -> Command {
    let mut test = Command::new(forge);
    test.args(["test", "--json"]).args(arguments).current_dir(root().join(DIRECTORY));
    test
}

/// Runs forge and counts; whatever is not an answer of forge's is a failure.
fn judge(test: &mut Command) -> (Count, Snapshots) {
    let answer = test.stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
    let judged = answer.map_err(anyhow::Error::from).and_then(|answer| {
        let text = String::from_utf8_lossy(&answer.stdout);
        let report = read(&text).with_context(|| format!("`{}` answered: {text}", shown(test)))?;
        Ok((report.count.judged(answer.status.success()), report))
    });
    match judged {
        Ok((count, report)) => {
            for line in &report.lines {
                println!("{line}");
            }
            (count, report.snapshots)
        }
        Err(error) => {
            println!("✗ {error:#}");
            (Count::one(false), Snapshots::new())
        }
    }
}

#[derive(Default)]
struct Report {
    count: Count,
    lines: Vec<String>,
    snapshots: Snapshots,
}

/// forge's answer is one line of JSON; before it there may be lines about compiling.
fn read(text: &str) -> Result<Report> {
    let line = text.lines().rev().find(|line| line.starts_with('{')).context("there is no JSON in it")?;
    let answer: Value = serde_json::from_str(line)?;
    let mut report = Report::default();
    for (suite, suite_answer) in answer.as_object().context("it is no object")? {
        let results = suite_answer["test_results"].as_object().context("it names no results")?;
        let mut suite_count = Count::default();
        let (mut calls, mut reverts) = (0, 0);
        for (test, result) in results {
            let passed = result["status"] == "Success";
            suite_count.add(Count::one(passed));
            if !passed {
                let reason = result["reason"].as_str().unwrap_or("no reason given");
                report.lines.push(format!("✗ {suite} {test}: {reason} {}", result["counterexample"]));
            }
            // All invariants of a contract are asked after each call of one and the same run.
            let kind = &result["kind"]["Invariant"];
            calls = calls.max(kind["calls"].as_u64().unwrap_or(0));
            reverts = reverts.max(kind["reverts"].as_u64().unwrap_or(0));
            read_snapshots(&result["gas_snapshots"], &mut report.snapshots)?;
        }
        let name = suite.rsplit(':').next().unwrap_or(suite);
        let calls = if calls > 0 { format!(", {calls} calls, {reverts} reverted") } else { String::new() };
        report.lines.push(format!(
            "{} {name}: {} passed, {} failed{calls}",
            if suite_count.failed == 0 { '✓' } else { '✗' },
            suite_count.passed,
            suite_count.failed
        ));
        report.count.add(suite_count);
    }
    Ok(report)
}

/// `{"group": {"name": "123"}}`.
fn read_snapshots(groups: &Value, snapshots: &mut Snapshots) -> Result<()> {
    for (group, figures) in groups.as_object().into_iter().flatten() {
        for (name, figure) in figures.as_object().context("a group of figures is no object")? {
            let figure = figure.as_str().and_then(|figure| figure.parse().ok());
            let figure = figure.with_context(|| format!("{group}, {name} is no figure"))?;
            snapshots.entry(group.clone()).or_default().insert(name.clone(), figure);
        }
    }
    Ok(())
}

fn committed() -> Result<Snapshots> {
    let mut snapshots = Snapshots::new();
    for entry in std::fs::read_dir(root().join(DIRECTORY).join(SNAPSHOTS))? {
        let path = entry?.path();
        let Some(group) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let mut groups = serde_json::Map::new();
        groups.insert(group.to_owned(), serde_json::from_str(&std::fs::read_to_string(&path)?)?);
        read_snapshots(&Value::Object(groups), &mut snapshots)?;
    }
    Ok(snapshots)
}

fn compare(committed: &Snapshots, measured: &Snapshots) -> Result<()> {
    let figures = |snapshots: &Snapshots| -> BTreeMap<(String, String), u64> {
        let flat = snapshots.iter().flat_map(|(group, figures)| {
            figures.iter().map(|(name, figure)| ((group.clone(), name.clone()), *figure))
        });
        flat.collect()
    };
    let (committed, measured) = (figures(committed), figures(measured));
    let mut differences = Vec::new();
    for key in committed.keys().chain(measured.keys()) {
        let (was, is) = (committed.get(key), measured.get(key));
        let difference = format!("{}, {}: {was:?} is now {is:?}", key.0, key.1);
        if was != is && !differences.contains(&difference) {
            differences.push(difference);
        }
    }
    if measured.is_empty() || !differences.is_empty() {
        bail!("{}; `cargo xtask bench gas` writes them anew", differences.join("; "));
    }
    Ok(())
}

fn print_gas(snapshots: &Snapshots) {
    for (group, figures) in snapshots {
        for (name, figure) in figures {
            let unit = if group == "sizes" { "bytes" } else { "gas" };
            let beside = BESIDE.iter().find(|(of, what, _)| of == group && what == name);
            let beside = beside.map_or(String::new(), |(.., x402)| format!(" (x402 publishes {x402})"));
            println!("  {group}, {name}: {figure} {unit}{beside}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"Compiling 3 files
{"test/A.t.sol:A":{"test_results":{"test_a()":{"status":"Success","kind":{"Unit":{"gas":1}},"gas_snapshots":{"g":{"f":"43"}}},"test_b()":{"status":"Failure","reason":"why","counterexample":null,"kind":{"Unit":{}}}}},"test/B.t.sol:B":{"test_results":{"invariant_c()":{"status":"Success","kind":{"Invariant":{"calls":640,"reverts":2}}}}}}"#;

    #[test]
    fn forges_answer_is_counted() {
        let report = read(ANSWER).expect("an answer");
        assert_eq!(report.count, Count { passed: 2, failed: 1 });
        assert_eq!(report.snapshots["g"]["f"], 43);
        assert!(report.lines.iter().any(|line| line.contains("test_b(): why")), "{:?}", report.lines);
        assert!(report.lines.contains(&"✓ B: 1 passed, 0 failed, 640 calls, 2 reverted".to_owned()));
        assert!(read("Error: the compiler failed").is_err());
    }

    #[test]
    fn a_figure_that_changed_came_or_went_is_named() {
        let of = |figures: &[(&str, u64)]| -> Snapshots {
            let figures = figures.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect();
            BTreeMap::from([("g".to_owned(), figures)])
        };
        assert!(compare(&of(&[("a", 1)]), &of(&[("a", 1)])).is_ok());
        for measured in [of(&[("a", 2)]), of(&[]), of(&[("a", 1), ("b", 1)]), Snapshots::new()] {
            assert!(compare(&of(&[("a", 1)]), &measured).is_err(), "{measured:?}");
        }
        let error = compare(&of(&[("a", 1)]), &of(&[("a", 2)])).expect_err("it changed").to_string();
        assert!(error.contains("g, a: Some(1) is now Some(2)"), "{error}");
    }
}
