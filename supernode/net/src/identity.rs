//! Who this node is: one Ed25519 key, kept in the data directory, readable by its owner alone.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use libp2p::identity::{Keypair as AnyKeypair, ed25519};
use shared::identity::Keypair;

/// The file's name in the data directory.
const KEY_FILE: &str = "identity.key";

/// Far above the 68 bytes of an Ed25519 key in libp2p's encoding: a bigger file is something else.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Reads the node's key from the data directory, or makes one there on the first start.
///
/// A file that cannot be read is an error, never a reason for a new key: a node that changed its
/// identity would break every address and delegation that names it.
pub fn load_or_create(directory: &Path) -> anyhow::Result<Keypair> {
    let path = directory.join(KEY_FILE);
    let shown = path.display();
    match fs::metadata(&path) {
        Ok(found) if found.len() > KEY_FILE_BYTES_MAX => {
            bail!("{shown} is not an identity key: it has {} bytes", found.len())
        }
        Ok(_) => {
            let bytes = fs::read(&path).with_context(|| format!("reading the identity key {shown}"))?;
            refuse_readable_by_others(&path)?;
            decode(&bytes)
                .with_context(|| format!("{shown} is not an identity key; restore it from a backup, or move it away to start as a new node"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let keypair = Keypair::from_secret(secret_of(&ed25519::Keypair::generate())?);
            let bytes =
                keypair.to_libp2p().to_protobuf_encoding().context("encoding the new identity key")?;
            write_private(&path, &bytes).with_context(|| format!("writing the identity key {shown}"))?;
            Ok(keypair)
        }
        Err(error) => Err(error).with_context(|| format!("looking for the identity key {shown}")),
    }
}

/// The file holds the key in libp2p's own encoding, so that other libp2p tools can read it.
fn decode(bytes: &[u8]) -> anyhow::Result<Keypair> {
    let keypair = AnyKeypair::from_protobuf_encoding(bytes)?.try_into_ed25519()?;
    Ok(Keypair::from_secret(secret_of(&keypair)?))
}

fn secret_of(keypair: &ed25519::Keypair) -> anyhow::Result<[u8; 32]> {
    keypair.secret().as_ref().try_into().context("an Ed25519 secret has 32 bytes")
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    // Left over from a start that was killed here; `create_new` below must not follow a link.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(unix)]
fn refuse_readable_by_others(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "the identity key {0} can be read by others (mode {mode:o}): run `chmod 600 {0}`, and replace the key if somebody may have read it",
            path.display()
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_readable_by_others(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let first = load_or_create(directory.path()).unwrap();
        let second = load_or_create(directory.path()).unwrap();
        assert_eq!(first.public(), second.public());
    }

    #[test]
    fn damaged_key_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(KEY_FILE);
        for damage in [vec![], vec![7; 68], vec![0; 10_000]] {
            let _ = fs::remove_file(&path);
            write_private(&path, &damage).unwrap();
            let error = load_or_create(directory.path()).unwrap_err().to_string();
            assert!(error.contains("is not an identity key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), damage);
        }
    }

    #[cfg(unix)]
    #[test]
    fn key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        load_or_create(directory.path()).unwrap();
        let path = directory.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(directory.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
