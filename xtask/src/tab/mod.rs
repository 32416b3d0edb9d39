//! The tab, as visitors get it: the wasm with its browser module, and the scripts beside it.

pub(crate) mod compiler;
mod order;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::process::{cargo, command, run};
use crate::steps::{Outcome, step};
use crate::tidy::gzip_bytes;
use crate::tools::{rust_source, wasm_bindgen};
use crate::workspace::root;

/// What the gateway serves to visitors. Not `target/tab`: that is where cargo works for the profile `tab`.
pub(crate) fn directory() -> PathBuf {
    root().join("target/web")
}

/// A module of the tab's: its package, its wasm as cargo names it, its name where it is served.
struct Part {
    what: &'static str,
    package: &'static str,
    wasm: &'static str,
    name: &'static str,
}

/// Each is built alone: together, the peer would have the features that the shelf wants of what they share.
const PARTS: [Part; 2] = [
    Part { what: "the tab's wasm", package: "web-peer", wasm: "web_peer.wasm", name: "peer" },
    Part { what: "the shelf's wasm", package: "shelf", wasm: "shelf.wasm", name: "shelf" },
];

/// Builds it; without changes since the last time this takes a second.
pub(crate) fn build() -> Result<()> {
    let wasm_bindgen = wasm_bindgen()?;
    rust_source()?;
    for part in &PARTS {
        step(part.what, || build_part(&wasm_bindgen, part))?;
    }
    step("the tab's scripts", || {
        let copied = copy_changed(&root().join("web-peer/js"), &directory())?;
        write_service_worker()?;
        let loader_bytes = write_loader()?;
        compress()?;
        let loader = format!("loader {:.1} KB gzipped", loader_bytes as f64 / 1024.0);
        Ok(if copied == 0 { Outcome::Already(loader) } else { Outcome::Done(loader) })
    })
}

/// An example of the tab's package, compiled as the tab is; tells the directory of its module.
pub(crate) fn example(name: &str) -> Result<PathBuf> {
    let wasm_bindgen = wasm_bindgen()?;
    rust_source()?;
    let built = compile("web-peer", &["--example", name])?.join("examples").join(format!("{name}.wasm"));
    let directory = root().join("target/examples").join(name);
    run(bind(&wasm_bindgen, name, &directory).arg(&built))?;
    Ok(directory)
}

/// Compiles a part of a package for visitors; tells the directory that cargo puts it into.
fn compile(package: &str, part: &[&str]) -> Result<PathBuf> {
    const PROFILE: &str = "tab";
    let mut build = cargo(&["build", "--locked", "-p", package, "--profile", PROFILE]);
    compiler::prepare(build.args(part))?;
    run(&mut build)?;
    Ok(cargo_target().join(compiler::TARGET).join(PROFILE))
}

/// Makes a browser module of what is still to be named.
fn bind(wasm_bindgen: &Path, name: &str, directory: &Path) -> Command {
    let mut bind = command(&wasm_bindgen.to_string_lossy(), &["--target", "web", "--no-typescript"]);
    bind.args(["--remove-name-section", "--out-name", name, "--out-dir"]).arg(directory);
    bind
}

fn build_part(wasm_bindgen: &Path, part: &Part) -> Result<Outcome> {
    let built = compile(part.package, &["--lib"])?.join(part.wasm);
    let bound = directory().join(format!("{}_bg.wasm", part.name));
    if modified(&bound) >= modified(&built) && bound.exists() {
        return Ok(Outcome::Already(size(&bound)?));
    }
    std::fs::create_dir_all(directory())?;
    run(bind(wasm_bindgen, part.name, &directory()).arg(&built))?;
    std::fs::write(&bound, order::by_likeness(&std::fs::read(&bound)?)?)?;
    Ok(Outcome::Done(size(&bound)?))
}

/// Writes each file's Brotli (RFC 7932) beside it, which takes too long to do when a visitor asks.
fn compress() -> Result<()> {
    for entry in std::fs::read_dir(directory())? {
        let plain = entry?.path();
        let compressed = plain.with_added_extension("br");
        let is_plain = plain.extension().is_some_and(|kind| kind == "js" || kind == "wasm");
        if !is_plain || compressed.exists() && modified(&compressed) >= modified(&plain) {
            continue;
        }
        let bytes = std::fs::read(&plain)?;
        let mut out = Vec::new();
        let best = brotli::enc::BrotliEncoderParams { size_hint: bytes.len(), ..Default::default() };
        brotli::BrotliCompress(&mut bytes.as_slice(), &mut out, &best)?;
        std::fs::write(compressed, out)?;
    }
    Ok(())
}

/// The service worker is one file on the publisher's own origin, so what it shares with the page is put into it.
fn write_service_worker() -> Result<()> {
    const IMPORT: &str = "import { Answer } from './answers.js';\n";
    let read = |name: &str| std::fs::read_to_string(root().join("web-peer/js").join(name));
    let source = read("sw.js")?;
    ensure!(source.contains(IMPORT), "web-peer/js/sw.js does not import answers.js as it did");
    let answers = read("answers.js")?.replace("export ", "");
    let whole = format!("{}\n{answers}", source.replace(IMPORT, ""));
    std::fs::write(directory().join("sw.js"), whole)?;
    Ok(())
}

/// Where the loader's source has the place for the hashes of all other files.
const LOADER_FILES: &str = "/* @files */ {}";

/// The loader with the hash of every other file, which it refuses otherwise: whoever serves the tab's files
/// cannot alter them. Tells its size on the wire.
fn write_loader() -> Result<usize> {
    let mut hashes = Vec::new();
    let mut names = std::fs::read_dir(directory())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    // The publisher serves sw.js from its own origin, and nobody loads the loader by the loader.
    names.retain(|name| {
        (name.ends_with(".js") || name.ends_with(".wasm"))
            && !matches!(name.as_str(), "loader.js" | "sw.js" | "tag.js")
    });
    for name in names {
        let hash = Sha256::digest(std::fs::read(directory().join(&name))?);
        hashes.push(format!("\"{name}\":\"sha256-{}\"", base64(&hash)));
    }
    let source = std::fs::read_to_string(root().join("web-peer/js/loader.js"))?;
    ensure!(source.contains(LOADER_FILES), "web-peer/js/loader.js has no place for {LOADER_FILES}");
    let loader = source.replace(LOADER_FILES, &format!("{{{}}}", hashes.join(",")));
    std::fs::write(directory().join("loader.js"), &loader)?;
    gzip_bytes(loader.as_bytes())
}

/// Base64 with padding (RFC 4648, section 4), as `integrity` attributes have it.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { letter as char } else { '=' });
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_as_the_specification_has_it() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
