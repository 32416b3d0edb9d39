//! The path of an asset within its site, as the browser sends it.

use core::{fmt, str::FromStr};

/// What common servers accept in a request line.
pub const MAX_PATH_BYTES: usize = 2048;

/// An absolute URL path: percent-encoded, without query or fragment, without empty, `.` or `..` segments
/// that a server and a browser could read differently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SitePath(String);

/// Why a text is not the path of an asset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("a path of {0} bytes, where at most {MAX_PATH_BYTES} are allowed")]
    TooLong(usize),
    /// It does not begin with a slash.
    #[error("{0:?} does not begin with /")]
    Relative(String),
    /// A segment that could be read in two ways.
    #[error("{0:?} has an empty, . or .. segment")]
    Segment(String),
    /// A byte that belongs percent-encoded.
    #[error("{0:?} has a byte that a URL path must encode")]
    Byte(String),
}

impl SitePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SitePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong(text.len()));
        }
        let Some(rest) = text.strip_prefix('/') else { return Err(PathError::Relative(text.to_owned())) };
        if !text.bytes().all(is_path_byte) {
            return Err(PathError::Byte(text.to_owned()));
        }
        let (directories, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        let plain = |segment: &str| !is_dots(segment);
        let good = (directories.is_empty() && !rest.starts_with('/'))
            || directories.split('/').all(|segment| !segment.is_empty() && plain(segment));
        // The last segment may be empty: a directory's own page.
        if !good || !plain(name) {
            return Err(PathError::Segment(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Single and double dots, also as URL parsers read them when encoded (WHATWG URL, 4.1).
fn is_dots(segment: &str) -> bool {
    let dots = segment.replace("%2e", ".").replace("%2E", ".");
    dots == "." || dots == ".."
}

/// pchar of RFC 3986, slash, and percent.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_browsers_send_them_are_read() {
        for text in
            ["/", "/index.html", "/a/b/", "/a/b.c/d", "/caf%C3%A9", "/a=b;c@d", "/..a/b..", "/.well-known/x"]
        {
            assert_eq!(text.parse::<SitePath>().map(|p| p.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in ["", "a", "//a", "/a//b", "/a/../b", "/..", "/.", "/a/%2e%2E/b", "/%2e", "/a/./", "/a//"]
        {
            assert!(text.parse::<SitePath>().is_err(), "{text}");
        }
        for text in ["/a b", "/a?b", "/a#b", "/a\\b", "/\u{0}", "/é", "/<"] {
            assert!(matches!(text.parse::<SitePath>(), Err(PathError::Byte(_))), "{text}");
        }
        assert_eq!("/".repeat(4000).parse::<SitePath>(), Err(PathError::TooLong(4000)));
    }
}
