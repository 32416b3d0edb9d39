//! A passkey logs in: whichever of this node its holder picks.

use shared::{base::UnixSeconds, identity::Account};
use webauthn_rs::prelude::{
    AuthenticationResult, PublicKeyCredential, RequestChallengeResponse, WebauthnError,
};

use super::{ClientData, PasskeyError, challenge_text};
use crate::login::{Act, Begun, Hash, Login, LoginError, digest, hash, token};

impl Login {
    /// What a browser needs to log in by any passkey of this node, and what it must hold to do so.
    pub(in crate::login) fn begin_passkey_login(
        &self,
    ) -> Result<(RequestChallengeResponse, String), LoginError> {
        let begun = self.relying_party()?.start_discoverable_authentication();
        let (mut options, authentication) = begun.map_err(PasskeyError::Refused)?;
        // Somebody pressed a button: the browser is to ask now, not to wait for a field.
        options.mediation = None;
        let browser = token().map_err(LoginError::Random)?;
        let now = self.now();
        let challenge = challenge_text(&options.public_key.challenge);
        self.lock().passkey_logins.give(now, challenge, hash(&browser), authentication);
        Ok((options, browser))
    }

    /// Logs in. The challenge is used up, whatever comes of it.
    pub(in crate::login) fn log_in_by_passkey(
        &self,
        unix: UnixSeconds,
        answer: &PublicKeyCredential,
        browser: &str,
        agent: &str,
    ) -> Result<Begun, LoginError> {
        let checked = self.check_passkey(unix, answer, browser);
        let begun = checked.and_then(|(account, id)| self.begin(unix, account, Some(id), agent));
        self.noting(unix, Act::LoginRefused, None, begun)
    }

    fn check_passkey(
        &self,
        unix: UnixSeconds,
        answer: &PublicKeyCredential,
        browser: &str,
    ) -> Result<(Account, String), LoginError> {
        let relying_party = self.relying_party()?;
        let said = ClientData::parse(&answer.response.client_data_json)?;
        let now = self.now();
        let authentication = self.lock().passkey_logins.take(now, &said.challenge, &hash(browser));
        let authentication = authentication.ok_or(PasskeyError::Challenge)?;
        // The library looks at this when a passkey is added alone.
        if said.cross_origin {
            return Err(PasskeyError::Origin(self.inner.origin.clone()).into());
        }
        let (handle, credential_id) = relying_party
            .identify_discoverable_authentication(answer)
            .map_err(|_| PasskeyError::Malformed)?;
        let hash = digest(credential_id);
        let known = self.lock().passkeys.get(&hash).filter(|known| known.handle == handle).cloned();
        let known = known.ok_or(PasskeyError::Unknown)?;
        let checked =
            relying_party.finish_discoverable_authentication_v2(answer, authentication, &known.credential);
        match checked {
            Ok(checked) => self.passkey_used(unix, &hash, &checked),
            // The signature held: whoever sent this has the key.
            Err(WebauthnError::CredentialPossibleCompromise) => Err(self.suspend(unix, &hash)?.into()),
            Err(error) => Err(self.refusal(error).into()),
        }
    }

    /// Keeps what a login told of its passkey.
    pub(super) fn passkey_used(
        &self,
        unix: UnixSeconds,
        hash: &Hash,
        checked: &AuthenticationResult,
    ) -> Result<(Account, String), LoginError> {
        let mut state = self.lock();
        let Some(passkey) = state.passkeys.get_mut(hash) else { return Err(PasskeyError::Unknown.into()) };
        if passkey.suspended {
            return Err(PasskeyError::Suspended.into());
        }
        if !self.may_log_in(passkey.account) {
            return Err(LoginError::NotAllowed(passkey.account));
        }
        // Two logins at once were both compared with the counter before them.
        if went_back(passkey.counter, checked.counter()) {
            drop(state);
            return Err(self.suspend(unix, hash)?.into());
        }
        let mut used = passkey.clone();
        used.credential.update_credential(checked);
        (used.counter, used.used) = (checked.counter(), Some(unix.0));
        self.inner.store.keep_passkey(hash, &used, &[], None)?;
        *passkey = used;
        Ok((passkey.account, passkey.id.clone()))
    }
}

/// Passkeys that count nothing always say nought.
pub(super) const fn went_back(kept: u32, now: u32) -> bool {
    (kept > 0 || now > 0) && now <= kept
}
