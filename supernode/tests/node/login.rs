//! An operator logs in by its wallet's signature, and nobody else does.

use std::{collections::BTreeMap, fs, net::SocketAddr};

use serde_json::{Value, json};
use shared::identity::{AccountKey, siwe::personal_digest};

use crate::{
    http::{Answer, send},
    process::{Node, World, blackhole},
};

fn wallet(number: u8) -> AccountKey {
    AccountKey::from_secret([number; 32]).unwrap()
}

fn section() -> String {
    format!("[edge.login]\naccounts = [\"{}\"]\nchain_id = 137\n", wallet(1).account())
}

/// As little of a browser as has cookies.
struct Browser {
    address: SocketAddr,
    cookies: BTreeMap<String, String>,
    /// What it adds to every request.
    headers: Vec<(&'static str, String)>,
}

impl Browser {
    fn of(node: &Node) -> Self {
        Self { address: node.address, cookies: BTreeMap::new(), headers: Vec::new() }
    }

    fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut headers = vec![("cookie", cookies.join("; "))];
        headers.extend(self.headers.clone());
        let text = body.map(Value::to_string).unwrap_or_default();
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        headers.push(("content-length", text.len().to_string()));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = send(self.address, method, path, &headers, text.as_bytes());
        for cookie in answer.headers.get("set-cookie").into_iter().flat_map(|all| all.split('\n')) {
            for needed in ["HttpOnly", "SameSite=Strict", "Path=/"] {
                assert!(cookie.contains(needed), "{cookie}");
            }
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Asks for a text and has it signed.
    fn sign(&mut self, who: &AccountKey) -> Value {
        let account = who.account().to_string().to_lowercase();
        let asked = self.ask("POST", "/blackhole/v1/login/nonce", Some(&json!({ "account": account })));
        assert_eq!(asked.status, 200, "{}", asked.text());
        let message = parsed(&asked)["message"].as_str().unwrap().to_owned();
        let signature = who.sign(&personal_digest(&message));
        json!({ "message": message, "signature": format!("0x{}", hex::encode(signature.0)) })
    }

    fn log_in(&mut self, who: &AccountKey) -> Answer {
        let signed = self.sign(who);
        self.ask("POST", "/blackhole/v1/login", Some(&signed))
    }

    /// Logged in, with the token that shows that it means what it sends.
    fn logged_in(node: &Node) -> Self {
        let mut browser = Self::of(node);
        let answer = browser.log_in(&wallet(1));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = parsed(&answer)["csrf"].as_str().unwrap().to_owned();
        browser.headers.push(("x-blackhole-csrf", token));
        browser
    }
}

fn parsed(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()))
}

#[test]
fn an_operator_logs_in_sees_its_sessions_and_ends_them() {
    let world = World::new();
    let node = world.node("data", &section());
    let mut browser = Browser::of(&node);
    assert_eq!(browser.ask("GET", "/blackhole/v1/session", None).status, 401);
    let answer = browser.log_in(&wallet(1));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let who = parsed(&browser.ask("GET", "/blackhole/v1/session", None));
    assert_eq!(who["account"], wallet(1).account().to_string());
    let other = Browser::logged_in(&node);
    let mut other = other;
    let sessions = parsed(&other.ask("GET", "/blackhole/v1/sessions", None));
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    let first = sessions.as_array().unwrap().iter().find(|session| session["current"] == false).unwrap();
    let path = format!("/blackhole/v1/sessions/{}", first["id"].as_str().unwrap());
    assert_eq!(other.ask("DELETE", &path, None).status, 204);
    assert_eq!(other.ask("DELETE", &path, None).status, 404);
    assert_eq!(browser.ask("GET", "/blackhole/v1/session", None).status, 401);
    // The node forgets nobody that it should not, and remembers nobody that it should not.
    node.kill();
    let node = world.node("data", &section());
    (browser.address, other.address) = (node.address, node.address);
    assert_eq!(browser.ask("GET", "/blackhole/v1/session", None).status, 401);
    assert_eq!(other.ask("GET", "/blackhole/v1/session", None).status, 200);
    assert_eq!(other.ask("DELETE", "/blackhole/v1/session", None).status, 204);
    assert_eq!(other.ask("GET", "/blackhole/v1/session", None).status, 401);
}

#[test]
fn a_session_that_was_planted_is_never_one() {
    let world = World::new();
    let node = world.node("data", &section());
    let planted = "a".repeat(64);
    let mut victim = Browser::of(&node);
    victim.cookies.insert("blackhole-session".to_owned(), planted.clone());
    assert_eq!(victim.log_in(&wallet(1)).status, 200);
    assert_ne!(victim.cookies["blackhole-session"], planted);
    let mut attacker = Browser::of(&node);
    attacker.cookies.insert("blackhole-session".to_owned(), planted);
    assert_eq!(attacker.ask("GET", "/blackhole/v1/session", None).status, 401);
    // Nor does the one before a login live on.
    let before = victim.cookies["blackhole-session"].clone();
    assert_eq!(victim.log_in(&wallet(1)).status, 200);
    attacker.cookies.insert("blackhole-session".to_owned(), before);
    assert_eq!(attacker.ask("GET", "/blackhole/v1/session", None).status, 401);
}

#[test]
fn replayed_foreign_and_stolen_texts_are_refused() {
    let world = World::new();
    let node = world.node("data", &section());
    let mut browser = Browser::of(&node);
    let signed = browser.sign(&wallet(1));
    let held = browser.cookies.clone();
    // Stolen on its way: another browser does not hold what this one was given.
    let mut thief = Browser::of(&node);
    thief.sign(&wallet(1));
    assert_eq!(thief.ask("POST", "/blackhole/v1/login", Some(&signed)).status, 403);
    let signed = browser.sign(&wallet(1));
    assert_eq!(browser.ask("POST", "/blackhole/v1/login", Some(&signed)).status, 200);
    browser.cookies = held;
    let again = browser.ask("POST", "/blackhole/v1/login", Some(&signed));
    assert!(again.status == 403 && again.text().contains("was used before"), "{}", again.text());
    let stranger = browser.log_in(&wallet(2));
    assert!(stranger.status == 403 && stranger.text().contains("edge.login.accounts"), "{}", stranger.text());
    // A text that was signed for another site.
    let mut phished = browser.sign(&wallet(1));
    let text = phished["message"].as_str().unwrap().replace(&node.address.to_string(), "evil.example");
    let signature = wallet(1).sign(&personal_digest(&text));
    phished = json!({ "message": text, "signature": format!("0x{}", hex::encode(signature.0)) });
    let refused = browser.ask("POST", "/blackhole/v1/login", Some(&phished));
    assert!(refused.status == 403 && refused.text().contains("another site"), "{}", refused.text());
    for bad in [json!({}), json!({ "message": "x", "signature": "0xé1" }), json!([1])] {
        assert!([400, 403].contains(&browser.ask("POST", "/blackhole/v1/login", Some(&bad)).status), "{bad}");
    }
}

#[test]
fn what_another_page_sends_does_nothing() {
    let world = World::new();
    let node = world.node("data", &section());
    let mut browser = Browser::logged_in(&node);
    let key = json!({ "name": "mine", "scopes": ["earnings"] });
    let token = browser.headers.pop().unwrap();
    let forged = browser.ask("POST", "/blackhole/v1/keys", Some(&key));
    assert!(forged.status == 403 && forged.text().contains("x-blackhole-csrf"), "{}", forged.text());
    browser.headers.push((token.0, "0".repeat(64)));
    assert_eq!(browser.ask("POST", "/blackhole/v1/keys", Some(&key)).status, 403);
    browser.headers.pop();
    // With the token, but from elsewhere.
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "same-site")]
    {
        browser.headers = vec![token.clone(), (name, value.to_owned())];
        assert_eq!(browser.ask("POST", "/blackhole/v1/keys", Some(&key)).status, 403, "{name}: {value}");
        assert_eq!(browser.ask("DELETE", "/blackhole/v1/session", None).status, 403);
        assert_eq!(browser.ask("POST", "/blackhole/v1/login/nonce", None).status, 403);
    }
    // No other page is permitted to ask, or to hear.
    let origin = vec![("origin", "https://evil.example".to_owned())];
    browser.headers = origin;
    for path in ["/blackhole/v1/keys", "/blackhole/v1/login", "/status/earnings.csv"] {
        let preflight = browser.ask("OPTIONS", path, None);
        assert!(!preflight.headers.contains_key("access-control-allow-origin"), "{path}");
    }
    browser.headers = vec![token, ("origin", format!("http://{}", node.address))];
    assert_eq!(browser.ask("POST", "/blackhole/v1/keys", Some(&key)).status, 201);
}

#[test]
fn a_key_is_shown_once_and_is_for_what_it_says() {
    let world = World::new();
    // Behind a proxy, so that asking from this machine says nothing.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = world.config("data", &format!("public_url = \"http://{free}\"\n{}", section()));
    let text = fs::read_to_string(&config).unwrap().replace("127.0.0.1:0", &free.to_string());
    fs::write(&config, text).unwrap();
    let node = Node::start(blackhole(&["node", "run", "--config", config.to_str().unwrap()]));
    let mut browser = Browser::logged_in(&node);
    assert_eq!(Browser::of(&node).ask("GET", "/status/earnings", None).status, 401);
    assert_eq!(browser.ask("GET", "/status/earnings", None).status, 200);
    let mut make = |scopes: &[&str]| {
        let wanted = json!({ "name": "reports", "scopes": scopes, "days": 7 });
        browser.ask("POST", "/blackhole/v1/keys", Some(&wanted))
    };
    assert_eq!([make(&[]).status, make(&["everything"]).status], [400, 400]);
    let made = parsed(&make(&["earnings"]));
    let whole = made["key"].as_str().unwrap().to_owned();
    let mut program = Browser::of(&node);
    program.headers = vec![("authorization", format!("Bearer {whole}"))];
    assert_eq!(program.ask("GET", "/status/earnings.csv", None).status, 200);
    assert_eq!(program.ask("GET", "/blackhole/v1/audit", None).status, 403, "another scope");
    for path in ["/blackhole/v1/keys", "/blackhole/v1/sessions", "/blackhole/v1/session"] {
        assert_eq!(program.ask("GET", path, None).status, 401, "{path}: keys make no keys");
    }
    let listed = browser.ask("GET", "/blackhole/v1/keys", None).text();
    assert!(listed.contains("reports") && !listed.contains(&whole), "{listed}");
    let path = format!("/blackhole/v1/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(browser.ask("DELETE", &path, None).status, 204);
    assert_eq!(program.ask("GET", "/status/earnings.csv", None).status, 401);
    let audit = browser.ask("GET", "/blackhole/v1/audit", None).text();
    assert!(["logged-in", "key-made", "key-revoked"].iter().all(|act| audit.contains(act)), "{audit}");
    assert!(!audit.contains(&whole), "{audit}");
}

#[test]
fn too_many_logins_are_held_up() {
    let world = World::new();
    let node = world.node("data", &section());
    let mut browser = Browser::of(&node);
    let mut statuses = (0..400).map(|_| browser.ask("POST", "/blackhole/v1/login/nonce", None));
    let refused = statuses.find(|answer| answer.status != 200).expect("there is a bound");
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (429, "5"));
}

#[test]
fn passkeys_need_a_name_and_are_held_up_with_all_logins() {
    let world = World::new();
    let node = world.node("data", &section());
    let mut browser = Browser::of(&node);
    let mut begin = || browser.ask("POST", "/blackhole/v1/login/passkey/begin", None);
    let refused = begin();
    let remedy = format!("http://localhost:{}", node.address.port());
    assert!(refused.status == 409 && refused.text().contains(&remedy), "{}", refused.text());
    let mut statuses = (0..400).map(|_| begin().status);
    assert_eq!(statuses.find(|status| *status != 409), Some(429));
    for (method, path) in [("GET", ""), ("POST", ""), ("POST", "/begin"), ("DELETE", "/x")] {
        let nobody = browser.ask(method, &format!("/blackhole/v1/passkeys{path}"), None);
        assert_eq!(nobody.status, 401, "{method} {path}");
        assert!(!nobody.headers.contains_key("access-control-allow-origin"), "{method} {path}");
    }
}

#[test]
fn without_the_section_nobody_logs_in() {
    let world = World::new();
    let node = world.node("data", "");
    let answer = Browser::of(&node).ask("POST", "/blackhole/v1/login/nonce", None);
    assert!(answer.status == 404 && answer.text().contains("[edge.login]"), "{}", answer.text());
    assert_eq!(node.get("/status/login").status, 404);
    assert!(!world.path("data").join("login.redb").exists());
    let config = world.config("bad", "[edge.login]\naccounts = []\n");
    let output = blackhole(&["node", "run", "--config", config.to_str().unwrap()]).output().unwrap();
    assert!(crate::process::text(&output).contains("edge.login.accounts names nobody"));
}
