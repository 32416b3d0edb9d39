//! What is said of the contracts without running them: halmos proves `contracts/test/symbolic` for values that stand for
//! all values, and slither looks for mistakes that others have made before.
//!
//! Both come from PyPI, with all they need, in the versions of `contracts/test/requirements.txt`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::contracts::DIRECTORY;
use super::count::Count;
use super::{check, with_directory_of};
use crate::process::{follow, run};
use crate::python;
use crate::workspace::root;

const PROOFS: &str = "test/symbolic";
/// Apart from what forge's own tests use, and from each other: each wants the compiler asked in its own way.
const COMPILED: &str = "../target/contracts";
/// What each of two solvers proves, by the contracts' names: about as much.
const HALVES: [(&str, &str); 2] = [("halmos-escrow", "^Escrow"), ("halmos-others", "^(?!Escrow)")];
/// The solver answers in milliseconds. Where it has not in this time, nothing is proved, and that is a failure.
const SOLVER_TIMEOUT: &str = "60s";

/// Proves and looks; each proof is counted as one test. What cannot be asked has not said yes: where a tool cannot be
/// installed, that is a failure, and everything else is tested anyway.
pub(super) fn run_suite(forge: &Path) -> Count {
    let programs = match python::environment("contracts", &format!("{DIRECTORY}/test/requirements.txt")) {
        Ok(programs) => programs,
        Err(error) => {
            println!("✗ halmos and slither cannot be installed: {error:#}");
            return Count { passed: 0, failed: 2 };
        }
    };
    let mut count = proofs(&programs, forge).unwrap_or_else(|error| {
        println!("✗ nothing was proved: {error:#}");
        Count::one(false)
    });
    count.add(check("slither finds nothing that is not explained", || slither(&programs, forge)));
    count
}

/// Both halves at once: a proof takes one core.
fn proofs(programs: &Path, forge: &Path) -> Result<Count> {
    let halves = std::thread::scope(|scope| {
        HALVES
            .map(|(name, contracts)| scope.spawn(move || half(programs, forge, name, contracts)))
            .map(|half| half.join().expect("it returns what went wrong"))
    });
    let mut count = Count::default();
    for half in halves {
        count.add(half?);
    }
    Ok(count)
}

fn half(programs: &Path, forge: &Path, name: &str, contracts: &str) -> Result<Count> {
    let mut halmos = analyser(programs, "halmos", name, forge)?;
    let report = root().join("target/contracts").join(name).join("report.json");
    // What another run said is no answer to this one.
    let _ = std::fs::remove_file(&report);
    halmos.env("FOUNDRY_TEST", PROOFS).args(["--match-contract", contracts, "--no-status"]);
    halmos.args(["--solver-timeout-assertion", SOLVER_TIMEOUT, "--forge-build-out"]);
    halmos.arg(format!("{COMPILED}/{name}/out")).arg("--json-output").arg(&report);
    let ended_well = follow(&mut halmos, |_| {})?;
    let text = std::fs::read_to_string(&report).context("halmos left no report")?;
    Ok(read(&text)?.judged(ended_well))
}

fn slither(programs: &Path, forge: &Path) -> Result<()> {
    let mut slither = analyser(programs, "slither", "slither", forge)?;
    run(slither.args([".", "--foundry-out-directory", &format!("{COMPILED}/slither/out")]))
}

/// One that keeps what forge compiles for it under a name of its own.
fn analyser(programs: &Path, program: &str, name: &str, forge: &Path) -> Result<Command> {
    let mut analyser = Command::new(programs.join(program));
    analyser.current_dir(root().join(DIRECTORY)).env("PATH", with_directory_of(forge)?);
    analyser.env("FOUNDRY_OUT", format!("{COMPILED}/{name}/out"));
    analyser.env("FOUNDRY_CACHE_PATH", format!("{COMPILED}/{name}/cache"));
    Ok(analyser)
}

/// A proof holds where no value breaks it and no loop was left before its end.
fn read(report: &str) -> Result<Count> {
    let report: Value = serde_json::from_str(report)?;
    let mut count = Count::default();
    for (contract, proofs) in report["test_results"].as_object().context("the report names no contracts")? {
        for proof in proofs.as_array().with_context(|| format!("the report names no proofs of {contract}"))? {
            let complete = proof["num_bounded_loops"] == 0;
            if !complete {
                println!("✗ {}: no loop may be left before its end", proof["name"]);
            }
            count.add(Count::one(proof["exitcode"] == 0 && complete));
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_counts_where_it_is_whole() {
        let proof = |exit: u32, loops: &str| {
            format!(r#"{{"name": "check_it()", "exitcode": {exit}, "num_bounded_loops": {loops}}}"#)
        };
        let report = |proofs: &[String]| {
            format!(r#"{{"exitcode": 0, "test_results": {{"a.sol:A": [{}]}}}}"#, proofs.join(","))
        };
        let proofs = [proof(0, "0"), proof(1, "0"), proof(2, "null"), proof(0, "1"), proof(0, "null")];
        assert_eq!(read(&report(&proofs)).expect("a report"), Count { passed: 1, failed: 4 });
        assert_eq!(read(&report(&[])).expect("a report"), Count::default());
        assert!(read(r#"{"exitcode": 1, "test_results": null}"#).is_err());
    }
}
