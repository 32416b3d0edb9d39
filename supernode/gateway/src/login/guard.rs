//! Who a request is from, and whether somebody meant it.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::{Login, Scope, Session, csrf};
use runtime::http::Client;

use crate::{app::Edge, local, problem::Problem};

/// The header with a session's token against forged requests.
pub(super) const CSRF: &str = "x-blackhole-csrf";

/// Passes whoever may read: the node's own machine, a session, or a key of that scope.
///
/// # Errors
/// 401 or 403, with what to do.
pub(crate) fn may_read(
    edge: &Edge,
    client: Client,
    uri: &Uri,
    headers: &HeaderMap,
    scope: Scope,
) -> Result<(), Problem> {
    if edge.inner.trusts_this_machine && local::is_local(client, uri, headers) {
        return Ok(());
    }
    let Some(login) = &edge.inner.login else {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "not-here",
            "This is for the node's operator",
            "ask from the node's own machine, by its listening address on loopback with no edge.public_url set, or \
             add a section [edge.login]",
        ));
    };
    let unix = runtime::unix_now();
    match bearer(headers) {
        Some(key) => match login.key(unix, key) {
            Some(key) if key.scopes.contains(&scope) => Ok(()),
            Some(_) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "scope",
                "This key is for something else",
                "make one with the scope that this needs",
            )),
            None => Err(nobody()),
        },
        None => own_session(login, headers).map(drop),
    }
}

/// The session of a request, and its token.
///
/// # Errors
/// 401.
pub(super) fn own_session(login: &Login, headers: &HeaderMap) -> Result<(Session, String), Problem> {
    let found = cookie(headers, login.session_cookie()).and_then(|token| {
        login.session(runtime::unix_now(), token).map(|session| (session, token.to_owned()))
    });
    found.ok_or_else(nobody)
}

/// The session of a request that changes something, which no other page can have sent.
///
/// # Errors
/// 401 without a session, 403 where it was not meant.
pub(super) fn own_act(login: &Login, headers: &HeaderMap) -> Result<(Session, String), Problem> {
    from_own_page(login, headers)?;
    let (session, token) = own_session(login, headers)?;
    // Compared by what follows from a secret: how long that takes says nothing of the secret.
    if headers.get(CSRF).map(HeaderValue::as_bytes) != Some(csrf(&token).as_bytes()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forged",
            "The request does not show that it was meant",
            format!("send the session's token, from GET /blackhole/v1/session, as {CSRF}"),
        ));
    }
    Ok((session, token))
}

/// Passes what our own pages send, and programs, which say nothing of pages.
///
/// # Errors
/// 403.
pub(super) fn from_own_page(login: &Login, headers: &HeaderMap) -> Result<(), Problem> {
    let says = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let own_origin = says("origin").is_none_or(|origin| origin == login.origin().as_bytes());
    let own_site = says("sec-fetch-site").is_none_or(|site| site == b"same-origin" || site == b"none");
    if own_origin && own_site {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "origin",
        "The request comes from another site",
        format!("use the pages of {}", login.origin()),
    ))
}

fn nobody() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "login",
        "Nobody is logged in",
        "log in at /status/login, or send a key as `Authorization: Bearer`",
    )
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

/// A cookie's value.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name).then_some(value)
    })
}
