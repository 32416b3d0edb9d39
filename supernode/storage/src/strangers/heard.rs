//! What this node heard of holders: what they offer, and what convicts them. Each is signed by who said it, so that it
//! is passed on to whoever asks, and nobody has to wait for it to be said again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use runtime::unix_now;
use shared::{
    base::UnixSeconds,
    identity::PublicKey,
    storage::{
        holders::{Directory, FailedAudit, HolderAdvert, HolderVerdict},
        messages::{Said, page},
    },
};

/// Accounts kept for others: some 8 MiB.
const MAX_ACCOUNTS: usize = 256;
/// Against one holder: as many as dismiss it in anybody's eyes.
const ACCOUNTS_OF_A_HOLDER: usize = 3;

/// Adverts, and accounts of failed audits that convict.
#[derive(Default)]
pub struct Heard {
    directory: Mutex<Directory>,
    accounts: Mutex<Accounts>,
}

#[derive(Default)]
struct Accounts {
    /// By the hash of the account.
    kept: BTreeMap<[u8; 32], Kept>,
    /// How many were ever kept.
    count: u64,
}

struct Kept {
    account: FailedAudit,
    signed: Vec<u8>,
    /// Which in a row it was.
    number: u64,
}

impl Heard {
    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a holder said last, if that may still be believed.
    pub(super) fn advert(&self, now: UnixSeconds, node: &PublicKey) -> Option<HolderAdvert> {
        self.directory().get(now, node).cloned()
    }

    /// Adverts as they were signed, of holders behind `after`.
    pub(super) fn list_holders(&self, after: Option<[u8; 32]>) -> Said {
        let directory = self.directory();
        let (adverts, more) = page(directory.signed(unix_now(), after));
        Said::Holders { adverts, more }
    }

    /// Accounts as they were signed, of those whose hash is behind `after`.
    pub(super) fn list_evidence(&self, after: Option<[u8; 32]>) -> Said {
        let accounts = self.accounts();
        let behind = accounts.kept.iter().filter(|(hash, _)| after.is_none_or(|after| **hash > after));
        let (accounts, more) = page(behind.map(|(_, kept)| kept.signed.as_slice()));
        Said::Evidence { accounts, more }
    }

    /// Accounts that were kept after the first `known`, and how many there were in all.
    pub(super) fn accounts_since(&self, known: u64) -> (Vec<FailedAudit>, u64) {
        let accounts = self.accounts();
        let new = accounts.kept.values().filter(|kept| kept.number >= known);
        (new.map(|kept| kept.account.clone()).collect(), accounts.count)
    }

    /// An advert came, from anybody. Returns what it says where that is new.
    pub(super) fn hear_advert(&self, bytes: &[u8]) -> Option<HolderAdvert> {
        let now = unix_now();
        let mut directory = self.directory();
        match directory.handle_advert(now, bytes) {
            HolderVerdict::Fresh(node) => directory.get(now, &node).cloned(),
            verdict => {
                tracing::trace!(?verdict, "an advert of a holder changed nothing");
                None
            }
        }
    }

    /// An account came, from anybody. Keeps it where the holder's own signature convicts it; of the rest there is but a
    /// word. Says whether it is new.
    pub(super) fn hear_account(&self, account: &FailedAudit, signed: &[u8]) -> bool {
        if !account.convicts() {
            return false;
        }
        let holder = &account.transcript.challenge.holder;
        let is_known = self.directory().get(unix_now(), holder).is_some();
        let mut accounts = self.accounts();
        let hash = *blake3::hash(signed).as_bytes();
        // One holder's answer told by two auditors is one conviction.
        let same = |kept: &Kept| kept.account.transcript.answer == account.transcript.answer;
        let of_holder =
            accounts.kept.values().filter(|kept| kept.account.transcript.challenge.holder == *holder);
        let (mut count, mut known) = (0, false);
        for kept in of_holder {
            count += 1;
            known |= same(kept);
        }
        if known || count >= ACCOUNTS_OF_A_HOLDER {
            return false;
        }
        if accounts.kept.len() >= MAX_ACCOUNTS {
            // Keys cost nothing, and who would fill the table convicts strangers that nobody ever heard of.
            let unknown = |kept: &Kept| {
                self.directory().get(unix_now(), &kept.account.transcript.challenge.holder).is_none()
            };
            let gone = accounts.kept.iter().find(|(_, kept)| unknown(kept)).map(|(hash, _)| *hash);
            match gone.filter(|_| is_known) {
                Some(gone) => drop(accounts.kept.remove(&gone)),
                None => return false,
            }
        }
        let number = accounts.count;
        accounts.count += 1;
        accounts.kept.insert(hash, Kept { account: account.clone(), signed: signed.to_vec(), number });
        true
    }

    /// Forgets adverts that are past their time.
    pub(super) fn expire(&self) {
        self.directory().handle_time(unix_now());
    }
}

#[cfg(test)]
mod tests {
    use shared::{
        base::{BlobRoot, blob::HashTree},
        identity::Keypair,
        storage::proof::{Challenge, Fault, Transcript, Verdict, answer},
    };

    use super::*;

    fn account(holder: u8, beacon: u8, lies: bool) -> (FailedAudit, Vec<u8>) {
        let (holder, auditor) = (Keypair::from_secret([holder; 32]), Keypair::from_secret([99; 32]));
        let tree = HashTree::of(&[1; 3000]).unwrap();
        let root = if lies { BlobRoot([7; 32]) } else { tree.root() };
        let challenge = Challenge { root, beacon: [beacon; 32], holder: holder.public() };
        let bytes = [1; 3000];
        let groups = if lies { [(0, &bytes[..])].into() } else { BTreeMap::new() };
        let said = answer(&challenge, &tree, &groups, &holder);
        let verdict = if lies { Verdict::Wrong(Fault::Proof) } else { Verdict::Lost };
        let transcript = Transcript { challenge, verdict, answer: Some(said) };
        let account = FailedAudit { auditor: auditor.public(), transcript, observed: unix_now() };
        let signed = account.sign(&auditor);
        (FailedAudit::open(&signed).unwrap(), signed)
    }

    #[test]
    fn what_convicts_is_kept_and_told_and_a_word_is_not() {
        let heard = Heard::default();
        let hear = |holder, beacon, lies| {
            let (account, signed) = account(holder, beacon, lies);
            heard.hear_account(&account, &signed)
        };
        assert!(!hear(1, 1, false), "who admits a loss may have had leave to forget");
        assert!(hear(1, 1, true) && !hear(1, 1, true));
        assert!(hear(1, 2, true) && hear(1, 3, true) && !hear(1, 4, true), "three say all there is to say");
        assert_eq!(heard.accounts_since(0).0.len(), 3);
        assert_eq!((heard.accounts_since(2).0.len(), heard.accounts_since(3).1), (1, 3));
        let (mut after, mut told) = (None, 0);
        while let Said::Evidence { accounts, more } = heard.list_evidence(after) {
            told += accounts.len();
            after = accounts.last().map(|last| *blake3::hash(last).as_bytes());
            assert!(accounts.iter().all(|account| FailedAudit::open(account).unwrap().convicts()));
            if !more {
                break;
            }
        }
        assert_eq!(told, 3);
    }

    #[test]
    fn strangers_who_convict_themselves_do_not_fill_the_table_for_good() {
        let heard = Heard::default();
        for holder in 0..=255 {
            let (account, signed) = account(holder, 1, true);
            assert!(heard.hear_account(&account, &signed));
        }
        let (account, signed) = account(0, 2, true);
        assert!(!heard.hear_account(&account, &signed), "full");
        assert_eq!(heard.accounts_since(0).0.len(), MAX_ACCOUNTS);
    }
}
