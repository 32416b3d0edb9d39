//! What s3s 0.14 would let through: headers that no signature covers.
//!
//! Signatures of version 2, which boto3 still makes for links where it knows no region, cover all of them by themselves.

use std::collections::BTreeSet;

use http::{HeaderMap, Uri};
use s3s::{S3Result, s3_error};

/// Refuses a request in which an `x-amz-` header is outside what was signed: whoever stands between could have put it
/// there. Anonymous requests have no signature to be outside of.
///
/// # Errors
/// `AccessDenied` as S3 says it.
pub(super) fn check(uri: &Uri, headers: &HeaderMap) -> S3Result<()> {
    let query = uri.query().unwrap_or_default();
    let parameter = |name: &str| {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let authorization = headers.get(http::header::AUTHORIZATION).map(|value| value.to_str());
    let signed = match authorization {
        Some(Ok(value)) if value.starts_with("AWS4-") => signed_headers(value),
        Some(_) => return Ok(()),
        None if parameter("X-Amz-Signature").is_some() => {
            parameter("X-Amz-SignedHeaders").map(|list| split(&list))
        }
        None => return Ok(()),
    };
    let signed =
        signed.ok_or_else(|| s3_error!(AuthorizationHeaderMalformed, "SignedHeaders are missing"))?;
    let outside = headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !signed.contains(*name));
    match outside {
        Some(name) => Err(s3_error!(
            AccessDenied,
            "There were headers present in the request which were not signed: {name}"
        )),
        None => Ok(()),
    }
}

fn signed_headers(authorization: &str) -> Option<BTreeSet<String>> {
    let list = authorization.split([',', ' ']).find_map(|part| part.trim().strip_prefix("SignedHeaders="))?;
    Some(split(list))
}

fn split(list: &str) -> BTreeSet<String> {
    list.split(';').map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_that(uri: &str, authorization: Option<&str>, extra: &[&'static str], expect: bool) {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        }
        for name in extra {
            headers.insert(*name, "x".parse().unwrap());
        }
        let passed = check(&uri.parse().unwrap(), &headers).is_ok();
        assert_eq!(passed, expect, "{uri} {authorization:?} {extra:?}");
    }

    #[test]
    fn a_header_outside_the_signature_is_refused() {
        let signed = Some("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=0");
        check_that("/b/k", signed, &["x-amz-date"], true);
        check_that("/b/k", signed, &["x-amz-date", "range"], true);
        check_that("/b/k", signed, &["x-amz-acl"], false);
        check_that("/b/k", Some("AWS4-HMAC-SHA256 Credential=a/b"), &[], false);
        check_that("/b/k?X-Amz-Signature=0&X-Amz-SignedHeaders=host", None, &[], true);
        check_that("/b/k?X-Amz-Signature=0&X-Amz-SignedHeaders=host", None, &["x-amz-acl"], false);
        check_that("/b/k?X-Amz-Signature=0&X-Amz-SignedHeaders=host%3Bx-amz-acl", None, &["x-amz-acl"], true);
        check_that("/b/k", None, &["x-amz-acl"], true);
        check_that("/b/k", Some("AWS key:signature"), &["x-amz-acl"], true);
    }
}
