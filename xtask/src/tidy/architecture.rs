//! ARCHITECTURE.md names every room of the tree, and none that is not there.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Findings;
use crate::workspace::root;

const DOCUMENT: &str = "ARCHITECTURE.md";

pub(super) fn check(files: &[String], findings: &mut Findings) -> Result<()> {
    if !files.iter().any(|file| file == DOCUMENT) {
        findings.broken(format!("{DOCUMENT} is missing"));
        return Ok(());
    }
    let document = std::fs::read_to_string(root().join(DOCUMENT))?;
    let named = named_rooms(&document);
    for room in rooms(files) {
        if !named.contains(&room) {
            findings.broken(format!("{DOCUMENT} does not name {room}/"));
        }
    }
    for room in named.iter().filter(|room| !is_there(room, files) && !excused(&document).contains(*room)) {
        findings.broken(format!("{DOCUMENT} names {room}/, which does not exist"));
    }
    Ok(())
}

/// A folder may be named from the top of the tree, or from the room that is being described.
fn is_there(room: &str, files: &[String]) -> bool {
    files.iter().any(|file| file.starts_with(&format!("{room}/")) || file.contains(&format!("/{room}/")))
}

/// What the document itself says is not there yet, in the sentence that begins so.
fn excused(document: &str) -> BTreeSet<String> {
    document
        .split("Not there yet")
        .skip(1)
        .filter_map(|rest| rest.split('.').next())
        .flat_map(named_rooms)
        .collect()
}

/// Top-level folders and crates. A folder that begins with a dot is a tool's, not a room.
fn rooms(files: &[String]) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for file in files.iter().filter(|file| !file.starts_with('.')) {
        if let Some((top, _)) = file.split_once('/') {
            rooms.insert(top.to_owned());
        }
        if let Some(krate) = file.strip_suffix("/Cargo.toml") {
            rooms.insert(krate.to_owned());
        }
    }
    rooms
}

/// What stands in the document as `` `a/b/` ``, and the folders above it.
fn named_rooms(document: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for quoted in document.split('`').skip(1).step_by(2) {
        let Some(path) = quoted.strip_suffix('/') else { continue };
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_/.".contains(letter);
        if path.is_empty() || path.starts_with('/') || !path.chars().all(plain) {
            continue;
        }
        let mut prefix = String::new();
        for part in path.split('/') {
            prefix = if prefix.is_empty() { part.to_owned() } else { format!("{prefix}/{part}") };
            named.insert(prefix.clone());
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_folders_and_crates() {
        let files = ["README.md", ".ci/run", "shared/Cargo.toml", "shared/sim/Cargo.toml", "docs/adr/1.md"];
        let rooms = rooms(&files.map(str::to_owned));
        assert_eq!(rooms.into_iter().collect::<Vec<_>>(), ["docs", "shared", "shared/sim"]);
    }

    #[test]
    fn what_is_promised_is_excused() {
        let excused = excused("`a/` is. Not there yet: `portal/` and `contracts/`. `b/` is.");
        assert_eq!(excused.into_iter().collect::<Vec<_>>(), ["contracts", "portal"]);
    }

    #[test]
    fn only_quoted_folders_are_named() {
        let named = named_rooms("`shared/` and `docs/adr/`, `a/b`, `/ping/`, supernode/");
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["docs", "docs/adr", "shared"]);
    }
}
