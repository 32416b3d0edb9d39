//! `blackhole key`.

use std::path::Path;

/// Makes a key and prints its public half on stdout.
pub(crate) fn new(file: &Path) -> anyhow::Result<()> {
    let key = runtime::create_key(file)?;
    println!("{}", key.public());
    eprintln!("The secret is in {}. Keep a copy: it cannot be made again.", file.display());
    Ok(())
}

/// Prints the public half of a key on stdout.
pub(crate) fn show(file: &Path) -> anyhow::Result<()> {
    println!("{}", runtime::load_key(file)?.public());
    Ok(())
}
