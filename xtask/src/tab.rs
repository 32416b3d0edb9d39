//! The tab, as visitors get it: the wasm with its browser module, and the scripts beside it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::process::{cargo, run};
use crate::steps::{Outcome, step};
use crate::tidy::gzip_bytes;
use crate::tools::wasm_bindgen;
use crate::workspace::root;

/// What the gateway serves to visitors. Not `target/tab`: that is where cargo works for the profile `tab`.
pub(crate) fn directory() -> PathBuf {
    root().join("target/web")
}

/// Builds it; without changes since the last time this takes a second.
pub(crate) fn build() -> Result<()> {
    let wasm_bindgen = wasm_bindgen()?;
    let profile = "tab";
    step("the tab's wasm", || {
        let target = "wasm32-unknown-unknown";
        run(&mut cargo(&[
            "build",
            "--locked",
            "-p",
            "web-peer",
            "--lib",
            "--target",
            target,
            "--profile",
            profile,
        ]))?;
        let built = cargo_target().join(target).join(profile).join("web_peer.wasm");
        let bound = directory().join("web_peer_bg.wasm");
        if modified(&bound) >= modified(&built) && bound.exists() {
            return Ok(Outcome::Already(size(&bound)?));
        }
        std::fs::create_dir_all(directory())?;
        let mut bind =
            crate::process::command(&wasm_bindgen.to_string_lossy(), &["--target", "web", "--no-typescript"]);
        bind.arg("--remove-name-section").arg("--out-dir").arg(directory()).arg(&built);
        run(&mut bind)?;
        Ok(Outcome::Done(size(&bound)?))
    })?;
    step("the tab's scripts", || {
        let copied = copy_changed(&root().join("web-peer/js"), &directory())?;
        Ok(if copied == 0 {
            Outcome::Already("unchanged".into())
        } else {
            Outcome::Done(format!("{copied} files"))
        })
    })
}

pub(crate) fn cargo_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn size(file: &Path) -> Result<String> {
    let bytes = gzip_bytes(&std::fs::read(file).with_context(|| crate::workspace::shown(file))?)?;
    Ok(format!("{} KB gzipped", bytes / 1024))
}

/// Copies what is newer, folders and all; tells how many files that were.
pub(crate) fn copy_changed(from: &Path, to: &Path) -> Result<usize> {
    let mut copied = 0;
    std::fs::create_dir_all(to)?;
    let entries = std::fs::read_dir(from).with_context(|| crate::workspace::shown(from))?;
    for entry in entries {
        let source = entry?.path();
        let Some(name) = source.file_name() else { continue };
        let target = to.join(name);
        if source.is_dir() {
            copied += copy_changed(&source, &target)?;
        } else if !target.exists() || modified(&source) > modified(&target) {
            std::fs::copy(&source, &target)?;
            copied += 1;
        }
    }
    Ok(copied)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
