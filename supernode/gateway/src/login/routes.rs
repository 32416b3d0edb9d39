//! The login by HTTP: JSON in and out, cookies that scripts cannot read.

use std::fmt::Write as _;

use axum::{
    Extension, Json, Router,
    body::{Body, HttpBody as _},
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::{
    base::UnixSeconds,
    identity::{
        Account,
        siwe::{LOGIN_SECONDS_MAX, MAX_SIWE_BYTES},
    },
};

use super::{
    Act, ApiKey, Begun, Login, LoginError, SESSION_SECONDS, Scope, Session, csrf,
    guard::{cookie, from_own_page, may_read, own_act, own_session},
    passkey_routes,
    store::StoreError,
};
use runtime::http::Client;

use crate::{
    app::Edge,
    problem::Problem,
    status::words::{escape, moment},
};

/// Twice the longest text, whose line breaks JSON writes as two characters, and its signature.
const BODY_BYTES_MAX: usize = 2 * MAX_SIWE_BYTES + 1024;
/// What a key or a passkey may be called.
pub(super) const NAME_CHARACTERS_MAX: usize = 80;
/// A key is for a year at most: then somebody looks whether it is still wanted.
const KEY_DAYS_MAX: u64 = 366;
const KEY_DAYS: u64 = 90;
/// Lines of the audit in an answer.
const ENTRIES_MAX: usize = 1000;

/// The routes of a login.
pub(crate) fn routes() -> Router<Edge> {
    Router::new()
        .route("/blackhole/v1/login/nonce", post(nonce))
        .route("/blackhole/v1/login", post(log_in))
        .route("/blackhole/v1/session", get(session).delete(log_out))
        .route("/blackhole/v1/sessions", get(sessions))
        .route("/blackhole/v1/sessions/{id}", delete(end_session))
        .route("/blackhole/v1/keys", get(keys).post(make_key))
        .route("/blackhole/v1/keys/{id}", delete(end_key))
        .route("/blackhole/v1/audit", get(audit))
        .merge(passkey_routes::routes())
        .route("/status/login", get(page))
        .route("/status/login.js", get(script))
}

/// The page, for wallets in a browser.
const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");

async fn page(State(edge): State<Edge>) -> Result<Response, Problem> {
    let login = login(&edge)?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    let without_passkeys = escape(login.without_passkeys().unwrap_or_default());
    let page = PAGE.replace("{STYLE}", crate::status::STYLE).replace("{WITHOUT_PASSKEYS}", &without_passkeys);
    Ok((headers, page).into_response())
}

async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    account: String,
}

/// A nonce, and for an account the text to sign: wallets name accounts in small letters, which the text does not.
async fn nonce(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let login = login(&edge)?;
    from_own_page(&login, &headers)?;
    in_measure(&login, client)?;
    let account = if body.is_end_stream() {
        None
    } else {
        let Who { account } = read(&headers, body, BODY_BYTES_MAX).await?;
        Some(account.parse::<Account>().map_err(Problem::malformed)?)
    };
    let (nonce, browser) = login.give_nonce().map_err(Problem::internal)?;
    let (origin, chain_id) = (login.origin(), login.inner.chain_id);
    let domain = origin.split_once("://").map_or(origin, |(_, domain)| domain);
    let issued = moment(runtime::unix_now().0);
    let message = account.map(|account| {
        format!(
            "{origin} wants you to sign in with your Ethereum account:\n{account}\n\nLog in to this supernode.\n\n\
             URI: {origin}\nVersion: 1\nChain ID: {chain_id}\nNonce: {nonce}\nIssued At: {issued}"
        )
    });
    let answer = json!({
        "message": message,
        "nonce": nonce,
        "domain": domain,
        "uri": origin,
        "chain_id": chain_id,
        "version": "1",
        "good_for_seconds": LOGIN_SECONDS_MAX,
    });
    let cookie = login.cookie(login.browser_cookie(), &browser, LOGIN_SECONDS_MAX);
    Ok(([(header::SET_COOKIE, cookie)], Json(answer)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    message: String,
    signature: String,
}

async fn log_in(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let login = login(&edge)?;
    from_own_page(&login, &headers)?;
    in_measure(&login, client)?;
    let Signed { message, signature } = read(&headers, body, BODY_BYTES_MAX).await?;
    let signature = bytes(&signature).ok_or_else(|| Problem::malformed("the signature is 0x and digits"))?;
    begin_session(login, &headers, move |login, unix, browser, agent| {
        login.log_in(unix, &message, &signature, browser, agent)
    })
    .await
}

/// Begins a session by what is checked with the browser that was to come back, and what it calls itself. One that this
/// browser had ends with the new one.
pub(super) async fn begin_session(
    login: Login,
    headers: &HeaderMap,
    check: impl FnOnce(&Login, UnixSeconds, &str, &str) -> Result<Begun, LoginError> + Send + 'static,
) -> Result<Response, Problem> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let agent = text(header::USER_AGENT).unwrap_or("unknown").to_owned();
    let browser = cookie(headers, login.browser_cookie()).unwrap_or_default().to_owned();
    let before = own_session(&login, headers).ok();
    let worker = login.clone();
    let begun = blocking(move || {
        let unix = runtime::unix_now();
        let begun = check(&worker, unix, &browser, &agent)?;
        if let Some((before, _)) = before {
            worker.end_session(unix, before.account, &before.id, Act::LoggedOut)?;
        }
        Ok(begun)
    });
    let begun = begun.await?;
    let answer = json!({
        "account": begun.session.account.to_string(),
        "csrf": csrf(&begun.token),
        "expires_unix": begun.session.expires(),
    });
    let mut response = Json(answer).into_response();
    let session = login.cookie(login.session_cookie(), &begun.token, SESSION_SECONDS);
    response.headers_mut().append(header::SET_COOKIE, session);
    response.headers_mut().append(header::SET_COOKIE, login.cookie(login.browser_cookie(), "", 0));
    Ok(response)
}

async fn session(State(edge): State<Edge>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let (session, token) = own_session(&login(&edge)?, &headers)?;
    Ok(Json(json!({
        "account": session.account.to_string(),
        "id": session.id,
        "csrf": csrf(&token),
        "expires_unix": session.expires(),
    })))
}

async fn log_out(State(edge): State<Edge>, headers: HeaderMap) -> Result<Response, Problem> {
    let login = login(&edge)?;
    let (session, _) = own_act(&login, &headers)?;
    let worker = login.clone();
    blocking(move || {
        Ok(worker.end_session(runtime::unix_now(), session.account, &session.id, Act::LoggedOut)?)
    })
    .await?;
    let gone = login.cookie(login.session_cookie(), "", 0);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

async fn sessions(State(edge): State<Edge>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let login = login(&edge)?;
    let (own, _) = own_session(&login, &headers)?;
    let all = login.sessions(runtime::unix_now(), own.account);
    Ok(Json(all.iter().map(|session| shown(session, &own)).collect()))
}

fn shown(session: &Session, own: &Session) -> Value {
    json!({
        "id": session.id,
        "agent": session.agent,
        "passkey": session.passkey,
        "created_unix": session.created,
        "used_unix": session.used,
        "expires_unix": session.expires(),
        "current": session.id == own.id,
    })
}

async fn end_session(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    end_own(&edge, &headers, move |login, unix, account| {
        Ok(login.end_session(unix, account, &id, Act::SessionRevoked)?)
    })
    .await
}

async fn keys(State(edge): State<Edge>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let login = login(&edge)?;
    let (own, _) = own_session(&login, &headers)?;
    Ok(Json(login.keys(own.account).iter().map(key_shown).collect()))
}

fn key_shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_unix": key.created,
        "expires_unix": key.expires,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyWanted {
    name: String,
    scopes: Vec<Scope>,
    #[serde(default = "key_days")]
    days: u64,
}

const fn key_days() -> u64 {
    KEY_DAYS
}

async fn make_key(
    State(edge): State<Edge>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let login = login(&edge)?;
    let (own, _) = own_act(&login, &headers)?;
    let KeyWanted { name, mut scopes, days } = read(&headers, body, BODY_BYTES_MAX).await?;
    scopes.sort_unstable();
    scopes.dedup();
    if !is_name(&name) || scopes.is_empty() || !(1..=KEY_DAYS_MAX).contains(&days) {
        return Err(Problem::malformed(format!(
            "a key has a name of up to {NAME_CHARACTERS_MAX} characters, a scope (earnings, audit), and 1 to \
             {KEY_DAYS_MAX} days"
        )));
    }
    let made =
        blocking(move || login.make_key(runtime::unix_now(), own.account, &name, scopes, days)).await?;
    let Some((key, whole)) = made else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "too-many",
            "There are too many keys",
            "end one that is not used any more",
        ));
    };
    let mut answer = key_shown(&key);
    answer["key"] = whole.into();
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn end_key(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    end_own(&edge, &headers, move |login, unix, account| Ok(login.end_key(unix, account, &id)?)).await
}

async fn audit(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let login = login(&edge)?;
    may_read(&edge, client, &uri, &headers, Scope::Audit)?;
    let entries = blocking(move || Ok(login.inner.store.audit(ENTRIES_MAX)?)).await?;
    Ok(Json(entries).into_response())
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&name.chars().count()) && !name.contains(char::is_control)
}

pub(super) fn login(edge: &Edge) -> Result<Login, Problem> {
    edge.inner.login.clone().ok_or_else(|| {
        Problem::not_found(
            "nobody logs in here; a section [edge.login] in the node's configuration says who may",
        )
    })
}

pub(super) fn in_measure(login: &Login, Client(from): Client) -> Result<(), Problem> {
    if login.may_try(from.ip()) {
        return Ok(());
    }
    let refusal = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-often",
        "There were too many logins from here",
        "come back after Retry-After",
    );
    Err(refusal.retry_after(5))
}

/// Ends something of the account that asks; `end` tells whether there was one.
pub(super) async fn end_own(
    edge: &Edge,
    headers: &HeaderMap,
    end: impl FnOnce(&Login, UnixSeconds, Account) -> Result<bool, LoginError> + Send + 'static,
) -> Result<StatusCode, Problem> {
    let login = login(edge)?;
    let (own, _) = own_act(&login, headers)?;
    let there_was = blocking(move || end(&login, runtime::unix_now(), own.account)).await?;
    there_was.then_some(StatusCode::NO_CONTENT).ok_or_else(|| Problem::not_found("you have none of that id"))
}

/// Reads what a program sent. That it is called JSON keeps forms of other pages out.
pub(super) async fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<T, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "The request is not JSON",
            "send it with content-type: application/json",
        ));
    }
    let body = Limited::new(body, bytes_max).collect().await.map_err(Problem::malformed)?;
    serde_json::from_slice(&body.to_bytes()).map_err(Problem::malformed)
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.strip_prefix("0x")?;
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoginError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?;
    done.map_err(|error| match error {
        LoginError::Siwe(_) | LoginError::Nonce | LoginError::NotAllowed(_) => {
            Problem::new(StatusCode::FORBIDDEN, "login-refused", "The login was refused", error)
        }
        LoginError::Passkey(error) => passkey_routes::refused(&error),
        LoginError::Store(StoreError::Disk(_) | StoreError::Damaged) | LoginError::Random(_) => {
            tracing::warn!(%error, "a login failed");
            Problem::internal("see the node's log")
        }
    })
}

impl Login {
    /// As browsers say it.
    pub(super) fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// A name with `__Host-` is one that no other host, path or plain connection can have set.
    pub(super) fn session_cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-blackhole-session" } else { "blackhole-session" }
    }

    pub(super) fn browser_cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-blackhole-login" } else { "blackhole-login" }
    }

    pub(super) fn cookie(&self, name: &str, value: &str, seconds: u64) -> HeaderValue {
        let mut text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}");
        if self.is_secure() {
            let _ = write!(text, "; Secure");
        }
        HeaderValue::try_from(text).expect("tokens are hexadecimal digits")
    }
}
