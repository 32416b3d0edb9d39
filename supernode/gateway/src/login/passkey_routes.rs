//! Passkeys by HTTP: what pages pass to `navigator.credentials`, and what that gives them, as JSON (WebAuthn level 3,
//! section 5.1).

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::identity::siwe::LOGIN_SECONDS_MAX;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::{
    Login, PasskeyError,
    guard::{cookie, from_own_page, own_act, own_session},
    passkeys::Passkey,
    routes::{NAME_CHARACTERS_MAX, begin_session, blocking, end_own, in_measure, is_name, login, read},
};
use runtime::http::Client;

use crate::{app::Edge, problem::Problem};

/// An authenticator's names are up to 1023 bytes and RSA keys 512, and browsers say each several times, in base64.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The routes of passkeys.
pub(super) fn routes() -> Router<Edge> {
    Router::new()
        .route("/blackhole/v1/login/passkey/begin", post(begin_login))
        .route("/blackhole/v1/login/passkey", post(log_in))
        .route("/blackhole/v1/passkeys/begin", post(begin))
        .route("/blackhole/v1/passkeys", get(passkeys).post(add))
        .route("/blackhole/v1/passkeys/{id}", delete(end))
}

/// The problem that a passkey's refusal is.
pub(super) fn refused(error: &PasskeyError) -> Problem {
    let (status, name, title) = match error {
        PasskeyError::NoName(_) => {
            (StatusCode::CONFLICT, "no-passkeys", "There are no passkeys by this address")
        }
        PasskeyError::LogInAgain => (StatusCode::FORBIDDEN, "login-again", "The login is too old for this"),
        PasskeyError::TooMany => (StatusCode::CONFLICT, "too-many", "There are too many passkeys"),
        _ => (StatusCode::FORBIDDEN, "passkey-refused", "The passkey was refused"),
    };
    Problem::new(status, name, title, error)
}

/// The same for everybody: whoever asks learns of no account.
async fn begin_login(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let login = login(&edge)?;
    from_own_page(&login, &headers)?;
    in_measure(&login, client)?;
    let worker = login.clone();
    let (options, browser) = blocking(move || worker.begin_passkey_login()).await?;
    Ok(given(&login, &browser, Json(options)))
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
    let answer: PublicKeyCredential = read(&headers, body, BODY_BYTES_MAX).await?;
    begin_session(login, &headers, move |login, unix, browser, agent| {
        login.log_in_by_passkey(unix, &answer, browser, agent)
    })
    .await
}

async fn begin(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let login = login(&edge)?;
    let (own, _) = own_act(&login, &headers)?;
    in_measure(&login, client)?;
    let worker = login.clone();
    let (options, browser) = blocking(move || worker.begin_passkey(runtime::unix_now(), &own)).await?;
    Ok(given(&login, &browser, Json(options)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    name: String,
    credential: RegisterPublicKeyCredential,
}

async fn add(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let login = login(&edge)?;
    let (own, _) = own_act(&login, &headers)?;
    in_measure(&login, client)?;
    let Made { name, credential } = read(&headers, body, BODY_BYTES_MAX).await?;
    if !is_name(&name) {
        return Err(Problem::malformed(format!(
            "a passkey has a name of up to {NAME_CHARACTERS_MAX} characters, by which you will know it"
        )));
    }
    let browser = cookie(&headers, login.browser_cookie()).unwrap_or_default().to_owned();
    let added =
        blocking(move || login.add_passkey(runtime::unix_now(), &own, &name, &credential, &browser)).await?;
    Ok((StatusCode::CREATED, Json(shown(&added))))
}

async fn passkeys(State(edge): State<Edge>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let login = login(&edge)?;
    let (own, _) = own_session(&login, &headers)?;
    Ok(Json(login.passkeys(own.account).iter().map(shown).collect()))
}

fn shown(passkey: &Passkey) -> Value {
    json!({
        "id": passkey.id,
        "name": passkey.name,
        "created_unix": passkey.created,
        "used_unix": passkey.used,
        "suspended": passkey.suspended,
    })
}

async fn end(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    end_own(&edge, &headers, move |login, unix, account| login.end_passkey(unix, account, &id)).await
}

fn given(login: &Login, browser: &str, options: impl IntoResponse) -> Response {
    let cookie = login.cookie(login.browser_cookie(), browser, LOGIN_SECONDS_MAX);
    ([(header::SET_COOKIE, cookie)], options).into_response()
}
