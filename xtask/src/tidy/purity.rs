//! `shared` has no IO, no async, no clock, no randomness of its own and no order that a run would not repeat.

use anyhow::Result;

use super::Findings;
use super::source::{code_only, lines_with_word, paths};
use super::storeys::dependencies;
use crate::workspace::root;

/// Paths of the standard library that would bring the world in, each with what to do instead.
const STANDARD: [(&str, &str); 11] = [
    ("std::time", "import what you need of it, one name after the other"),
    ("std::time::*", "import what you need of it, one name after the other"),
    ("std::time::Instant", "take `now` as an argument"),
    ("std::time::SystemTime", "take unix time as an argument"),
    ("std::net", "addresses are in core::net; sockets belong to a shell"),
    ("std::fs", "files belong to a shell"),
    ("std::env", "take configuration as an argument"),
    ("std::process", "processes belong to a shell"),
    ("std::thread", "threads belong to a shell"),
    ("std::collections::HashMap", "BTreeMap: a seed must replay"),
    ("std::collections::HashSet", "BTreeSet: a seed must replay"),
];

const WORDS: [(&str, &str); 8] = [
    ("SystemTime", "take unix time as an argument"),
    ("HashMap", "BTreeMap: a seed must replay"),
    ("HashSet", "BTreeSet: a seed must replay"),
    ("tokio", "async belongs to a shell"),
    ("async", "async belongs to a shell"),
    ("thread_rng", "take a seed as an argument"),
    ("getrandom", "take a seed as an argument"),
    ("OsRng", "take a seed as an argument"),
];

const CRATES: [&str; 6] = ["tokio", "futures", "rand", "getrandom", "libp2p", "mio"];

pub(super) fn check(files: &[String], findings: &mut Findings) -> Result<()> {
    for file in files.iter().filter(|file| file.starts_with("shared/src/") && file.ends_with(".rs")) {
        // Tests may do what they need: they are not in what the shells drive.
        if file.ends_with("/tests.rs") || file.contains("/tests/") {
            continue;
        }
        let code = code_only(&std::fs::read_to_string(root().join(file))?);
        for (line, what) in impurities(&code) {
            findings.broken(format!("{file}:{line}: {what}"));
        }
    }
    let manifest = std::fs::read_to_string(root().join("shared/Cargo.toml"))?;
    for name in dependencies(&manifest).filter(|name| CRATES.contains(name)) {
        findings.broken(format!("shared/Cargo.toml: {name} has no place in the core"));
    }
    Ok(())
}

/// Whether a path is the banned one or inside it. A bare module is named by itself, not by its contents.
fn reaches(path: &str, banned: &str) -> bool {
    path == banned || (banned != "std::time" && path.starts_with(&format!("{banned}::")))
}

fn impurities(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, path) in paths(code, "std") {
        let rule = STANDARD.iter().find(|(banned, _)| reaches(&path, banned));
        if let Some((banned, instead)) = rule {
            found.push((line, format!("{banned}: {instead}")));
        }
    }
    for (word, instead) in WORDS {
        for line in lines_with_word(code, word) {
            if !found.iter().any(|(other, what)| *other == line && what.contains(word)) {
                found.push((line, format!("{word}: {instead}")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_kept_out() {
        let bad = "use std::{collections::{BTreeMap, HashMap}, time::{Duration, Instant}};\nuse std::net::IpAddr;\nasync fn f() {}\nlet t = std::time::SystemTime::now();";
        let found = impurities(bad);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 1, 2, 4, 3], "{found:?}");
        assert!(
            impurities("use std::{collections::BTreeMap, time::Duration}; use core::net::IpAddr;").is_empty()
        );
    }
}
