//! Whether a request is made on this machine, by its operator: what is not for everybody is shown there without more.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header, uri::Authority};
use runtime::http::Client;

/// What proxies add: somebody else asks then.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Whether this machine asks itself.
pub(crate) fn is_local(Client(from): Client, uri: &Uri, headers: &HeaderMap) -> bool {
    // A page whose name was made to point here has its own name as the host.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let named = host.or(uri.authority().map(Authority::as_str)).is_some_and(names_this_machine);
    // Another page may send its visitor here, but is not to learn even how long the answer takes.
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    let of_its_own = site.is_none_or(|site| site == b"none" || site == b"same-origin");
    from.ip().to_canonical().is_loopback()
        && named
        && of_its_own
        && !FORWARDED.iter().any(|name| headers.contains_key(*name))
}

fn names_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, headers: &[(&'static str, &str)], expect: bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let client = Client(from.parse().unwrap());
        assert_eq!(is_local(client, &Uri::from_static("/status"), &map), expect, "{from} {headers:?}");
    }

    #[test]
    fn only_this_machine_asking_itself_is_local() {
        check("127.0.0.1:9", &[("host", "127.0.0.1:8080")], true);
        check("[::1]:9", &[("host", "[::1]:8080")], true);
        check("[::ffff:127.0.0.1]:9", &[("host", "LOCALHOST"), ("sec-fetch-site", "same-origin")], true);
        check("192.0.2.1:9", &[("host", "127.0.0.1:8080")], false);
        check("127.0.0.1:9", &[("host", "rebound.example:8080")], false);
        check("127.0.0.1:9", &[("host", "localhost.example")], false);
        check("127.0.0.1:9", &[("host", "x@localhost:1@evil.example")], false);
        check("127.0.0.1:9", &[], false);
        for name in FORWARDED {
            check("127.0.0.1:9", &[("host", "localhost"), (name, "192.0.2.1")], false);
        }
        check("127.0.0.1:9", &[("host", "localhost"), ("sec-fetch-site", "cross-site")], false);
    }
}
