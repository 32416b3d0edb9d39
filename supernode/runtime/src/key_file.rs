//! Secret keys in files that only their owner can read.
//!
//! One line of text, `blackhole-ed25519-secret:` and 64 hexadecimal digits, so that a key file cannot be
//! mistaken for anything else and can be kept on paper.

use std::{fs, io, path::Path};

use anyhow::{Context as _, bail};
use rand::TryRngCore as _;
use shared::identity::Keypair;

use crate::write_whole;

const PREFIX: &str = "blackhole-ed25519-secret:";
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
    let shown = path.display();
    if path.symlink_metadata().is_ok() {
        bail!("{shown} exists already; move it away first, a lost key cannot be made again");
    }
    let keypair = Keypair::from_secret(random_seed()?);
    let text = format!("{PREFIX}{}\n", hex::encode(keypair.to_secret()));
    write_whole(path, text.as_bytes(), true).with_context(|| format!("writing the key {shown}"))?;
    Ok(keypair)
}

/// Reads a key.
///
/// # Errors
/// Says whether the file is missing, is no key, or can be read by others.
pub fn load_key(path: &Path) -> anyhow::Result<Keypair> {
    let shown = path.display();
    let found = fs::metadata(path)
        .with_context(|| format!("no key at {shown}; make one with `blackhole key new {shown}`"))?;
    if found.len() > KEY_FILE_BYTES_MAX {
        bail!("{shown} is not a key: it has {} bytes", found.len());
    }
    refuse_readable_by_others(path, &found)?;
    let text = fs::read_to_string(path).with_context(|| format!("reading the key {shown}"))?;
    let mut secret = [0; 32];
    match text.trim().strip_prefix(PREFIX).map(|digits| hex::decode_to_slice(digits, &mut secret)) {
        Some(Ok(())) => Ok(Keypair::from_secret(secret)),
        _ => bail!("{shown} is not a key: it does not consist of {PREFIX} and 64 hexadecimal digits"),
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
