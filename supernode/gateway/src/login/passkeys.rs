//! Passkeys (WebAuthn level 3): keys that a person's devices or password store hold, and that answer for an account that
//! was logged in by its wallet when they were added.
//!
//! ```text
//! wallet's login, minutes old ── begin ──► options ──► browser ── answer ──► a passkey of the account
//! nobody ─────────────────────── begin ──► options ──► browser ── answer ──► a session of that account
//! ```
//! Promises: whoever holds a passkey was verified by it, by a PIN or a finger, each time. A passkey only ever makes
//! sessions, never another passkey, so all that a lost device can do ends with it: ending a passkey ends the sessions that
//! it began, as those are most likely on that device. A stolen session adds none either, unless it is minutes old: else
//! what was stolen for days would be kept for good.
//!
//! A counter that does not grow says that two devices hold one key (level 3, section 7.2, step 22). Nobody can tell which
//! is the copy, so neither logs in any more, and sessions of both end; the wallet is there to add the device anew.

mod adding;
mod logging_in;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shared::{base::UnixSeconds, identity::Account};
use webauthn_rs::prelude::{Passkey as Credential, Url, Uuid, Webauthn, WebauthnBuilder, WebauthnError};

use super::{Act, Hash, Login, LoginError, State, entry, text};
use adding::FRESH_SECONDS;
pub(super) use adding::{ADDING_MAX, Adding};

/// Passkeys of one account: a person's devices, and a key in a drawer. All are in a list that somebody looks through.
pub(super) const PASSKEYS_MAX: usize = 16;
/// What authenticators call this node beside its name.
const TITLE: &str = "Blackhole supernode";

/// An account's passkey.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Passkey {
    /// Its public name.
    pub(super) id: String,
    #[serde(with = "text")]
    pub(super) account: Account,
    /// What its owner calls it.
    pub(super) name: String,
    pub(super) created: u64,
    /// Its newest login.
    pub(super) used: Option<u64>,
    /// There may be a copy of it.
    pub(super) suspended: bool,
    /// What it knows its account by. It follows from nothing, as devices tell it to whoever holds them.
    handle: Uuid,
    /// Of its newest login.
    counter: u32,
    credential: Credential,
}

/// Why a passkey was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasskeyError {
    /// By the name of this edge there are none.
    #[error("{0}")]
    NoName(String),
    /// The session may not add one.
    #[error(
        "a passkey is added within {} minutes of a wallet's login; log in with your wallet again, and add it then",
        FRESH_SECONDS / 60
    )]
    LogInAgain,
    /// The account's number of them.
    #[error("there are {PASSKEYS_MAX} passkeys already; end one that is not used any more")]
    TooMany,
    /// It is there.
    #[error("this passkey is known already; end it before it is added again")]
    Known,
    /// No challenge of ours, one that was used, or another browser's.
    #[error(
        "the challenge is not one that was given to this browser, was used before, or is too old; begin again"
    )]
    Challenge,
    /// Phished, or framed.
    #[error("the passkey was used on another site than {0}; use the pages of this one")]
    Origin(String),
    /// It was touched by somebody, and no more is known.
    #[error("the passkey did not verify who holds it; set a PIN, a fingerprint or a face for it")]
    NotVerified,
    /// Not ours, or not any more.
    #[error("this passkey is not known here, or was ended; log in with your wallet, and add it again")]
    Unknown,
    /// See the module's head.
    #[error(
        "the passkey's counter went back, so there may be a copy of it; log in with your wallet, end it, and add the \
         device anew"
    )]
    Suspended,
    /// No answer of an authenticator.
    #[error("this is no answer of a passkey; send what navigator.credentials gave, as toJSON() writes it")]
    Malformed,
    /// All else that the specification has checked.
    #[error("the passkey's answer does not hold: {0}")]
    Refused(WebauthnError),
}

/// What a browser says that it did; the passkey signs it.
#[derive(Deserialize)]
struct ClientData {
    challenge: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
}

/// Who checks passkeys for the edge of this origin.
///
/// # Errors
/// What to do where browsers have no passkeys: they are bound to a name, never to an address, and work on pages that
/// nobody can have changed on their way (level 3, sections 4 and 5.1).
pub(super) fn relying_party(origin: &str) -> Result<Webauthn, String> {
    let remedy = "passkeys are bound to a name, and browsers have them over https and on localhost alone: set \
                  edge.public_url to https and a name";
    let url = Url::parse(origin).map_err(|_| remedy.to_owned())?;
    let is_local = |name: &str| name == "localhost" || name.ends_with(".localhost");
    let name = url.domain().filter(|name| url.scheme() == "https" || is_local(name));
    let built = name.and_then(|name| WebauthnBuilder::new(name, &url).ok()?.rp_name(TITLE).build().ok());
    built.ok_or_else(|| {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => {
                format!("{remedy}, or to http://localhost{port} for this machine alone")
            }
            _ => remedy.to_owned(),
        }
    })
}

impl Login {
    /// What to do, where there are no passkeys by the name of this edge.
    pub(super) fn without_passkeys(&self) -> Option<&str> {
        self.inner.relying_party.as_ref().err().map(String::as_str)
    }

    /// Passkeys of an account, the oldest first.
    pub(super) fn passkeys(&self, account: Account) -> Vec<Passkey> {
        let state = self.lock();
        let own = state.passkeys.values().filter(|passkey| passkey.account == account);
        let mut own: Vec<_> = own.cloned().collect();
        own.sort_by_key(|passkey| passkey.created);
        own
    }

    /// Ends a passkey of an account, and what was logged in by it; tells whether there was one.
    pub(super) fn end_passkey(
        &self,
        unix: UnixSeconds,
        account: Account,
        id: &str,
    ) -> Result<bool, LoginError> {
        let mut state = self.lock();
        let found = state.passkeys.iter().find(|(_, passkey)| passkey.account == account && passkey.id == id);
        let Some(hash) = found.map(|(hash, _)| *hash) else { return Ok(false) };
        let begun = begun_by(&state, id);
        let entry = entry(unix, Act::PasskeyEnded, account, id.to_owned());
        self.inner.store.end_passkey(&hash, &begun, &entry)?;
        state.passkeys.remove(&hash);
        state.sessions.retain(|hash, _| !begun.contains(hash));
        Ok(true)
    }

    /// Ends a passkey's logins, and what was logged in by it, until its account ends it.
    fn suspend(&self, unix: UnixSeconds, hash: &Hash) -> Result<PasskeyError, LoginError> {
        let mut state = self.lock();
        let Some(mut passkey) = state.passkeys.get(hash).cloned() else { return Ok(PasskeyError::Unknown) };
        if !passkey.suspended {
            passkey.suspended = true;
            let begun = begun_by(&state, &passkey.id);
            let entry = entry(unix, Act::PasskeySuspended, passkey.account, passkey.id.clone());
            self.inner.store.keep_passkey(hash, &passkey, &begun, Some(&entry))?;
            state.sessions.retain(|hash, _| !begun.contains(hash));
            state.passkeys.insert(*hash, passkey);
        }
        Ok(PasskeyError::Suspended)
    }

    fn relying_party(&self) -> Result<&Webauthn, PasskeyError> {
        self.inner.relying_party.as_ref().map_err(|remedy| PasskeyError::NoName(remedy.clone()))
    }

    /// In our words, where we know what to do.
    fn refusal(&self, error: WebauthnError) -> PasskeyError {
        match error {
            WebauthnError::InvalidRPOrigin
            | WebauthnError::InvalidRPIDHash
            | WebauthnError::CredentialCrossOrigin => PasskeyError::Origin(self.inner.origin.clone()),
            WebauthnError::UserNotVerified | WebauthnError::UserNotPresent => PasskeyError::NotVerified,
            WebauthnError::MismatchedChallenge => PasskeyError::Challenge,
            error => PasskeyError::Refused(error),
        }
    }
}

impl ClientData {
    fn parse(text: &[u8]) -> Result<Self, PasskeyError> {
        serde_json::from_slice(text).map_err(|_| PasskeyError::Malformed)
    }
}

impl State {
    /// Whether a passkey logs in now.
    pub(super) fn has_passkey(&self, id: &str) -> bool {
        self.passkeys.values().any(|passkey| passkey.id == id && !passkey.suspended)
    }
}

fn begun_by(state: &State, id: &str) -> Vec<Hash> {
    let begun = state.sessions.iter().filter(|(_, session)| session.passkey.as_deref() == Some(id));
    begun.map(|(hash, _)| *hash).collect()
}

/// As client data has it: base64url without padding (level 3, section 5.8.1).
fn challenge_text(challenge: &[u8]) -> String {
    multibase::Base::Base64Url.encode(challenge)
}

#[cfg(test)]
mod tests;
