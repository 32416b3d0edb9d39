//! Where things are in the working tree.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The top of the working tree, whichever directory the command was called from.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or(manifest.clone(), Path::to_path_buf)
}

/// A path as a reader knows it: from the top of the tree, with forward slashes.
pub(crate) fn shown(path: &Path) -> String {
    let root = root();
    path.strip_prefix(&root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// Names of the workspace's packages.
pub(crate) fn packages() -> Result<Vec<String>> {
    let output = crate::process::cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("`cargo metadata` did not answer")?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` named no packages")?;
    Ok(packages.iter().filter_map(|package| package["name"].as_str().map(str::to_owned)).collect())
}

/// The files of the tree that are ours: known to git or about to be, and still there.
pub(crate) fn files() -> Result<Vec<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = crate::process::answer("git", &arguments).context("`git ls-files` did not answer")?;
    let mut files: Vec<_> =
        listed.lines().map(str::to_owned).filter(|file| root().join(file).is_file()).collect();
    files.sort();
    files.dedup();
    Ok(files)
}
