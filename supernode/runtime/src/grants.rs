//! Grants: what an issuer lets a holder do, which the holder narrows and passes on without asking (biscuits).
//!
//! A grant is checked by whoever knows the issuer's key, which is its name; nobody asks the issuer. A holder can only ever
//! narrow: blocks after the first may hold checks, and nothing they claim is believed. Here and not in the core,
//! because the engine reads a clock to bound its own run.

mod keys;
mod revoked;
mod token;

use std::{collections::HashMap, time::Duration};

use biscuit_auth::{
    Algorithm, AuthorizerLimits, Biscuit, KeyPair, PrivateKey,
    builder::AuthorizerBuilder,
    builder::{BiscuitBuilder, BlockBuilder, Term},
};
use shared::{
    base::UnixSeconds,
    identity::{Keypair, PublicKey, Revocation, Revocations},
};

pub use keys::{ACCESS_KEY_PREFIX, AccessKeys, SESSION_TOKEN_MAX};
pub use revoked::{Revoked, name as revocation_name};
pub use token::{TOKEN_TEXT_MAX, Token};

/// A grant with a dozen narrowings; what is longer is not read.
pub const GRANT_BYTES_MAX: usize = 8 * 1024;
/// A grant narrowed more often than this is not a chain of custody but an attack on the reader.
pub const BLOCKS_MAX: usize = 16;
/// Grants are renewed at least once a year.
pub const GRANT_SECONDS_MAX: u64 = 366 * 86_400;

/// An honest grant holds some ten facts and takes microseconds.
const LIMITS: AuthorizerLimits =
    AuthorizerLimits { max_facts: 200, max_iterations: 20, max_time: Duration::from_millis(100) };

/// What may be done, where and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Operations by name; what they are is the service's business.
    pub operations: Vec<String>,
    /// A prefix that ends in `/`, or one whole name. Empty is everything.
    pub resources: String,
    /// Good until here.
    pub expires: UnixSeconds,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// At which service.
    pub service: &'a str,
    /// What.
    pub operation: &'a str,
    /// With what: a name without `..`.
    pub resource: &'a str,
}

/// Why a grant permits nothing.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// Too long, no grant, or not this issuer's.
    #[error("the grant cannot be read, or is not its issuer's")]
    NotAGrant,
    /// Narrowed more than [`BLOCKS_MAX`] times.
    #[error("the grant was narrowed more than {BLOCKS_MAX} times")]
    TooDeep,
    /// The issuer took it, or what it was made of, back.
    #[error("the grant was revoked")]
    Revoked,
    /// It does not go so far.
    #[error("the grant does not permit that")]
    NotPermitted,
    /// A scope that nothing could be held against.
    #[error("a scope names operations, a prefix that ends in / or one whole name, and ends within a year")]
    Scope,
    /// A node's key that nothing can be sealed for.
    #[error("nothing can be sealed for that node's key")]
    Node,
    /// The library failed where nobody outside is at fault.
    #[error("the grant could not be made: {0}")]
    Made(biscuit_auth::error::Token),
}

/// Makes a grant of `service`.
///
/// # Errors
/// [`GrantError::Scope`] or [`GrantError::Made`].
pub fn issue(
    issuer: &Keypair,
    service: &str,
    scope: &Scope,
    now: UnixSeconds,
) -> Result<Vec<u8>, GrantError> {
    if now.until(scope.expires) > GRANT_SECONDS_MAX {
        return Err(GrantError::Scope);
    }
    let secret = PrivateKey::from_bytes(&issuer.to_secret(), Algorithm::Ed25519);
    let root = KeyPair::from(&secret.map_err(|error| GrantError::Made(error.into()))?);
    let mut parameters = parameters(scope)?;
    parameters.insert("service".to_owned(), Term::Str(service.to_owned()));
    let code = format!("granted(true); check if service({{service}}); {CHECKS}");
    let built = BiscuitBuilder::new().code_with_params(code, parameters, HashMap::new());
    built.and_then(|builder| builder.build(&root)).and_then(|grant| grant.to_vec()).map_err(GrantError::Made)
}

/// Narrows a grant. Anyone who holds one can, without its issuer.
///
/// # Errors
/// [`GrantError`].
pub fn attenuate(grant: &[u8], issuer: &PublicKey, scope: &Scope) -> Result<Vec<u8>, GrantError> {
    let grant = read(grant, issuer)?;
    if grant.block_count() >= BLOCKS_MAX {
        return Err(GrantError::TooDeep);
    }
    let block = BlockBuilder::new().code_with_params(CHECKS, parameters(scope)?, HashMap::new());
    let narrowed = block.and_then(|block| grant.append(block)).and_then(|grant| grant.to_vec());
    narrowed.map_err(GrantError::Made)
}

/// Whether a grant of `issuer` permits `wish` at `now`.
///
/// # Errors
/// [`GrantError`]: it does not.
pub fn check(
    grant: &[u8],
    issuer: &PublicKey,
    wish: &Wish<'_>,
    now: UnixSeconds,
    revoked: &Revocations,
) -> Result<(), GrantError> {
    let grant = read(grant, issuer)?;
    if identifiers(&grant).iter().any(|block| revoked.contains(issuer, block)) {
        return Err(GrantError::Revoked);
    }
    // A name that climbs is in no prefix.
    if wish.resource.split('/').any(|part| part == "..") {
        return Err(GrantError::NotPermitted);
    }
    let text = |text: &str| Term::Str(text.to_owned());
    let parameters = HashMap::from([
        ("service".to_owned(), text(wish.service)),
        ("operation".to_owned(), text(wish.operation)),
        ("resource".to_owned(), text(wish.resource)),
        ("now".to_owned(), Term::Date(now.0)),
    ]);
    let code = "service({service}); operation({operation}); resource({resource}); time({now}); \
                allow if granted(true);";
    let authorizer = AuthorizerBuilder::new()
        .code_with_params(code, parameters, HashMap::new())
        .map(|builder| builder.set_limits(LIMITS))
        .and_then(|builder| builder.build(&grant));
    let permitted = authorizer.and_then(|mut authorizer| authorizer.authorize());
    permitted.map(drop).map_err(|_| GrantError::NotPermitted)
}

/// The statement that takes a grant back, and with it all that was made of it; to sign and to tell everybody.
///
/// # Errors
/// [`GrantError::NotAGrant`].
pub fn revocation(grant: &[u8], issuer: &PublicKey, expires: UnixSeconds) -> Result<Revocation, GrantError> {
    let grant = read(grant, issuer)?;
    // The last block alone: what it was made of stays good.
    let last = identifiers(&grant).pop().ok_or(GrantError::NotAGrant)?;
    Ok(Revocation { issuer: issuer.clone(), blocks: vec![last], expires })
}

const CHECKS: &str = "check if operation($operation), {operations}.contains($operation); \
                      check if resource($resource), {whole} == $resource || \
                      ({has_prefix} && $resource.starts_with({prefix})); \
                      check if time($now), $now < {expires};";

fn parameters(scope: &Scope) -> Result<HashMap<String, Term>, GrantError> {
    let Scope { operations, resources, expires } = scope;
    if operations.is_empty() || resources.split('/').any(|part| part == "..") {
        return Err(GrantError::Scope);
    }
    let has_prefix = resources.is_empty() || resources.ends_with('/');
    let names = operations.iter().map(|operation| Term::Str(operation.clone())).collect();
    Ok(HashMap::from([
        ("operations".to_owned(), Term::Set(names)),
        ("whole".to_owned(), Term::Str(resources.clone())),
        ("prefix".to_owned(), Term::Str(resources.clone())),
        ("has_prefix".to_owned(), Term::Bool(has_prefix)),
        ("expires".to_owned(), Term::Date(expires.0)),
    ]))
}

fn read(grant: &[u8], issuer: &PublicKey) -> Result<Biscuit, GrantError> {
    if grant.len() > GRANT_BYTES_MAX {
        return Err(GrantError::NotAGrant);
    }
    let key = biscuit_auth::PublicKey::from_bytes(&issuer.to_bytes(), Algorithm::Ed25519);
    let key = key.map_err(|_| GrantError::NotAGrant)?;
    let grant = Biscuit::from(grant, key).map_err(|_| GrantError::NotAGrant)?;
    if grant.block_count() > BLOCKS_MAX { Err(GrantError::TooDeep) } else { Ok(grant) }
}

fn identifiers(grant: &Biscuit) -> Vec<[u8; 32]> {
    grant.revocation_identifiers().iter().map(|block| *blake3::hash(block).as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn issuer() -> Keypair {
        Keypair::from_secret([1; 32])
    }

    fn scope(operations: &[&str], resources: &str, seconds: u64) -> Scope {
        let operations = operations.iter().map(|&operation| operation.to_owned()).collect();
        Scope { operations, resources: resources.to_owned(), expires: NOW.plus(seconds) }
    }

    fn permits(grant: &[u8], operation: &str, resource: &str, after: u64) -> bool {
        let wish = Wish { service: "storage", operation, resource };
        check(grant, &issuer().public(), &wish, NOW.plus(after), &Revocations::default()).is_ok()
    }

    #[test]
    fn a_grant_goes_as_far_as_it_says() {
        let scope = scope(&["get", "put"], "photos/", 1000);
        let grant = issue(&issuer(), "storage", &scope, NOW).expect("a grant");
        assert!(permits(&grant, "get", "photos/2026/a.jpg", 0));
        assert!(permits(&grant, "put", "photos/b", 999));
        assert!(!permits(&grant, "delete", "photos/b", 0));
        assert!(!permits(&grant, "get", "photosynthesis", 0));
        assert!(!permits(&grant, "get", "photos/../keys", 0));
        assert!(!permits(&grant, "get", "photos/b", 1000));
        let wish = Wish { service: "compute", operation: "get", resource: "photos/b" };
        let elsewhere = check(&grant, &issuer().public(), &wish, NOW, &Revocations::default());
        assert!(matches!(elsewhere, Err(GrantError::NotPermitted)));
        let other = Keypair::from_secret([2; 32]).public();
        let stranger = check(&grant, &other, &wish, NOW, &Revocations::default());
        assert!(matches!(stranger, Err(GrantError::NotAGrant)));
    }

    #[test]
    fn a_holder_narrows_without_the_issuer_and_never_widens() {
        let wide = issue(&issuer(), "storage", &scope(&["get", "put"], "", 1000), NOW).expect("a grant");
        let public = issuer().public();
        let narrow = attenuate(&wide, &public, &scope(&["get"], "photos/", 500)).expect("narrowed");
        assert!(permits(&narrow, "get", "photos/a", 499));
        assert!(!permits(&narrow, "get", "photos/a", 500));
        assert!(!permits(&narrow, "put", "photos/a", 0));
        assert!(!permits(&narrow, "get", "letters/a", 0));
        let whole = attenuate(&narrow, &public, &scope(&["get"], "photos/a", 500)).expect("narrowed");
        assert!(permits(&whole, "get", "photos/a", 0));
        assert!(!permits(&whole, "get", "photos/ab", 0));
        let wider = attenuate(&narrow, &public, &scope(&["get", "put"], "", 10_000)).expect("narrowed");
        assert!(!permits(&wider, "put", "photos/a", 0) && !permits(&wider, "get", "photos/a", 600));
        // Nothing that a block claims is believed.
        let claims = BlockBuilder::new().code(r#"granted(true); operation("put"); resource("photos/a");"#);
        let read = read(&narrow, &public).expect("a grant");
        let forged = read.append(claims.expect("code")).and_then(|grant| grant.to_vec()).expect("appended");
        assert!(!permits(&forged, "put", "photos/a", 0));
    }

    #[test]
    fn any_changed_byte_is_caught() {
        let grant = issue(&issuer(), "storage", &scope(&["get"], "", 1000), NOW).expect("a grant");
        for at in 0..grant.len() {
            let mut forged = grant.clone();
            forged[at] ^= 1;
            assert!(!permits(&forged, "get", "a", 0), "byte {at}");
        }
        assert!(!permits(&vec![0; GRANT_BYTES_MAX + 1], "get", "a", 0));
    }

    #[test]
    fn what_is_revoked_is_revoked_with_all_that_was_made_of_it() {
        let public = issuer().public();
        let root = issue(&issuer(), "storage", &scope(&["get"], "", 1000), NOW).expect("a grant");
        let narrow = |grant: &[u8]| attenuate(grant, &public, &scope(&["get"], "a/", 900)).expect("narrowed");
        let (one, other) = (narrow(&root), narrow(&root));
        let below = narrow(&one);
        let mut known = Revocations::default();
        let taken_back = revocation(&one, &public, NOW.plus(1000)).expect("a grant");
        known.handle(NOW, &taken_back.sign(&issuer())).expect("good");
        let wish = Wish { service: "storage", operation: "get", resource: "a/b" };
        let good = |grant: &[u8]| check(grant, &public, &wish, NOW, &known).is_ok();
        assert!(!good(&one) && !good(&below));
        assert!(good(&root) && good(&other));
    }

    #[test]
    fn depth_and_time_are_bounded() {
        let public = issuer().public();
        let eternal = issue(&issuer(), "storage", &scope(&["get"], "", GRANT_SECONDS_MAX + 1), NOW);
        assert!(matches!(eternal, Err(GrantError::Scope)));
        assert!(matches!(issue(&issuer(), "storage", &scope(&[], "", 1), NOW), Err(GrantError::Scope)));
        let mut grant = issue(&issuer(), "storage", &scope(&["get"], "", 1000), NOW).expect("a grant");
        let deep = loop {
            match attenuate(&grant, &public, &scope(&["get"], "", 1000)) {
                Ok(narrowed) => grant = narrowed,
                Err(error) => break error,
            }
        };
        assert!(matches!(deep, GrantError::TooDeep | GrantError::NotAGrant));
        assert!(permits(&grant, "get", "a", 0) || grant.len() > GRANT_BYTES_MAX);
    }
}
