//! What a login may be, at any time and from anybody.

use shared::identity::{AccountKey, siwe::personal_digest};

use super::*;

pub(super) const URL: &str = "https://node.example";
pub(super) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

pub(super) fn wallet(number: u8) -> AccountKey {
    AccountKey::from_secret([number; 32]).unwrap()
}

pub(super) struct World {
    pub(super) directory: tempfile::TempDir,
    pub(super) login: Login,
}

impl World {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let login = open(&directory.path().join("login.redb"));
        Self { directory, login }
    }

    /// A text as a wallet shows it, with what it differs in from a good one.
    fn text(&self, who: &AccountKey, nonce: &str, issued: UnixSeconds, change: (&str, &str)) -> String {
        let issued = crate::status::words::moment(issued.0);
        let text = format!(
            "{URL} wants you to sign in with your Ethereum account:\n{}\n\n\nURI: {URL}/status/login\nVersion: 1\n\
             Chain ID: 137\nNonce: {nonce}\nIssued At: {issued}",
            who.account()
        );
        text.replacen(change.0, change.1, 9)
    }

    pub(super) fn log_in(
        &self,
        who: &AccountKey,
        issued: UnixSeconds,
        change: (&str, &str),
    ) -> Result<Begun, LoginError> {
        let (nonce, browser) = self.login.give_nonce().unwrap();
        let text = self.text(who, &nonce, issued, change);
        self.login.log_in(NOW, &text, &sign(who, &text), &browser, "a browser")
    }
}

pub(super) fn open(path: &Path) -> Login {
    let accounts = vec![wallet(1).account(), wallet(2).account()];
    Login::open(&LoginConfig { accounts, chain_id: 137 }, URL, path).unwrap()
}

fn sign(who: &AccountKey, text: &str) -> Vec<u8> {
    who.sign(&personal_digest(text)).0.to_vec()
}

pub(super) const AS_IT_IS: (&str, &str) = ("", "");

#[test]
fn a_wallet_that_may_logs_in_and_is_known_by_its_token_until_it_ends() {
    let world = World::new();
    let begun = world.log_in(&wallet(1), NOW, AS_IT_IS).unwrap();
    let at = |seconds| world.login.session(UnixSeconds(NOW.0 + seconds), &begun.token);
    assert_eq!(at(0).unwrap().account, wallet(1).account());
    assert!(at(IDLE_SECONDS - 1).is_some());
    assert!(at(2 * IDLE_SECONDS - 2).is_some(), "used the day before");
    assert!(at(4 * IDLE_SECONDS).is_none(), "not used for a day");
    assert!(world.login.session(NOW, &"0".repeat(64)).is_none());
    // However often it is used.
    let begun = world.log_in(&wallet(1), NOW, AS_IT_IS).unwrap();
    let used = (0..200).map(|hour| world.login.session(UnixSeconds(NOW.0 + hour * 3600), &begun.token));
    assert_eq!(used.filter(Option::is_some).count(), 168);
    assert!(!format!("{:?}", world.login).contains(&begun.token), "a token is kept as a hash");
}

#[test]
fn clocks_may_differ_by_a_minute_and_wallets_may_take_ten() {
    let world = World::new();
    let skewed = |seconds: i64| {
        let issued = UnixSeconds(NOW.0.saturating_add_signed(seconds));
        world.log_in(&wallet(1), issued, AS_IT_IS)
    };
    for good in [0, 59, -599] {
        assert!(skewed(good).is_ok(), "{good}");
    }
    for bad in [61, 86_400, -601, -86_400] {
        assert!(matches!(skewed(bad), Err(LoginError::Siwe(SiweError::Time(_)))), "{bad}");
    }
}

#[test]
fn a_text_for_another_site_chain_or_account_is_no_login() {
    let world = World::new();
    let with = |from, to| world.log_in(&wallet(1), NOW, (from, to)).unwrap_err();
    assert!(matches!(with("node.example", "evil.example"), LoginError::Siwe(SiweError::Domain)));
    assert!(matches!(with("https://", "http://"), LoginError::Siwe(SiweError::Domain)));
    assert!(matches!(
        with("node.example wants", "node.example:444 wants"),
        LoginError::Siwe(SiweError::Domain)
    ));
    assert!(matches!(
        with("URI: https://node.example", "URI: https://node.example.evil"),
        LoginError::Siwe(SiweError::Domain)
    ));
    assert!(matches!(with("Chain ID: 137", "Chain ID: 1"), LoginError::Siwe(SiweError::Chain)));
    assert!(matches!(with("Nonce: ", "Nonce: 0"), LoginError::Nonce));
    let (one, other) = (wallet(1).account().to_string(), wallet(2).account().to_string());
    assert!(matches!(with(&one, &other), LoginError::Siwe(SiweError::Signature)));
    let stranger = world.log_in(&wallet(3), NOW, AS_IT_IS).unwrap_err();
    assert!(
        matches!(stranger, LoginError::NotAllowed(_)) && stranger.to_string().contains("edge.login.accounts")
    );
    // Each left a line, and nobody is in.
    let refused = world.login.inner.store.audit(100).unwrap();
    assert_eq!(refused.iter().filter(|entry| entry.act == Act::LoginRefused).count(), 8);
    assert!(world.login.lock().sessions.is_empty());
}

#[test]
fn a_signed_text_is_good_once_and_only_in_the_browser_it_was_asked_for_in() {
    let world = World::new();
    let (nonce, browser) = world.login.give_nonce().unwrap();
    let text = world.text(&wallet(1), &nonce, NOW, AS_IT_IS);
    let signature = sign(&wallet(1), &text);
    let log_in = |browser: &str| world.login.log_in(NOW, &text, &signature, browser, "a browser");
    assert!(log_in(&browser).is_ok());
    assert!(matches!(log_in(&browser), Err(LoginError::Nonce)), "replayed");
    let (nonce, browser) = world.login.give_nonce().unwrap();
    let text = world.text(&wallet(1), &nonce, NOW, AS_IT_IS);
    let signature = sign(&wallet(1), &text);
    let log_in = |browser: &str| world.login.log_in(NOW, &text, &signature, browser, "a browser");
    let (_, another) = world.login.give_nonce().unwrap();
    assert!(matches!(log_in(&another), Err(LoginError::Nonce)), "planted in another browser");
    assert!(matches!(log_in(&browser), Err(LoginError::Nonce)), "and used up by that");
}

#[test]
fn sessions_and_keys_survive_a_restart_and_end_when_they_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("login.redb");
    let world = World { login: open(&path), directory: tempfile::tempdir().unwrap() };
    let begun = world.log_in(&wallet(1), NOW, AS_IT_IS).unwrap();
    let own = wallet(1).account();
    let made = world.login.make_key(NOW, own, "reports", vec![Scope::Earnings], 30).unwrap();
    let (key, whole) = made.unwrap();
    drop(world);
    let login = open(&path);
    assert_eq!(login.session(NOW, &begun.token).unwrap().id, begun.session.id);
    assert_eq!(login.key(NOW, &whole).unwrap(), key);
    assert!(login.key(UnixSeconds(NOW.0 + 30 * 86_400), &whole).is_none(), "its days are over");
    assert!(login.key(NOW, &begun.token).is_none() && login.session(NOW, &whole).is_none());
    // Nobody else ends them.
    let other = wallet(2).account();
    assert!(!login.end_key(NOW, other, &key.id).unwrap());
    assert!(!login.end_session(NOW, other, &begun.session.id, Act::SessionRevoked).unwrap());
    assert!(login.end_key(NOW, own, &key.id).unwrap());
    assert!(login.end_session(NOW, own, &begun.session.id, Act::SessionRevoked).unwrap());
    assert!(login.key(NOW, &whole).is_none() && login.session(NOW, &begun.token).is_none());
    let acts: Vec<_> = login.inner.store.audit(10).unwrap().into_iter().map(|entry| entry.act).collect();
    for act in [Act::LoggedIn, Act::KeyMade, Act::KeyRevoked, Act::SessionRevoked] {
        assert!(acts.contains(&act), "{acts:?}");
    }
    // Neither is on the disk as it is.
    drop(login);
    let bytes = std::fs::read(&path).unwrap();
    for secret in [&begun.token, &whole] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[test]
fn an_account_that_the_operator_removed_is_out_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("login.redb");
    let world = World { login: open(&path), directory: tempfile::tempdir().unwrap() };
    let begun = world.log_in(&wallet(1), NOW, AS_IT_IS).unwrap();
    let made = world.login.make_key(NOW, wallet(1).account(), "reports", vec![Scope::Audit], 30).unwrap();
    drop(world);
    let config = LoginConfig { accounts: vec![wallet(2).account()], chain_id: 137 };
    let login = Login::open(&config, URL, &path).unwrap();
    assert!(login.session(NOW, &begun.token).is_none());
    assert!(login.key(NOW, &made.unwrap().1).is_none());
}

#[test]
fn an_account_has_so_many_sessions_and_keys_and_no_more() {
    let world = World::new();
    let own = wallet(1).account();
    let first = world.log_in(&wallet(1), NOW, AS_IT_IS).unwrap();
    for _ in 0..SESSIONS_MAX {
        world.log_in(&wallet(1), NOW, AS_IT_IS).unwrap();
    }
    let sessions = world.login.sessions(NOW, own);
    assert_eq!(sessions.len(), SESSIONS_MAX);
    let _ = first;
    let make = || world.login.make_key(NOW, own, "one", vec![Scope::Audit], 1).unwrap();
    assert!((0..KEYS_MAX).all(|_| make().is_some()));
    assert!(make().is_none());
}

#[test]
fn the_origin_is_written_as_browsers_write_it() {
    let check = |url: &str, expect: &str| assert_eq!(origin(url).unwrap(), expect);
    check("https://Node.Example:443/", "https://node.example");
    check("http://127.0.0.1:8080", "http://127.0.0.1:8080");
    check("http://node.example:80", "http://node.example");
    assert!(origin("node.example").is_err() && origin("/x").is_err());
}
