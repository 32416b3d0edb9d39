//! The contracts' interfaces and code, for Rust: `contracts/abi/json`, written from what the compiler gave.
//!
//! The files are committed, so that building the supernode needs no Node; the contracts' tests check that they are still
//! what the sources give.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::run;
use crate::workspace::root;

const COMPILED: &str = "target/contracts/out";
const COMMITTED: &str = "contracts/abi/json";
/// The five of `contracts/src`, and the token that tests deploy.
const CONTRACTS: [&str; 6] =
    ["PaymentChannels", "PaymentManager", "StakeRegistry", "Payouts", "ReputationAnchor", "Dollar"];

/// Compiles with `forge` and writes the files, or with `check` fails where they are not what it gives.
pub(crate) fn generate(forge: &Path, check: bool) -> Result<()> {
    run(Command::new(forge)
        .args(["build", "--quiet"])
        .current_dir(root().join("contracts"))
        .stdin(Stdio::null()))?;
    let mut stale = Vec::new();
    for (file, text) in wanted()? {
        let path = root().join(COMMITTED).join(&file);
        if std::fs::read_to_string(&path).is_ok_and(|committed| committed == text) {
            continue;
        }
        if check {
            stale.push(file);
        } else {
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            println!("wrote {COMMITTED}/{file}");
        }
    }
    if !stale.is_empty() {
        bail!("{} differ; `cargo xtask codegen --contracts` writes them anew", stale.join(", "));
    }
    Ok(())
}

fn wanted() -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for contract in CONTRACTS {
        let path = root().join(COMPILED).join(format!("{contract}.sol/{contract}.json"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut text = serde_json::to_string_pretty(&extract(&serde_json::from_str(&text)?)?)?;
        text.push('\n');
        files.insert(format!("{contract}.json"), text);
    }
    Ok(files)
}

/// Interface and code, nothing of the machine that compiled it.
fn extract(compiled: &Value) -> Result<Value> {
    let abi = compiled.get("abi").context("the compiler gave no interface")?;
    let code = compiled.pointer("/bytecode/object").and_then(Value::as_str);
    let code = code.filter(|code| code.starts_with("0x") && code.len() > 2);
    Ok(json!({ "abi": abi, "bytecode": code.context("the compiler gave no code")? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_and_code_are_taken_and_nothing_else() {
        let compiled = json!({ "abi": [1], "bytecode": { "object": "0x60" }, "metadata": "m" });
        let extracted = extract(&compiled).expect("it has both");
        assert_eq!(extracted, json!({ "abi": [1], "bytecode": "0x60" }));
        assert!(extract(&json!({ "abi": [1], "bytecode": { "object": "0x" } })).is_err());
        assert!(extract(&json!({ "bytecode": { "object": "0x60" } })).is_err());
    }
}
