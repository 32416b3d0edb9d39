//! Who may see and do what is not for everybody: accounts that the operator names log in by a signature of their wallet
//! (EIP-4361), or by a passkey that they added then (WebAuthn, see `passkeys`), and are known by a cookie, or by a key for
//! programs.
//!
//! ```text
//! POST   /blackhole/v1/login/nonce     a nonce, good once, in this browser, for minutes
//! POST   /blackhole/v1/login           the signed text: a new session, and its token against forged requests
//! GET    /blackhole/v1/session         who this is; DELETE ends it
//! GET    /blackhole/v1/sessions        where else; DELETE …/{id} ends one
//! POST   /blackhole/v1/login/passkey   the same session by a passkey; …/begin gives what the browser needs for it
//! GET    /blackhole/v1/passkeys        passkeys of this account; POST …/begin and POST add one; DELETE …/{id} ends one
//! GET    /blackhole/v1/keys            keys for programs; POST makes one, shown once; DELETE …/{id} ends one
//! GET    /blackhole/v1/audit           what was done here
//! ```
//! Promises: of a cookie and a key only a hash is kept. A session is made anew at each login, so that none that somebody
//! planted is ever one. What a browser sends by itself does nothing: whatever changes something needs the session's token in
//! a header, and comes from our own pages. Everything is bounded, by account and in all.

mod given;
mod guard;
mod limits;
mod passkey_routes;
mod passkeys;
mod routes;
mod store;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, ensure};
use axum::http::Uri;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use sha2::{Digest as _, Sha256};
use shared::{
    base::{Instant, UnixSeconds},
    identity::{
        Account, AccountError,
        siwe::{Expected, Siwe, SiweError},
    },
};

use given::Given;
pub(crate) use guard::may_read;
use limits::Limits;
use passkeys::{ADDING_MAX, Adding, Passkey, PasskeyError, relying_party};
pub(crate) use routes::routes;
use store::{Known, Store, StoreError};
use webauthn_rs::prelude::{DiscoverableAuthentication, Webauthn};

/// Sessions of one account at a time; the one that was used longest ago makes way.
const SESSIONS_MAX: usize = 32;
/// Keys of one account.
const KEYS_MAX: usize = 64;
/// Nonces, and challenges of passkeys, that are out at a time. At the rate that all clients together may ask, those of
/// minutes.
const GIVEN_MAX: usize = 4096;
/// A session that was not used for so long is over,
const IDLE_SECONDS: u64 = 24 * 3600;
/// and any after this: then its wallet is asked anew.
const SESSION_SECONDS: u64 = 7 * 24 * 3600;
/// How old the time of a session's last use may be on the disk.
const USED_EVERY_SECONDS: u64 = 600;
/// What is kept of a browser's name.
const AGENT_CHARACTERS: usize = 120;

/// The `[edge.login]` section of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// Who may log in.
    #[serde(deserialize_with = "accounts")]
    pub accounts: Vec<Account>,
    /// The chain that wallets name when they sign.
    #[serde(default = "chain_id")]
    pub chain_id: u64,
}

/// Ethereum: what wallets are on at first.
const fn chain_id() -> u64 {
    1
}

fn accounts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Account>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let accounts: Result<Vec<Account>, AccountError> = names.iter().map(|name| name.parse()).collect();
    accounts.map_err(D::Error::custom)
}

/// What a key may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// To read what was earned.
    Earnings,
    /// To read what was done.
    Audit,
}

/// One browser's login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// Its public name.
    id: String,
    #[serde(with = "text")]
    account: Account,
    /// The passkey that began it; none for a wallet's, and those of before there were passkeys.
    #[serde(default)]
    passkey: Option<String>,
    created: u64,
    used: u64,
    /// What the browser calls itself.
    agent: String,
}

impl Session {
    const fn expires(&self) -> u64 {
        let idle = self.used + IDLE_SECONDS;
        let end = self.created + SESSION_SECONDS;
        if idle < end { idle } else { end }
    }
}

/// A program's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ApiKey {
    /// Its public name.
    id: String,
    #[serde(with = "text")]
    account: Account,
    /// What its maker calls it.
    name: String,
    scopes: Vec<Scope>,
    created: u64,
    expires: u64,
}

/// What is done, for the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Act {
    LoggedIn,
    LoggedOut,
    SessionRevoked,
    SessionDisplaced,
    KeyMade,
    KeyRevoked,
    PasskeyAdded,
    PasskeyEnded,
    PasskeySuspended,
    PasskeyRefused,
    LoginRefused,
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    unix: u64,
    act: Act,
    /// Who; nobody known where a login was refused.
    account: Option<String>,
    /// Which session, key or passkey, or why not.
    about: String,
}

/// SHA-256 of a token.
type Hash = [u8; 32];

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The text or its signature.
    #[error(transparent)]
    Siwe(#[from] SiweError),
    /// No nonce of ours, one that was used, or another browser's.
    #[error("the nonce is not one that was given to this browser, was used before, or is too old")]
    Nonce,
    /// Not one of those that may.
    #[error("{0} may not log in here; the operator adds it to edge.login.accounts")]
    NotAllowed(Account),
    /// A passkey, or its answer.
    #[error(transparent)]
    Passkey(#[from] PasskeyError),
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error("{0}")]
    Random(anyhow::Error),
}

/// Logins of an edge. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Login {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    accounts: Vec<Account>,
    chain_id: u64,
    /// As browsers say it: `https://node.example`.
    origin: String,
    /// Who checks passkeys by that name, or what to do where there are none.
    relying_party: Result<Webauthn, String>,
    started: std::time::Instant,
    store: Store,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sessions: BTreeMap<Hash, Session>,
    keys: BTreeMap<Hash, ApiKey>,
    passkeys: BTreeMap<Hash, Passkey>,
    nonces: Given<()>,
    passkey_logins: Given<DiscoverableAuthentication>,
    adding: Given<Adding>,
    limits: Limits,
}

/// A session, and what its browser must hold.
#[derive(Clone, Debug)]
struct Begun {
    session: Session,
    token: String,
}

impl Login {
    /// Opens the logins of an edge that the outside names `url`.
    ///
    /// # Errors
    /// Says what to correct.
    pub fn open(config: &LoginConfig, url: &str, path: &Path) -> anyhow::Result<Self> {
        ensure!(
            !config.accounts.is_empty(),
            "edge.login.accounts names nobody; add an account, or remove the section"
        );
        let origin = origin(url)?;
        let store = Store::open(path).with_context(|| format!("opening {}", path.display()))?;
        let Known { sessions, keys, passkeys } = store.read()?;
        let state = State {
            sessions,
            keys,
            passkeys,
            nonces: Given::new(GIVEN_MAX),
            passkey_logins: Given::new(GIVEN_MAX),
            adding: Given::new(ADDING_MAX),
            limits: Limits::default(),
        };
        let inner = Inner {
            accounts: config.accounts.clone(),
            chain_id: config.chain_id,
            relying_party: relying_party(&origin),
            origin,
            started: std::time::Instant::now(),
            store,
            state: Mutex::new(state),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn is_secure(&self) -> bool {
        self.inner.origin.starts_with("https://")
    }

    fn now(&self) -> Instant {
        Instant::default() + self.inner.started.elapsed()
    }

    /// Whether a client may try once more.
    fn may_try(&self, from: std::net::IpAddr) -> bool {
        let now = self.now();
        self.lock().limits.pass(now, from)
    }

    /// A nonce, and what its browser must hold to use it.
    fn give_nonce(&self) -> anyhow::Result<(String, String)> {
        let (nonce, browser) = (token()?, token()?);
        // 128 bits are enough, and a person sees them in a wallet.
        let nonce = nonce[..32].to_owned();
        let now = self.now();
        self.lock().nonces.give(now, nonce.clone(), hash(&browser), ());
        Ok((nonce, browser))
    }

    /// Logs in. The nonce is used up, whatever comes of it.
    fn log_in(
        &self,
        unix: UnixSeconds,
        text: &str,
        signature: &[u8],
        browser: &str,
        agent: &str,
    ) -> Result<Begun, LoginError> {
        let checked = self.check(unix, text, signature, browser);
        let begun = checked.and_then(|account| self.begin(unix, account, None, agent));
        self.noting(unix, Act::LoginRefused, None, begun)
    }

    /// Notes what was refused.
    fn noting<T>(
        &self,
        unix: UnixSeconds,
        act: Act,
        account: Option<Account>,
        done: Result<T, LoginError>,
    ) -> Result<T, LoginError> {
        if let Err(error) = &done {
            let account = account.map(|account| account.to_string());
            self.inner.store.refuse(&Entry { unix: unix.0, act, account, about: error.to_string() })?;
        }
        done
    }

    fn check(
        &self,
        unix: UnixSeconds,
        text: &str,
        signature: &[u8],
        browser: &str,
    ) -> Result<Account, LoginError> {
        let siwe = Siwe::parse(text)?;
        let now = self.now();
        if self.lock().nonces.take(now, &siwe.nonce, &hash(browser)).is_none() {
            return Err(LoginError::Nonce);
        }
        let (scheme, domain) = self.inner.origin.split_once("://").unwrap_or(("http", ""));
        let expected = Expected { scheme, domain, chain_id: self.inner.chain_id, nonce: &siwe.nonce };
        siwe.check(&expected, unix)?;
        siwe.verify(text, signature)?;
        if self.may_log_in(siwe.account) {
            Ok(siwe.account)
        } else {
            Err(LoginError::NotAllowed(siwe.account))
        }
    }

    fn begin(
        &self,
        unix: UnixSeconds,
        account: Account,
        passkey: Option<String>,
        agent: &str,
    ) -> Result<Begun, LoginError> {
        let (token, id) = token().and_then(|token_| Ok((token_, token()?))).map_err(LoginError::Random)?;
        let agent = agent.chars().filter(|letter| !letter.is_control()).take(AGENT_CHARACTERS).collect();
        let mut state = self.lock();
        // It may have ended since it was checked.
        if passkey.as_deref().is_some_and(|id| !state.has_passkey(id)) {
            return Err(PasskeyError::Unknown.into());
        }
        let by = passkey.as_ref().map(|id| format!(" by passkey {id}")).unwrap_or_default();
        let session =
            Session { id: id[..16].to_owned(), account, passkey, created: unix.0, used: unix.0, agent };
        state.sessions.retain(|_, session| unix.0 < session.expires());
        let own = state.sessions.iter().filter(|(_, other)| other.account == account);
        let displaced = (own.clone().count() >= SESSIONS_MAX)
            .then(|| own.min_by_key(|(_, other)| other.used).map(|(hash, other)| (*hash, other.id.clone())))
            .flatten();
        if let Some((hash, id)) = displaced {
            self.inner.store.end_session(&hash, &entry(unix, Act::SessionDisplaced, account, id))?;
            state.sessions.remove(&hash);
        }
        let entry = entry(unix, Act::LoggedIn, account, format!("{}{by}", session.id));
        self.inner.store.keep_session(&hash(&token), &session, Some(&entry))?;
        state.sessions.insert(hash(&token), session.clone());
        Ok(Begun { session, token })
    }

    /// Whose session it is, if it is one now.
    fn session(&self, unix: UnixSeconds, token: &str) -> Option<Session> {
        let hash = hash(token);
        let mut state = self.lock();
        let session = state.sessions.get_mut(&hash)?;
        if unix.0 >= session.expires() || !self.may_log_in(session.account) {
            return None;
        }
        let due = unix.0 >= session.used + USED_EVERY_SECONDS;
        if due {
            session.used = unix.0;
            if let Err(error) = self.inner.store.keep_session(&hash, session, None) {
                tracing::warn!(%error, "a session's use was not kept");
            }
        }
        Some(session.clone())
    }

    /// Whose key it is, if it is one now.
    fn key(&self, unix: UnixSeconds, key: &str) -> Option<ApiKey> {
        let state = self.lock();
        let known = state.keys.get(&hash(key))?;
        (unix.0 < known.expires && self.may_log_in(known.account)).then(|| known.clone())
    }

    /// Sessions of an account, the one used last first.
    fn sessions(&self, unix: UnixSeconds, account: Account) -> Vec<Session> {
        let state = self.lock();
        let own = state.sessions.values().filter(|session| session.account == account);
        let mut own: Vec<_> = own.filter(|session| unix.0 < session.expires()).cloned().collect();
        own.sort_by_key(|session| std::cmp::Reverse(session.used));
        own
    }

    /// Ends a session of an account; tells whether there was one.
    fn end_session(
        &self,
        unix: UnixSeconds,
        account: Account,
        id: &str,
        act: Act,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let found = state.sessions.iter().find(|(_, session)| session.account == account && session.id == id);
        let Some(hash) = found.map(|(hash, _)| *hash) else { return Ok(false) };
        self.inner.store.end_session(&hash, &entry(unix, act, account, id.to_owned()))?;
        state.sessions.remove(&hash);
        Ok(true)
    }

    /// Makes a key. The whole of it is told this once; nothing where the account has as many as it may.
    fn make_key(
        &self,
        unix: UnixSeconds,
        account: Account,
        name: &str,
        scopes: Vec<Scope>,
        days: u64,
    ) -> Result<Option<(ApiKey, String)>, LoginError> {
        let (secret, id) = token().and_then(|secret| Ok((secret, token()?))).map_err(LoginError::Random)?;
        let key = ApiKey {
            id: id[..16].to_owned(),
            account,
            name: name.to_owned(),
            scopes,
            created: unix.0,
            expires: unix.0.saturating_add(days.saturating_mul(86_400)),
        };
        let mut state = self.lock();
        if state.keys.values().filter(|other| other.account == account).count() >= KEYS_MAX {
            return Ok(None);
        }
        // Known by its beginning where it turns up in what it should not.
        let whole = format!("blackhole_{secret}");
        let entry = entry(unix, Act::KeyMade, account, key.id.clone());
        self.inner.store.keep_key(&hash(&whole), &key, &entry)?;
        state.keys.insert(hash(&whole), key.clone());
        Ok(Some((key, whole)))
    }

    /// Keys of an account, without their secrets; those of the past too, until they are ended.
    fn keys(&self, account: Account) -> Vec<ApiKey> {
        self.lock().keys.values().filter(|key| key.account == account).cloned().collect()
    }

    /// Ends a key of an account; tells whether there was one.
    fn end_key(&self, unix: UnixSeconds, account: Account, id: &str) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let found = state.keys.iter().find(|(_, key)| key.account == account && key.id == id);
        let Some(hash) = found.map(|(hash, _)| *hash) else { return Ok(false) };
        self.inner.store.end_key(&hash, &entry(unix, Act::KeyRevoked, account, id.to_owned()))?;
        state.keys.remove(&hash);
        Ok(true)
    }

    fn may_log_in(&self, account: Account) -> bool {
        self.inner.accounts.contains(&account)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(unix: UnixSeconds, act: Act, account: Account, about: String) -> Entry {
    Entry { unix: unix.0, act, account: Some(account.to_string()), about }
}

/// 256 bits that nobody guesses, in hexadecimal digits.
fn token() -> anyhow::Result<String> {
    Ok(runtime::random_seed()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(token: &str) -> Hash {
    digest(token.as_bytes())
}

fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// What a session's browser adds to whatever changes something. It follows from the cookie, which scripts cannot read.
fn csrf(token: &str) -> String {
    let digest =
        Sha256::new().chain_update(b"blackhole/edge/csrf/1\0").chain_update(token.as_bytes()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Scheme and authority as browsers write them: without a port that goes without saying.
fn origin(url: &str) -> anyhow::Result<String> {
    let uri: Uri = url.parse().with_context(|| format!("edge.public_url {url:?} is no URL"))?;
    let parts = uri.scheme_str().zip(uri.authority());
    let (scheme, authority) =
        parts.with_context(|| format!("edge.public_url {url:?} has no scheme or host"))?;
    let silent = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.as_str().to_ascii_lowercase();
    Ok(format!("{scheme}://{}", authority.strip_suffix(silent).unwrap_or(&authority)))
}

/// Accounts as text in records.
mod text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use shared::identity::Account;

    pub(super) fn serialize<S: Serializer>(account: &Account, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(account)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Account, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
