//! `blackhole account`.

use std::path::Path;

/// Makes an account's key and prints the account on stdout.
pub(crate) fn new(file: &Path) -> anyhow::Result<()> {
    let key = runtime::create_account_key(file)?;
    println!("{}", key.account());
    eprintln!(
        "The secret is in {0}. Keep a copy: it cannot be made again. A node uses it by `key_file` in its section \
         [chain].",
        file.display()
    );
    Ok(())
}

/// Prints the account of a key on stdout.
pub(crate) fn show(file: &Path) -> anyhow::Result<()> {
    println!("{}", runtime::load_account_key(file)?.account());
    Ok(())
}
