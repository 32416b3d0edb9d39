//! Headers that several answers have.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use shared::storage::ipfs::Cid;

use super::{Target, request::Asked};

/// What stays as it is in a path: RFC 3986's unreserved letters, and the slash.
const PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The same without the slash, in a value.
const VALUE: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) const fn fixed(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}

/// Pages of every origin may read what is public.
pub(super) fn open_to_all(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, PUT, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Content-Type, Range, User-Agent, X-Requested-With"),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Content-Length, Content-Range, Etag, X-Ipfs-Path, X-Ipfs-Roots",
        ),
    ] {
        headers.insert(name, fixed(value));
    }
}

/// Puts a value that was made here; what no header can carry is left out.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
}

/// What all that lies at a path has: how long it stands, what it is of.
pub(super) fn of_content(headers: &mut HeaderMap, target: &Target, roots: &[Cid], etag: &str) {
    put(headers, header::ETAG, etag);
    match target.ttl {
        None => put(headers, header::CACHE_CONTROL, "public, max-age=29030400, immutable"),
        Some(ttl) => put(headers, header::CACHE_CONTROL, &format!("public, max-age={ttl}")),
    }
    put(headers, HeaderName::from_static("x-ipfs-path"), &escaped(&target.shown));
    let roots: Vec<_> = roots.iter().map(ToString::to_string).collect();
    put(headers, HeaderName::from_static("x-ipfs-roots"), &roots.join(","));
}

/// What blocks and rows of them have: nobody may take them for a script or a page.
pub(super) fn of_binary(headers: &mut HeaderMap, asked: &Asked, kind: &str, default_name: &str) {
    put(headers, header::CONTENT_TYPE, kind);
    put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    let name = asked.filename.as_deref().unwrap_or(default_name);
    put(headers, header::CONTENT_DISPOSITION, &disposition("attachment", name));
    put(headers, header::VARY, "Accept");
    if let Some(format) = asked.negotiated {
        let query = if asked.query.is_empty() { String::new() } else { format!("&{}", asked.query) };
        put(headers, header::CONTENT_LOCATION, &format!("{}?format={format}{query}", asked.raw_path));
    }
}

/// `Content-Disposition` with a name in both of its forms where one would not do.
pub(super) fn disposition(how: &str, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|letter| if matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\') { letter } else { '_' })
        .collect();
    if plain == name {
        return format!("{how}; filename=\"{plain}\"");
    }
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, &VALUE))
}

/// A path as a URL has it.
pub(super) fn escaped(path: &str) -> String {
    utf8_percent_encode(path, &PATH).to_string()
}
