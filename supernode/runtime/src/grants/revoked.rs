//! What a node knows to be revoked, a signed statement a file, so that whoever works beside a running node can add one
//! and it counts from the next request on.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use prost::Message as _;
use shared::{
    base::UnixSeconds,
    identity::{PublicKey, Revocation, Revocations},
    wire::economy::SignedRevocation,
};

use super::{GrantError, Wish};

/// Where they lie in the data directory.
const DIRECTORY: &str = "revocations";
/// A statement with as many blocks as one may have, and its signature.
const MAX_FILE_BYTES: u64 = 8 * 1024;
/// A directory's time may lag behind a change to it by so much: until then it is read again.
const SETTLES: Duration = Duration::from_secs(2);

/// The revocations of one node.
pub struct Revoked {
    directory: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When the directory was changed last, as far as it was read.
    changed: Option<SystemTime>,
    /// What was read, and until when it counts, where it is a revocation.
    files: BTreeMap<OsString, Option<UnixSeconds>>,
    revocations: Revocations,
}

impl Revoked {
    /// Those below a data directory.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let directory = data_dir.join(DIRECTORY);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        Ok(Self { directory, known: Mutex::default() })
    }

    /// Hears a statement; tells whether it says anything new, and is therefore passed on.
    ///
    /// # Errors
    /// Where it is none, or cannot be kept: it counts then until the process ends.
    pub fn add(&self, signed: &SignedRevocation, now: UnixSeconds) -> anyhow::Result<bool> {
        let mut known = self.known(now);
        if !known.revocations.handle(now, signed)? {
            return Ok(false);
        }
        let name = name(signed);
        crate::write_whole(&self.directory.join(&name), &signed.encode_to_vec(), false)
            .with_context(|| format!("cannot write into {}", self.directory.display()))?;
        known.files.insert(name, Some(Revocation::open(signed)?.expires));
        Ok(true)
    }

    /// The names of all statements that count at `now`. Those whose time is over are removed.
    pub fn statements(&self, now: UnixSeconds) -> Vec<OsString> {
        let mut known = self.known(now);
        for (name, expires) in &mut known.files {
            if expires.take_if(|expires| *expires <= now).is_some()
                && let Err(error) = fs::remove_file(self.directory.join(name))
            {
                tracing::debug!(?name, %error, "a revocation whose time is over stays where it is");
            }
        }
        known.files.iter().filter(|(_, expires)| expires.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// A statement by its name, as others are told it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn statement(&self, name: &OsStr) -> std::io::Result<Vec<u8>> {
        fs::read(self.directory.join(name))
    }

    /// Whether a grant of `issuer` permits `wish` at `now`.
    ///
    /// # Errors
    /// [`GrantError`]: it does not.
    pub fn check(
        &self,
        grant: &[u8],
        issuer: &PublicKey,
        wish: &Wish<'_>,
        now: UnixSeconds,
    ) -> Result<(), GrantError> {
        super::check(grant, issuer, wish, now, &self.known(now).revocations)
    }

    fn known(&self, now: UnixSeconds) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = known.refresh(&self.directory, now) {
            tracing::warn!(%error, "revocations could not be read");
        }
        known
    }
}

impl Known {
    fn refresh(&mut self, directory: &Path, now: UnixSeconds) -> std::io::Result<()> {
        let changed = fs::metadata(directory)?.modified()?;
        if self.changed == Some(changed) {
            return Ok(());
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if self.files.contains_key(&name) || Path::new(&name).extension().is_none_or(|kind| kind != "rev")
            {
                continue;
            }
            let mut expires = None;
            if entry.metadata()?.len() <= MAX_FILE_BYTES {
                let signed = SignedRevocation::decode(&*fs::read(entry.path())?).ok();
                let heard = signed.filter(|signed| self.revocations.handle(now, signed).is_ok());
                expires = heard.and_then(|signed| Some(Revocation::open(&signed).ok()?.expires));
            }
            if expires.is_none() {
                tracing::debug!(?name, "a file among the revocations is none, or one whose time is over");
            }
            self.files.insert(name, expires);
        }
        let settled = changed.elapsed().is_ok_and(|since| since > SETTLES);
        self.changed = settled.then_some(changed);
        Ok(())
    }
}

/// What a statement is called in the directory, and where it is passed on.
pub fn name(signed: &SignedRevocation) -> OsString {
    format!("{}.rev", blake3::hash(&signed.encode_to_vec()).to_hex()).into()
}

#[cfg(test)]
mod tests {
    use shared::identity::Keypair;

    use super::*;
    use crate::grants::{self, Scope};

    #[test]
    fn what_is_revoked_beside_a_node_counts_at_once_and_after_a_start() {
        let directory = tempfile::tempdir().unwrap();
        let (issuer, now) = (Keypair::from_secret([1; 32]), UnixSeconds(1_800_000_000));
        let scope =
            Scope { operations: vec!["read".into()], resources: "b/".into(), expires: now.plus(1000) };
        let grant = grants::issue(&issuer, "storage", &scope, now).unwrap();
        let narrowed = grants::attenuate(&grant, &issuer.public(), &scope).unwrap();
        let wish = Wish { service: "storage", operation: "read", resource: "b/k" };
        let node = Revoked::open(directory.path()).unwrap();
        let good = |node: &Revoked, grant: &[u8]| node.check(grant, &issuer.public(), &wish, now).is_ok();
        assert!(good(&node, &grant) && good(&node, &narrowed));
        let revocation = grants::revocation(&narrowed, &issuer.public(), scope.expires).unwrap();
        let signed = revocation.sign(&issuer);
        let beside = Revoked::open(directory.path()).unwrap();
        assert!(beside.add(&signed, now).unwrap());
        assert!(!beside.add(&signed, now).unwrap(), "known");
        assert!(good(&node, &grant) && !good(&node, &narrowed));
        let started = Revoked::open(directory.path()).unwrap();
        assert!(good(&started, &grant) && !good(&started, &narrowed));
        assert_eq!(started.statements(now), [name(&signed)]);
        assert_eq!(started.statement(&name(&signed)).unwrap(), signed.encode_to_vec());
        // Somebody else's word is no revocation of this issuer's.
        let stranger = grants::revocation(&grant, &issuer.public(), scope.expires).unwrap();
        started.add(&stranger.sign(&Keypair::from_secret([2; 32])), now).unwrap();
        assert!(good(&started, &grant));
        assert_eq!(started.statements(scope.expires), [] as [OsString; 0]);
        assert_eq!(fs::read_dir(directory.path().join(DIRECTORY)).unwrap().count(), 0, "their time is over");
    }
}
