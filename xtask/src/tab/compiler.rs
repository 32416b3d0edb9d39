//! The tab's compiler: rustc without what every visitor would download and no tab would use.
//!
//! - The standard library is built for size, and a panic is a trap: nobody reads its message in a visitor's
//!   worker, and the texts and the machinery that prints them are a tenth of the download.
//! - Features that a library turns on for its own dependencies, and that cargo has no way to turn off again,
//!   are kept from the compiler: cargo calls this program in rustc's place, which passes all else on.
//!
//! Both want the standard library's source, and flags that rustc calls unstable; the toolchain is pinned, so
//! they mean the same thing everywhere. `docs/adr/0004-what-a-visitor-downloads.md` has the figures.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// By it this program knows that it is called in rustc's place.
const IN_PLACE_OF_RUSTC: &str = "BLACKHOLE_TAB_COMPILER";

pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// Crate and feature. Each is off by the library's own manifest for whoever asks; nobody between us and it does.
const FEATURES_OFF: [(&str, &str); 3] = [
    // 38 KB of random numbers that make a signature three times as quick. A tab makes a few a minute.
    ("curve25519_dalek", "precomputed-tables"),
    // libp2p's Noise is ChaCha20-Poly1305 with SHA-256, and nothing else.
    ("snow", "use-aes-gcm"),
    ("snow", "use-blake2"),
];

/// Makes `cargo` build for the tab.
pub(super) fn prepare(cargo: &mut Command) -> Result<()> {
    let this = std::env::current_exe().context("where this program is")?;
    cargo.args(["--target", TARGET, "-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
    // Beside the flags of .cargo/config.toml, not instead of them.
    cargo.args(["--config", r#"target.wasm32-unknown-unknown.rustflags=["-Zunstable-options","-Cpanic=immediate-abort","-Zlocation-detail=none","-Zfmt-debug=none"]"#]);
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTC_WRAPPER", this).env(IN_PLACE_OF_RUSTC, "1");
    Ok(())
}

/// Whether cargo calls this program in rustc's place.
pub(crate) fn is_asked() -> bool {
    std::env::var_os(IN_PLACE_OF_RUSTC).is_some()
}

/// Is rustc. The arguments are rustc's path, then what it is to do.
pub(crate) fn run() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next().unwrap_or_else(|| "rustc".into());
    let arguments = without_features_off(&arguments.collect::<Vec<_>>());
    match Command::new(&rustc).args(arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{} cannot be started: {error}", rustc.display());
            ExitCode::FAILURE
        }
    }
}

/// What is compiled for this machine, such as a build script, stays as it is.
fn without_features_off(arguments: &[OsString]) -> Vec<OsString> {
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).and_then(|value| value.to_str())
    };
    let name = if after("--target") == Some(TARGET) { after("--crate-name") } else { None };
    let off: Vec<OsString> = FEATURES_OFF
        .iter()
        .filter(|(of, _)| Some(*of) == name)
        .map(|(_, feature)| format!("feature=\"{feature}\"").into())
        .collect();
    let mut kept: Vec<OsString> = Vec::new();
    for argument in arguments {
        let of_cfg = kept.last().is_some_and(|before| before == OsStr::new("--cfg"));
        if of_cfg && off.contains(argument) {
            kept.pop();
        } else {
            kept.push(argument.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        let arguments: Vec<OsString> = text.split(' ').map(OsString::from).collect();
        let kept = without_features_off(&arguments);
        kept.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn features_are_off_for_the_tab_and_for_nothing_else() {
        let curve =
            r#"--crate-name curve25519_dalek --cfg feature="alloc" --cfg feature="precomputed-tables""#;
        let tab = "--target wasm32-unknown-unknown";
        assert_eq!(
            kept(&format!("{curve} {tab}")),
            format!(r#"--crate-name curve25519_dalek --cfg feature="alloc" {tab}"#)
        );
        assert_eq!(kept(curve), curve);
        let other = format!("{} {tab}", curve.replace("curve25519_dalek", "another"));
        assert_eq!(kept(&other), other);
    }
}
