//! What has to be on the machine, and how each thing gets there.
//!
//! Given rustup, Node and a C compiler, everything else is installed from here, inside the working tree
//! where that is possible (`target/tools`, `node_modules`), so that nothing of the machine is changed that
//! the person did not ask to change. The browser is the exception, and only tests want it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{answer, cargo, command, run};
use crate::steps::{Outcome, step};
use crate::workspace::root;

const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// The oldest Node that the test servers are run with.
const NODE_MAJOR_MIN: u32 = 20;
const CHROMIUM: &str = "/usr/bin/chromium";

/// The command that gets a missing program.
pub(crate) fn how_to_get(program: &str) -> &'static str {
    match program {
        "cargo" | "rustc" | "rustup" => "get it from https://rustup.rs",
        "node" | "npm" => "`apt-get install nodejs npm`, or https://nodejs.org (20 or newer)",
        "cc" => "`apt-get install gcc libc6-dev`, or on macOS `xcode-select --install`",
        "wasm-bindgen" => "`cargo xtask up` builds it",
        "chromium" => "`apt-get install chromium`",
        "git" => "`apt-get install git`",
        "python3" => "`apt-get install python3 python3-venv`",
        _ => "install it and try again",
    }
}

/// The standard library for the tab. `rustup` does not fetch it by itself where auto-install is off.
pub(crate) fn wasm_target() -> Result<()> {
    step("Rust for the browser", || {
        if wasm_target_is_there() {
            return Ok(Outcome::Already(format!("{WASM_TARGET} is installed")));
        }
        let mut add = command("rustup", &["target", "add", WASM_TARGET]);
        run(&mut add).context("without it no tab can be built")?;
        Ok(Outcome::Done(format!("{WASM_TARGET} installed")))
    })
}

/// The standard library's source: the tab is built with one that is made for size.
pub(crate) fn rust_source() -> Result<()> {
    step("Rust's own source", || {
        if rust_source_is_there() {
            return Ok(Outcome::Already("installed".into()));
        }
        let mut add = command("rustup", &["component", "add", "rust-src"]);
        run(&mut add).context("without it no tab can be built")?;
        Ok(Outcome::Done("installed".into()))
    })
}

fn rust_source_is_there() -> bool {
    let sysroot = answer("rustc", &["--print", "sysroot"]);
    sysroot.is_some_and(|at| Path::new(&at).join("lib/rustlib/src/rust/library/Cargo.lock").is_file())
}

fn wasm_target_is_there() -> bool {
    let library = answer("rustc", &["--print", "target-libdir", "--target", WASM_TARGET]);
    library.is_some_and(|directory| Path::new(&directory).is_dir())
}

/// The tool that makes a browser module of the tab's wasm: its version must be the lock file's, exactly.
pub(crate) fn wasm_bindgen() -> Result<PathBuf> {
    let version = locked_version("wasm-bindgen")?;
    let ours = root().join("target/tools/bin/wasm-bindgen");
    let mut found = None;
    step("wasm-bindgen", || {
        for candidate in [PathBuf::from("wasm-bindgen"), ours.clone()] {
            if wasm_bindgen_version(&candidate).as_deref() == Some(&version) {
                found = Some(candidate);
                return Ok(Outcome::Already(version.clone()));
            }
        }
        println!("  building wasm-bindgen {version} into target/tools, once; some minutes");
        let tools = root().join("target/tools");
        let mut install = cargo(&["install", "wasm-bindgen-cli", "--locked", "--version", &version]);
        install.arg("--root").arg(tools).env_remove("CARGO_TARGET_DIR");
        run(&mut install)?;
        found = Some(ours.clone());
        Ok(Outcome::Done(version.clone()))
    })?;
    found.context("wasm-bindgen was not found after it was built")
}

fn wasm_bindgen_version(program: &Path) -> Option<String> {
    let said = answer(&program.to_string_lossy(), &["--version"])?;
    said.split_whitespace().nth(1).map(str::to_owned)
}

/// The version of a crate in Cargo.lock.
fn locked_version(name: &str) -> Result<String> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).context("reading Cargo.lock")?;
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{name}\""));
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    Ok(version.with_context(|| format!("{name} is not in Cargo.lock"))?.trim_matches('"').to_owned())
}

/// The packages of one `package.json`, exactly as its lock file says; quick when they are there.
pub(crate) fn npm_packages(directory: &str) -> Result<()> {
    step(&format!("npm packages of {directory}"), || {
        let lock = root().join(directory).join("package-lock.json");
        // npm writes this file last, so an interrupted installation does not look finished.
        let installed = root().join(directory).join("node_modules/.package-lock.json");
        if modified(&installed) >= modified(&lock) && installed.exists() {
            return Ok(Outcome::Already("installed".into()));
        }
        node_is_there()?;
        let arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", directory];
        run(&mut command("npm", &arguments))?;
        Ok(Outcome::Done("installed".into()))
    })
}

pub(crate) fn node_is_there() -> Result<()> {
    let Some(version) = answer("node", &["--version"]) else {
        bail!("node is not installed: {}", how_to_get("node"));
    };
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major.unwrap_or(0) < NODE_MAJOR_MIN {
        bail!("node {version} is too old: {}", how_to_get("node"));
    }
    Ok(())
}

/// A browser for tests. Installed from the distribution where we may, named where we may not.
pub(crate) fn chromium() -> Result<()> {
    step("Chromium", || {
        if let Some(version) = chromium_version() {
            return Ok(Outcome::Already(version));
        }
        if answer("id", &["-u"]).as_deref() != Some("0") || answer("apt-get", &["--version"]).is_none() {
            bail!("{CHROMIUM} is missing: {}, or name another in CHROMIUM", how_to_get("chromium"));
        }
        let mut update = command("apt-get", &["update", "-q"]);
        run(&mut update)?;
        let arguments = ["install", "-qy", "--no-install-recommends", "chromium", "fonts-dejavu-core"];
        let mut install = command("apt-get", &arguments);
        run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
        Ok(Outcome::Done(chromium_version().unwrap_or_default()))
    })
}

fn chromium_version() -> Option<String> {
    let program = std::env::var("CHROMIUM").unwrap_or_else(|_| CHROMIUM.into());
    answer(&program, &["--version", "--no-sandbox"])
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Prints what is there, what is missing, and how to get it.
pub(crate) fn doctor() -> Result<()> {
    let bindgen = locked_version("wasm-bindgen")?;
    let ours = root().join("target/tools/bin/wasm-bindgen");
    let bindgen_found = [PathBuf::from("wasm-bindgen"), ours]
        .iter()
        .filter_map(|program| wasm_bindgen_version(program))
        .find(|version| *version == bindgen);
    let wasm = wasm_target_is_there().then(|| WASM_TARGET.to_owned());
    let source = rust_source_is_there().then(|| "rust-src".to_owned());
    let rows = [
        ("rustc", answer("rustc", &["--version"]), how_to_get("rustc")),
        ("wasm target", wasm, "`rustup target add wasm32-unknown-unknown`"),
        ("Rust's source", source, "`rustup component add rust-src`"),
        ("wasm-bindgen", bindgen_found, how_to_get("wasm-bindgen")),
        ("C compiler", answer("cc", &["-dumpversion"]), how_to_get("cc")),
        ("node", answer("node", &["--version"]), how_to_get("node")),
        ("npm", answer("npm", &["--version", "--loglevel=silent"]), how_to_get("npm")),
        ("python3 (tests only)", answer("python3", &["--version"]), how_to_get("python3")),
        ("chromium (tests only)", chromium_version(), how_to_get("chromium")),
    ];
    let mut missing = 0;
    for (name, found, remedy) in rows {
        match found {
            Some(version) => println!("✓ {name}: {}", version.lines().next().unwrap_or_default()),
            None => {
                missing += 1;
                println!("✗ {name}: missing; {remedy}");
            }
        }
    }
    println!("{}", if missing == 0 { "nothing is missing" } else { "`cargo xtask up` installs what it can" });
    Ok(())
}
