//! What a passkey may do, and when it is not believed. A device here is a key and a counter; the browser's part of it is
//! tried with a real browser in `playwright/specs/operator.passkeys.spec.mjs`.

use multibase::Base::Base64Url;
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Value, json};
use shared::base::UnixSeconds;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::{logging_in::went_back, *};
use crate::login::{
    Begun, LoginConfig, Session, Store, digest, hash,
    tests::{AS_IT_IS, NOW, URL, World, open, wallet},
};

const BY_NAME: &str = "node.example";
/// Flags of authenticator data (level 3, section 6.1): present, verified, with a key.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const WITH_KEY: u8 = 0x40;

/// Somebody's device, or a copy of one.
#[derive(Clone)]
struct Device {
    key: SigningKey,
    id: [u8; 16],
    handle: Value,
    counter: u32,
    /// What it counts at a login.
    step: u32,
    /// What it differs in from an honest one.
    flags: u8,
    origin: &'static str,
    name: &'static str,
    framed: bool,
}

impl Device {
    fn new(number: u8) -> Self {
        Self {
            key: SigningKey::from_slice(&[number; 32]).unwrap(),
            id: [number; 16],
            handle: Value::Null,
            counter: 0,
            step: 1,
            flags: PRESENT | VERIFIED,
            origin: URL,
            name: BY_NAME,
            framed: false,
        }
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let challenge = &options["publicKey"]["challenge"];
        let said = json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.framed });
        said.to_string().into_bytes()
    }

    fn authenticator_data(&self, flags: u8) -> Vec<u8> {
        [&digest(self.name.as_bytes())[..], &[self.flags | flags], &self.counter.to_be_bytes()].concat()
    }

    /// What `navigator.credentials.create` gives.
    fn make(&mut self, options: &Value) -> RegisterPublicKeyCredential {
        self.handle = options["publicKey"]["user"]["id"].clone();
        let point = self.key.verifying_key().to_sec1_point(false);
        let (x, y) = (point.x().unwrap(), point.y().unwrap());
        // COSE_Key: EC2, ES256, P-256.
        let key = [&b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20"[..], x, b"\x22\x58\x20", y].concat();
        let data = [&self.authenticator_data(WITH_KEY)[..], &[0; 16], &[0, 16], &self.id, &key].concat();
        let length = u8::try_from(data.len()).unwrap();
        let object = [&b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58"[..], &[length], &data].concat();
        let client = self.client_data("webauthn.create", options);
        let id = Base64Url.encode(self.id);
        let made = json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": { "attestationObject": Base64Url.encode(object), "clientDataJSON": Base64Url.encode(client) },
        });
        serde_json::from_value(made).unwrap()
    }

    /// What `navigator.credentials.get` gives.
    fn answer(&mut self, options: &Value) -> PublicKeyCredential {
        self.counter += self.step;
        let client = self.client_data("webauthn.get", options);
        let data = self.authenticator_data(0);
        let signature: Signature = self.key.sign(&[&data[..], &digest(&client)].concat());
        let id = Base64Url.encode(self.id);
        let made = json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": {
                "authenticatorData": Base64Url.encode(data), "clientDataJSON": Base64Url.encode(client),
                "signature": Base64Url.encode(signature.to_der().as_bytes()), "userHandle": self.handle,
            },
        });
        serde_json::from_value(made).unwrap()
    }
}

fn options(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap()
}

fn add(login: &Login, session: &Session, device: &mut Device) -> Result<Passkey, LoginError> {
    let (asked, browser) = login.begin_passkey(NOW, session)?;
    let made = device.make(&options(&asked));
    login.add_passkey(NOW, session, "a device", &made, &browser)
}

fn log_in(login: &Login, device: &mut Device) -> Result<Begun, LoginError> {
    let (asked, browser) = login.begin_passkey_login().unwrap();
    login.log_in_by_passkey(NOW, &device.answer(&options(&asked)), &browser, "a browser")
}

/// A world in which the first wallet is logged in, and has a device.
fn with_device() -> (World, Begun, Device, Passkey) {
    let world = World::new();
    let begun = world.log_in(&wallet(1), NOW, AS_IT_IS).unwrap();
    let mut device = Device::new(7);
    let passkey = add(&world.login, &begun.session, &mut device).unwrap();
    (world, begun, device, passkey)
}

fn why<T: std::fmt::Debug>(refused: Result<T, LoginError>) -> PasskeyError {
    match refused {
        Err(LoginError::Passkey(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn acts(login: &Login) -> Vec<Act> {
    login.inner.store.audit(100).unwrap().into_iter().map(|entry| entry.act).collect()
}

#[test]
fn a_passkey_logs_its_account_in_after_a_restart_too() {
    let (world, _, mut device, passkey) = with_device();
    let World { directory, login } = world;
    let begun = log_in(&login, &mut device).unwrap();
    assert_eq!(begun.session.account, wallet(1).account());
    assert_eq!(begun.session.passkey.as_deref(), Some(passkey.id.as_str()));
    assert_eq!(login.passkeys(wallet(1).account())[0].used, Some(NOW.0));
    assert!(login.passkeys(wallet(2).account()).is_empty());
    drop(login);
    let login = open(&directory.path().join("login.redb"));
    assert_eq!(login.session(NOW, &begun.token).unwrap(), begun.session);
    assert!(log_in(&login, &mut device).is_ok());
    let acts = acts(&login);
    assert!(acts.contains(&Act::PasskeyAdded) && acts.contains(&Act::LoggedIn), "{acts:?}");
    // Its counter was kept.
    device.counter = 1;
    assert!(matches!(why(log_in(&login, &mut device)), PasskeyError::Suspended));
}

#[test]
fn a_browser_is_asked_for_what_needs_no_name_and_tells_none() {
    let (world, begun, ..) = with_device();
    let (asked, _) = world.login.begin_passkey(NOW, &begun.session).unwrap();
    let asked = &options(&asked)["publicKey"];
    assert_eq!(asked["rp"]["id"], BY_NAME);
    let selection = &asked["authenticatorSelection"];
    assert_eq!([&selection["residentKey"], &selection["userVerification"]], ["required", "required"]);
    assert_eq!(asked["excludeCredentials"].as_array().unwrap().len(), 1);
    let (asked, _) = world.login.begin_passkey_login().unwrap();
    let asked = options(&asked);
    assert_eq!(asked["publicKey"]["allowCredentials"], json!([]));
    assert_eq!(asked["publicKey"]["userVerification"], "required");
    assert!(asked.get("mediation").is_none(), "{asked}");
}

#[test]
fn answers_that_do_not_hold_are_refused_and_noted() {
    let (world, _, device, _) = with_device();
    let login = &world.login;
    let with = |change: &dyn Fn(&mut Device)| {
        let mut changed = device.clone();
        change(&mut changed);
        why(log_in(login, &mut changed))
    };
    for origin in
        ["https://evil.example", "http://node.example", "https://node.example:444", "https://a.node.example"]
    {
        let refused = with(&|device| device.origin = origin);
        assert!(matches!(refused, PasskeyError::Origin(_)), "{origin}: {refused:?}");
        assert!(refused.to_string().contains(URL), "{refused}");
    }
    assert!(matches!(with(&|device| device.framed = true), PasskeyError::Origin(_)));
    assert!(matches!(with(&|device| device.name = "example"), PasskeyError::Origin(_)));
    assert!(matches!(with(&|device| device.flags = PRESENT), PasskeyError::NotVerified));
    assert!(matches!(with(&|device| device.flags = VERIFIED), PasskeyError::NotVerified));
    assert!(matches!(with(&|device| device.id = [8; 16]), PasskeyError::Unknown));
    let another = json!(Base64Url.encode([9; 16]));
    assert!(matches!(with(&|device| device.handle = another.clone()), PasskeyError::Unknown));
    assert!(matches!(with(&|device| device.handle = Value::Null), PasskeyError::Malformed));
    let stranger = SigningKey::from_slice(&[9; 32]).unwrap();
    assert!(matches!(with(&|device| device.key = stranger.clone()), PasskeyError::Refused(_)));
    let refused = acts(login).into_iter().filter(|act| *act == Act::LoginRefused).count();
    assert_eq!(refused, 12);
    assert!(log_in(login, &mut device.clone()).is_ok(), "the device itself is as good as before");
}

#[test]
fn a_challenge_is_good_once_in_its_browser_and_for_what_it_was_given() {
    let (world, begun, mut device, _) = with_device();
    let login = &world.login;
    let (asked, browser) = login.begin_passkey_login().unwrap();
    let answer = device.answer(&options(&asked));
    assert!(login.log_in_by_passkey(NOW, &answer, &browser, "a browser").is_ok());
    let again = login.log_in_by_passkey(NOW, &answer, &browser, "a browser");
    assert!(matches!(why(again), PasskeyError::Challenge), "replayed");
    let (asked, browser) = login.begin_passkey_login().unwrap();
    let (_, another) = login.begin_passkey_login().unwrap();
    let answer = device.answer(&options(&asked));
    for browser in [&another, &browser] {
        let refused = login.log_in_by_passkey(NOW, &answer, browser, "a browser");
        assert!(matches!(why(refused), PasskeyError::Challenge), "another browser's, and used up by that");
    }
    // One to add a passkey by is none to log in by, nor the other way round.
    let (asked, browser) = login.begin_passkey(NOW, &begun.session).unwrap();
    let refused = login.log_in_by_passkey(NOW, &device.answer(&options(&asked)), &browser, "a browser");
    assert!(matches!(why(refused), PasskeyError::Challenge));
    let (asked, browser) = login.begin_passkey_login().unwrap();
    let mut asked = options(&asked);
    asked["publicKey"]["user"]["id"] = device.handle.clone();
    let made = Device::new(8).make(&asked);
    let refused = login.add_passkey(NOW, &begun.session, "a device", &made, &browser);
    assert!(matches!(why(refused), PasskeyError::Challenge));
}

#[test]
fn what_is_no_answer_is_refused_whatever_it_is() {
    let (world, _, mut device, _) = with_device();
    let (asked, browser) = world.login.begin_passkey_login().unwrap();
    let good = device.answer(&options(&asked));
    for text in ["", "{}", "[]", "\0", "{\"challenge\":7}", "{\"challenge\":\"x\",\"crossOrigin\":3}"] {
        let mut answer = good.clone();
        answer.response.client_data_json = text.into();
        let refused = world.login.log_in_by_passkey(NOW, &answer, &browser, "a browser");
        assert!(matches!(why(refused), PasskeyError::Malformed), "{text}");
    }
    // Cut anywhere, it is refused; nothing ends the node.
    for length in 0..good.response.authenticator_data.len() {
        let (asked, browser) = world.login.begin_passkey_login().unwrap();
        let mut answer = device.answer(&options(&asked));
        answer.response.authenticator_data.truncate(length);
        assert!(world.login.log_in_by_passkey(NOW, &answer, &browser, "a browser").is_err());
        let (asked, browser) = world.login.begin_passkey_login().unwrap();
        let mut answer = device.answer(&options(&asked));
        answer.response.signature.truncate(length);
        assert!(world.login.log_in_by_passkey(NOW, &answer, &browser, "a browser").is_err());
    }
}

#[test]
fn of_a_passkey_and_its_copy_neither_logs_in() {
    let (world, wallets, mut device, passkey) = with_device();
    let login = &world.login;
    let mut copy = device.clone();
    let by_copy = log_in(login, &mut copy).unwrap();
    assert!(matches!(why(log_in(login, &mut device)), PasskeyError::Suspended), "counted as the copy did");
    assert!(matches!(why(log_in(login, &mut copy)), PasskeyError::Suspended), "whichever counts higher");
    assert!(login.session(NOW, &by_copy.token).is_none());
    assert!(login.session(NOW, &wallets.token).is_some());
    assert!(login.passkeys(wallet(1).account())[0].suspended);
    assert_eq!(acts(login).iter().filter(|act| **act == Act::PasskeySuspended).count(), 1);
    // The wallet is there to begin anew.
    assert!(matches!(why(add(login, &wallets.session, &mut device.clone())), PasskeyError::Known));
    assert!(login.end_passkey(NOW, wallet(1).account(), &passkey.id).unwrap());
    let mut anew = Device::new(8);
    add(login, &wallets.session, &mut anew).unwrap();
    assert!(log_in(login, &mut anew).is_ok());
}

#[test]
fn a_copy_that_logs_in_at_the_same_moment_is_found_too() {
    let (world, _, mut device, _) = with_device();
    let login = &world.login;
    let mut copy = device.clone();
    let (hash, known) =
        login.lock().passkeys.first_key_value().map(|(hash, one)| (*hash, one.clone())).unwrap();
    let relying_party = login.relying_party().unwrap();
    // Both are compared with the counter that was kept before them.
    let [first, second] = [&mut device, &mut copy].map(|device| {
        let (asked, begun) = relying_party.start_discoverable_authentication().unwrap();
        let answer = device.answer(&options(&asked));
        relying_party.finish_discoverable_authentication_v2(&answer, begun, &known.credential).unwrap()
    });
    assert!(login.passkey_used(NOW, &hash, &first).is_ok());
    assert!(matches!(why(login.passkey_used(NOW, &hash, &second)), PasskeyError::Suspended));
    assert!(matches!(why(log_in(login, &mut device)), PasskeyError::Suspended));
}

#[test]
fn devices_that_count_nothing_log_in_again_and_again() {
    for (kept, now, back) in
        [(0, 0, false), (0, 1, false), (1, 1, true), (2, 1, true), (1, 0, true), (1, 2, false)]
    {
        assert_eq!(went_back(kept, now), back, "{kept} {now}");
    }
    let (world, _, mut device, _) = with_device();
    device.step = 0;
    for _ in 0..3 {
        assert!(log_in(&world.login, &mut device).is_ok());
    }
}

#[test]
fn an_ended_passkey_takes_its_sessions_with_it_and_no_others() {
    let (world, wallets, mut device, passkey) = with_device();
    let login = &world.login;
    let own = wallet(1).account();
    let mut second = Device::new(8);
    add(login, &wallets.session, &mut second).unwrap();
    let by_first = log_in(login, &mut device).unwrap();
    let by_second = log_in(login, &mut second).unwrap();
    assert!(!login.end_passkey(NOW, wallet(2).account(), &passkey.id).unwrap(), "somebody else's");
    assert!(login.end_passkey(NOW, own, &passkey.id).unwrap());
    assert!(!login.end_passkey(NOW, own, &passkey.id).unwrap());
    assert!(login.session(NOW, &by_first.token).is_none());
    assert!(login.session(NOW, &by_second.token).is_some() && login.session(NOW, &wallets.token).is_some());
    assert!(matches!(why(log_in(login, &mut device)), PasskeyError::Unknown));
    // Nor does one that was checked before it ended begin a session after.
    let late = login.begin(NOW, own, Some(passkey.id), "a browser");
    assert!(matches!(why(late), PasskeyError::Unknown));
    // On the disk too.
    let World { directory, login } = world;
    drop(login);
    let login = open(&directory.path().join("login.redb"));
    assert!(login.session(NOW, &by_first.token).is_none());
    assert_eq!(login.passkeys(own).len(), 1);
}

#[test]
fn only_a_wallet_that_just_logged_in_adds_a_passkey() {
    let (world, wallets, mut device, _) = with_device();
    let login = &world.login;
    let after = |seconds| login.begin_passkey(UnixSeconds(NOW.0 + seconds), &wallets.session);
    assert!(after(FRESH_SECONDS - 1).is_ok());
    assert!(matches!(why(after(FRESH_SECONDS)), PasskeyError::LogInAgain), "a session that may be stolen");
    let by_passkey = log_in(login, &mut device).unwrap();
    assert!(matches!(why(add(login, &by_passkey.session, &mut Device::new(8))), PasskeyError::LogInAgain));
    // What one session began no other ends.
    let other = world.log_in(&wallet(2), NOW, AS_IT_IS).unwrap();
    let (asked, browser) = login.begin_passkey(NOW, &wallets.session).unwrap();
    let made = Device::new(8).make(&options(&asked));
    let refused = login.add_passkey(NOW, &other.session, "a device", &made, &browser);
    assert!(matches!(why(refused), PasskeyError::Challenge));
    assert!(acts(login).contains(&Act::PasskeyRefused));
}

#[test]
fn devices_that_do_not_verify_or_are_elsewhere_are_not_added() {
    let (world, wallets, ..) = with_device();
    let mut careless = Device { flags: PRESENT, ..Device::new(8) };
    assert!(matches!(why(add(&world.login, &wallets.session, &mut careless)), PasskeyError::NotVerified));
    let mut phished = Device { origin: "https://evil.example", ..Device::new(8) };
    assert!(matches!(why(add(&world.login, &wallets.session, &mut phished)), PasskeyError::Origin(_)));
    let mut framed = Device { framed: true, ..Device::new(8) };
    assert!(matches!(why(add(&world.login, &wallets.session, &mut framed)), PasskeyError::Origin(_)));
    // Another account's, by the name that its device has: it stays who it was.
    let other = world.log_in(&wallet(2), NOW, AS_IT_IS).unwrap();
    let mut taken = Device { key: SigningKey::from_slice(&[9; 32]).unwrap(), ..Device::new(7) };
    assert!(matches!(why(add(&world.login, &other.session, &mut taken)), PasskeyError::Known));
    assert!(world.login.passkeys(wallet(2).account()).is_empty());
}

#[test]
fn a_passkey_of_an_account_that_the_operator_removed_is_refused() {
    let (world, _, mut device, _) = with_device();
    let World { directory, login } = world;
    drop(login);
    let config = LoginConfig { accounts: vec![wallet(2).account()], chain_id: 137 };
    let login = Login::open(&config, URL, &directory.path().join("login.redb")).unwrap();
    let refused = log_in(&login, &mut device).unwrap_err();
    assert!(
        matches!(&refused, LoginError::NotAllowed(account) if *account == wallet(1).account()),
        "{refused}"
    );
    assert!(login.lock().sessions.values().all(|session| session.passkey.is_none()));
}

#[test]
fn an_account_has_so_many_passkeys_and_no_more() {
    let (world, wallets, ..) = with_device();
    let max = u8::try_from(PASSKEYS_MAX).unwrap();
    let (asked, browser) = world.login.begin_passkey(NOW, &wallets.session).unwrap();
    let late = Device::new(90).make(&options(&asked));
    for number in 1..max {
        add(&world.login, &wallets.session, &mut Device::new(100 + number)).unwrap();
    }
    assert!(matches!(why(add(&world.login, &wallets.session, &mut Device::new(99))), PasskeyError::TooMany));
    let late = world.login.add_passkey(NOW, &wallets.session, "a device", &late, &browser);
    assert!(matches!(why(late), PasskeyError::TooMany), "begun while there was room");
    assert_eq!(world.login.passkeys(wallet(1).account()).len(), PASSKEYS_MAX);
}

#[test]
fn passkeys_are_by_names_that_browsers_have_them_for() {
    let works = |origin: &str| relying_party(origin).is_ok();
    for good in
        ["https://node.example", "https://node.example:8443", "http://localhost:8080", "http://a.localhost:1"]
    {
        assert!(works(good), "{good}");
    }
    let remedy = |origin: &str| relying_party(origin).unwrap_err();
    for bad in
        ["http://node.example", "https://192.0.2.1", "https://[2001:db8::1]:444", "http://localhost.example"]
    {
        let remedy = remedy(bad);
        assert!(
            remedy.contains("edge.public_url") && !remedy.contains("http://localhost"),
            "{bad}: {remedy}"
        );
    }
    assert!(remedy("http://127.0.0.1:8080").contains("http://localhost:8080"));
    assert!(remedy("http://[::1]:8080").contains("http://localhost:8080"));
}

#[test]
fn a_session_from_before_there_were_passkeys_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("login.redb");
    let account = wallet(1).account();
    let old =
        json!({ "id": "0", "account": account.to_string(), "created": NOW.0, "used": NOW.0, "agent": "a" });
    let session: Session = serde_json::from_value(old).unwrap();
    Store::open(&path).unwrap().keep_session(&hash("token"), &session, None).unwrap();
    assert_eq!(open(&path).session(NOW, "token").unwrap().passkey, None);
}
