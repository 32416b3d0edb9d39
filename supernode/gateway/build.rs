//! With the feature `embedded-tab`, puts the tab's files into the program: an operator runs one file.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EMBEDDED_TAB").is_none() {
        return Ok(());
    }
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let tab = here.join("../../target/web");
    println!("cargo::rerun-if-changed={}", tab.display());
    let missing = |error| format!("{}: {error}; `cargo xtask tab` builds the tab", tab.display());
    fs::metadata(tab.join("loader.js")).map_err(missing)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&tab)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push((entry.file_name().to_string_lossy().into_owned(), entry.path().canonicalize()?));
        }
    }
    files.sort();
    let mut source = String::from("&[");
    for (name, path) in files {
        println!("cargo::rerun-if-changed={}", path.display());
        write!(source, "({name:?}, include_bytes!({path:?})),")?;
    }
    source.push(']');
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("tab_files"), source)?;
    Ok(())
}
