//! Files stay readable, and what a visitor downloads stays small.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Findings;
use crate::workspace::{root, shown};

/// One idea a file: longer than this is uneasy, longer than twice the usual is not read any more.
const LINES_UNEASY: usize = 600;
const LINES_MAX: usize = 900;

/// The budgets of issue and design: nothing of it is on the critical path, and still it is paid by visitors.
const WASM_GZIP_BYTES_MAX: usize = 400 * 1024;
const LOADER_GZIP_BYTES_MAX: usize = 15 * 1024;
/// What keeps shards is paid by those alone who agreed to that, after they did.
const SHELF_GZIP_BYTES_MAX: usize = 96 * 1024;

const CODE: [&str; 9] = [".rs", ".mjs", ".js", ".ts", ".proto", ".css", ".html", ".sol", ".py"];

pub(super) fn check(files: &[String], findings: &mut Findings) -> Result<()> {
    for file in files.iter().filter(|file| is_ours_to_read(file)) {
        let lines = std::fs::read_to_string(root().join(file))?.lines().count();
        if lines > LINES_MAX {
            findings.broken(format!("{file}: {lines} lines, at most {LINES_MAX}"));
        } else if lines > LINES_UNEASY {
            findings.warn(format!("{file}: {lines} lines, uneasy past {LINES_UNEASY}"));
        }
    }
    check_tab(findings)
}

/// What visitors download, where it has been built.
fn check_tab(findings: &mut Findings) -> Result<()> {
    let tab = crate::tab::directory();
    budget(&tab.join("peer_bg.wasm"), WASM_GZIP_BYTES_MAX, findings)?;
    budget(&tab.join("shelf_bg.wasm"), SHELF_GZIP_BYTES_MAX, findings)?;
    budget(&tab.join("loader.js"), LOADER_GZIP_BYTES_MAX, findings)
}

/// The same by itself, for whoever has just built it: on a clean tree the rules are checked long before.
pub(crate) fn tab_is_within_budget() -> Result<()> {
    let mut findings = Findings::default();
    check_tab(&mut findings)?;
    findings.judge()
}

fn is_ours_to_read(file: &str) -> bool {
    CODE.iter().any(|ending| file.ends_with(ending)) && !file.contains("/generated/")
}

fn budget(file: &Path, gzip_bytes_max: usize, findings: &mut Findings) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let bytes = gzip_bytes(&std::fs::read(file)?)?;
    if bytes > gzip_bytes_max {
        findings.broken(format!("{}: {bytes} bytes gzipped, at most {gzip_bytes_max}", shown(file)));
    } else {
        println!("{}: {bytes} bytes gzipped of {gzip_bytes_max}", shown(file));
    }
    Ok(())
}

/// The size on the wire, as a web server would send it.
pub(crate) fn gzip_bytes(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}
