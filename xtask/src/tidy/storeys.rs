//! Each storey of the core imports only from below; no service knows another, in any layer.

use anyhow::Result;

use super::Findings;
use super::source::{code_only, paths};
use crate::workspace::root;

const SERVICES: [&str; 5] = ["cdn", "compute", "bandwidth", "storage", "hosting"];

/// Storeys from the ground up; what shares a storey does not import each other. Identity stands on the wire,
/// because what is signed is what is encoded.
const STOREYS: [&[&str]; 6] =
    [&["base"], &["wire"], &["identity"], &["economy", "coordination"], &SERVICES, &["peer"]];

pub(super) fn check(files: &[String], findings: &mut Findings) -> Result<()> {
    for file in files.iter().filter(|file| file.starts_with("shared/src/") && file.ends_with(".rs")) {
        let code = code_only(&std::fs::read_to_string(root().join(file))?);
        for (line, what) in wrong_imports(file, &code) {
            findings.broken(format!("{file}:{line}: {what}"));
        }
    }
    for service in SERVICES {
        let manifest = format!("supernode/{service}/Cargo.toml");
        if files.contains(&manifest) {
            let text = std::fs::read_to_string(root().join(&manifest))?;
            for other in dependencies(&text).filter(|name| *name != service && SERVICES.contains(name)) {
                findings.broken(format!("{manifest}: service {service} depends on service {other}"));
            }
        }
    }
    Ok(())
}

fn wrong_imports(file: &str, code: &str) -> Vec<(usize, String)> {
    let Some((room, here)) = room_of_file(file) else { return Vec::new() };
    let mut wrong = Vec::new();
    for (line, path) in paths(code, "crate") {
        let there = path.split("::").nth(1).unwrap_or_default();
        let Some(storey) = storey_of(there) else { continue };
        if there != room && storey >= here {
            let direction = if storey == here { "sideways" } else { "upward" };
            wrong.push((line, format!("{room} imports {direction} from {there} ({path})")));
        }
    }
    wrong
}

/// The part of the core that a file belongs to, with its storey.
fn room_of_file(file: &str) -> Option<(&str, usize)> {
    let room = file.strip_prefix("shared/src/")?.split('/').next()?;
    let room = room.strip_suffix(".rs").unwrap_or(room);
    Some((room, storey_of(room)?))
}

fn storey_of(room: &str) -> Option<usize> {
    STOREYS.iter().position(|storey| storey.contains(&room))
}

/// What a manifest's `[dependencies]` names.
pub(super) fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut wanted = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            wanted = line.trim() == "[dependencies]" || line.ends_with(".dependencies]");
            return None;
        }
        let name = line.split(['=', '.']).next()?.trim();
        (wanted && !name.is_empty() && !name.starts_with('#')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, code: &str, expect: &[&str]) {
        let wrong = wrong_imports(file, code);
        assert_eq!(wrong.len(), expect.len(), "{wrong:?}");
        for ((_, what), expected) in wrong.iter().zip(expect) {
            assert!(what.contains(expected), "{what}");
        }
    }

    #[test]
    fn downward_is_right_and_every_other_way_is_wrong() {
        check("shared/src/cdn/picker.rs", "use crate::base::Id; use crate::cdn::wire;", &[]);
        check(
            "shared/src/cdn/picker.rs",
            "use crate::{peer::Peer, storage};",
            &["upward from peer", "sideways from storage"],
        );
        check("shared/src/base/ids.rs", "let a = crate::wire::encode();", &["upward from wire"]);
        check("shared/src/identity/mod.rs", "use crate::wire::Frame;", &[]);
        check("shared/src/wire/mod.rs", "use crate::identity::Key;", &["upward from identity"]);
        check(
            "shared/src/economy/mod.rs",
            "use crate::coordination::Lease;",
            &["sideways from coordination"],
        );
        check("shared/src/peer/mod.rs", "use crate::{cdn, storage, base};", &[]);
        check("shared/src/lib.rs", "pub use crate::peer::Peer;", &[]);
    }

    #[test]
    fn only_dependencies_are_dependencies() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nruntime.workspace = true\n# no\ncdn = { path = \"x\" }\n\n[dev-dependencies]\nstorage = \"1\"\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["runtime", "cdn"]);
    }
}
