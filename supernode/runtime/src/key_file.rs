//! Secret keys in files that only their owner can read.
//!
//! One line of text, `blackhole-ed25519-secret:` (an account's: `blackhole-secp256k1-secret:`) and 64 hexadecimal
//! digits, so that a key file cannot be mistaken for anything else and can be kept on paper.

use std::{fs, io, path::Path};

use anyhow::{Context as _, bail};
use rand::TryRngCore as _;
use shared::identity::{AccountKey, Keypair};

use crate::write_whole;

const PREFIX: &str = "blackhole-ed25519-secret:";
const ACCOUNT_PREFIX: &str = "blackhole-secp256k1-secret:";
/// Far above the 90 bytes of a key file: a bigger one is something else.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// 32 bytes from the system's source of randomness.
///
/// # Errors
/// Where the system has none to give.
pub fn random_seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed).context("the system gave no randomness")?;
    Ok(seed)
}

/// Makes a new key in a new file.
///
/// # Errors
/// Where there is a file already, so that no key is ever lost to a mistyped command.
pub fn create_key(path: &Path) -> anyhow::Result<Keypair> {
    let keypair = Keypair::from_secret(random_seed()?);
    write_secret(path, PREFIX, &keypair.to_secret())?;
    Ok(keypair)
}

/// Makes a new key of an account in a new file.
///
/// # Errors
/// As [`create_key`].
pub fn create_account_key(path: &Path) -> anyhow::Result<AccountKey> {
    let key = AccountKey::from_secret(random_seed()?)?;
    write_secret(path, ACCOUNT_PREFIX, &key.to_secret())?;
    Ok(key)
}

/// Reads a key.
///
/// # Errors
/// Says whether the file is missing, is no key, or can be read by others.
pub fn load_key(path: &Path) -> anyhow::Result<Keypair> {
    Ok(Keypair::from_secret(read_secret(path, PREFIX, "key")?))
}

/// Reads the key of an account.
///
/// # Errors
/// As [`load_key`].
pub fn load_account_key(path: &Path) -> anyhow::Result<AccountKey> {
    let secret = read_secret(path, ACCOUNT_PREFIX, "account")?;
    AccountKey::from_secret(secret).with_context(|| format!("{} is not a key", path.display()))
}

/// Reads an account's key, or makes one on the first start. A damaged file is an error: the money is the old key's.
///
/// # Errors
/// As [`load_account_key`] and [`create_account_key`].
pub fn load_or_create_account_key(path: &Path) -> anyhow::Result<AccountKey> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_account_key(path),
        _ => load_account_key(path),
    }
}

fn write_secret(path: &Path, prefix: &str, secret: &[u8; 32]) -> anyhow::Result<()> {
    let shown = path.display();
    if path.symlink_metadata().is_ok() {
        bail!("{shown} exists already; move it away first, a lost key cannot be made again");
    }
    let text = format!("{prefix}{}\n", hex::encode(secret));
    write_whole(path, text.as_bytes(), true).with_context(|| format!("writing the key {shown}"))
}

/// The text of a file that holds a secret of an operator's, for a service elsewhere.
///
/// # Errors
/// Says whether the file is missing, is far too long for a secret, or can be read by others.
pub fn read_secret_file(path: &Path) -> anyhow::Result<String> {
    read_text(path, || format!("no key at {}", path.display()))
}

fn read_text(path: &Path, missing: impl FnOnce() -> String) -> anyhow::Result<String> {
    let shown = path.display();
    let found = fs::metadata(path).with_context(missing)?;
    if found.len() > KEY_FILE_BYTES_MAX {
        bail!("{shown} is not a key: it has {} bytes", found.len());
    }
    refuse_readable_by_others(path, &found)?;
    fs::read_to_string(path).with_context(|| format!("reading the key {shown}"))
}

/// `command` makes such a file.
fn read_secret(path: &Path, prefix: &str, command: &str) -> anyhow::Result<[u8; 32]> {
    let shown = path.display();
    let missing = || format!("no key at {shown}; make one with `blackhole {command} new {shown}`");
    let text = read_text(path, missing)?;
    let mut secret = [0; 32];
    match text.trim().strip_prefix(prefix).map(|digits| hex::decode_to_slice(digits, &mut secret)) {
        Some(Ok(())) => Ok(secret),
        _ => bail!("{shown} is not a key: it does not consist of {prefix} and 64 hexadecimal digits"),
    }
}

/// Reads a node's key, or makes one on the first start. A file that is damaged is an error, never a
/// reason for a new key: every address and delegation names the old one.
///
/// # Errors
/// As [`load_key`] and [`create_key`].
pub fn load_or_create_key(path: &Path) -> anyhow::Result<Keypair> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_key(path),
        _ => load_key(path),
    }
}

#[cfg(unix)]
fn refuse_readable_by_others(path: &Path, found: &fs::Metadata) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "the key {0} can be read by others (mode {mode:o}): run `chmod 600 {0}`, and replace the key if \
             somebody may have read it",
            path.display()
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_readable_by_others(_: &Path, _: &fs::Metadata) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_a_restart_and_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let first = load_or_create_key(&path).unwrap();
        assert_eq!(load_or_create_key(&path).unwrap().public(), first.public());
        assert!(create_key(&path).unwrap_err().to_string().contains("exists already"));
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        for damage in ["", "hello", "blackhole-ed25519-secret:12", &"x".repeat(10_000)] {
            write_whole(&path, damage.as_bytes(), true).unwrap();
            let error = load_or_create_key(&path).unwrap_err().to_string();
            assert!(error.contains("is not a key"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damage);
        }
    }

    #[test]
    fn an_account_is_no_node_and_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("account.key");
        let first = load_or_create_account_key(&path).unwrap();
        assert_eq!(load_or_create_account_key(&path).unwrap().account(), first.account());
        assert!(load_key(&path).unwrap_err().to_string().contains("is not a key"));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        create_key(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_key(&path).unwrap_err().to_string().contains("chmod 600"));
    }
}
