//! A passkey is added: by the browser of a wallet that just logged in.

use shared::base::UnixSeconds;
use webauthn_rs::prelude::{
    CreationChallengeResponse, PasskeyRegistration, RegisterPublicKeyCredential, Uuid,
};
use webauthn_rs_proto::ResidentKeyRequirement;

use super::{ClientData, PASSKEYS_MAX, Passkey, PasskeyError, challenge_text};
use crate::login::{Act, Login, LoginError, Session, digest, entry, hash, token};

/// How old a wallet's login may be that adds one: whoever logged in is still there.
pub(super) const FRESH_SECONDS: u64 = 600;
/// Being added at a time, of all accounts; each remembers the identifiers of those that are there, 16 KiB at most.
pub(in crate::login) const ADDING_MAX: usize = 256;

/// A passkey that a browser was asked to make.
#[derive(Debug)]
pub(in crate::login) struct Adding {
    /// The session that asked.
    session: String,
    handle: Uuid,
    registration: PasskeyRegistration,
}

impl Login {
    /// What a session's browser needs to make a passkey, and what it must hold to bring it.
    pub(in crate::login) fn begin_passkey(
        &self,
        unix: UnixSeconds,
        session: &Session,
    ) -> Result<(CreationChallengeResponse, String), LoginError> {
        self.noting(unix, Act::PasskeyRefused, Some(session.account), self.ask_to_add(unix, session))
    }

    fn ask_to_add(
        &self,
        unix: UnixSeconds,
        session: &Session,
    ) -> Result<(CreationChallengeResponse, String), LoginError> {
        let relying_party = self.relying_party()?;
        let is_fresh = unix.0 < session.created.saturating_add(FRESH_SECONDS);
        if session.passkey.is_some() || !is_fresh {
            return Err(PasskeyError::LogInAgain.into());
        }
        let own = self.passkeys(session.account);
        if own.len() >= PASSKEYS_MAX {
            return Err(PasskeyError::TooMany.into());
        }
        // One for all passkeys of an account: a device keeps one of each.
        let handle = own.first().map_or_else(new_handle, |passkey| Ok(passkey.handle));
        let handle = handle.map_err(LoginError::Random)?;
        let name = session.account.to_string();
        let there = own.into_iter().map(|passkey| passkey.credential.cred_id().clone()).collect();
        let begun = relying_party.start_passkey_registration(handle, &name, &name, Some(there));
        let (mut options, registration) = begun.map_err(PasskeyError::Refused)?;
        // Who logs in says no name, so the passkey has to know it.
        if let Some(selection) = &mut options.public_key.authenticator_selection {
            selection.resident_key = Some(ResidentKeyRequirement::Required);
            selection.require_resident_key = true;
        }
        let browser = token().map_err(LoginError::Random)?;
        let adding = Adding { session: session.id.clone(), handle, registration };
        let now = self.now();
        let challenge = challenge_text(&options.public_key.challenge);
        self.lock().adding.give(now, challenge, hash(&browser), adding);
        Ok((options, browser))
    }

    /// Adds the passkey that a session's browser made.
    pub(in crate::login) fn add_passkey(
        &self,
        unix: UnixSeconds,
        session: &Session,
        name: &str,
        answer: &RegisterPublicKeyCredential,
        browser: &str,
    ) -> Result<Passkey, LoginError> {
        let added = self.take_passkey(unix, session, name, answer, browser);
        self.noting(unix, Act::PasskeyRefused, Some(session.account), added)
    }

    fn take_passkey(
        &self,
        unix: UnixSeconds,
        session: &Session,
        name: &str,
        answer: &RegisterPublicKeyCredential,
        browser: &str,
    ) -> Result<Passkey, LoginError> {
        let relying_party = self.relying_party()?;
        let said = ClientData::parse(&answer.response.client_data_json)?;
        let now = self.now();
        let adding = self.lock().adding.take(now, &said.challenge, &hash(browser));
        let adding = adding.filter(|adding| adding.session == session.id).ok_or(PasskeyError::Challenge)?;
        // The library would say that its algorithm was not asked for.
        if self.lock().passkeys.contains_key(&digest(&answer.raw_id)) {
            return Err(PasskeyError::Known.into());
        }
        let credential = relying_party.finish_passkey_registration(answer, &adding.registration);
        let credential = credential.map_err(|error| self.refusal(error))?;
        let id = token().map_err(LoginError::Random)?;
        let passkey = Passkey {
            id: id[..16].to_owned(),
            account: session.account,
            name: name.to_owned(),
            created: unix.0,
            used: None,
            suspended: false,
            handle: adding.handle,
            counter: 0,
            credential,
        };
        let hash = digest(passkey.credential.cred_id());
        let mut state = self.lock();
        // Whoever brings another's passkey does not replace it, whatever the answer called it.
        if state.passkeys.contains_key(&hash) {
            return Err(PasskeyError::Known.into());
        }
        if state.passkeys.values().filter(|other| other.account == session.account).count() >= PASSKEYS_MAX {
            return Err(PasskeyError::TooMany.into());
        }
        let entry = entry(unix, Act::PasskeyAdded, session.account, passkey.id.clone());
        self.inner.store.keep_passkey(&hash, &passkey, &[], Some(&entry))?;
        state.passkeys.insert(hash, passkey.clone());
        Ok(passkey)
    }
}

fn new_handle() -> anyhow::Result<Uuid> {
    let seed = runtime::random_seed()?;
    Ok(Uuid::from_slice(&seed[..16])?)
}
