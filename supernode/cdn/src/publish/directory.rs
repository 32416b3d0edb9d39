//! Which files of a directory are a site's assets, and at which paths.

use std::path::{Path, PathBuf};

use shared::cdn::manifest::{MAX_ASSETS, SitePath};
use walkdir::WalkDir;

/// The page of a directory, as common servers have it.
const INDEX_FILE: &str = "index.html";
/// Directories deeper than this are a loop of mounts, not a site.
const DEPTH: usize = 64;

/// A file that is an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is on disk.
    pub file: PathBuf,
    /// Where it is on the site. An `index.html` is at its own name and at its directory.
    pub paths: Vec<SitePath>,
    /// Its length.
    pub size: u64,
    /// What to serve it as.
    pub content_type: String,
}

/// Why a directory is not a site.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A name that no URL can have.
    #[error("{} has no place in a URL; rename it", .0.display())]
    Unnameable(PathBuf),
    /// Nothing there.
    #[error("{} holds no files; publish the directory with your built site", .0.display())]
    Empty(PathBuf),
    /// More than a manifest holds.
    #[error("{} holds more than {MAX_ASSETS} files; publish it as several sites", .0.display())]
    TooMany(PathBuf),
}

/// Lists the assets under `root`, in the order of their names. Hidden files are left out, except
/// `.well-known`; symbolic links are left out, so that nothing outside is published by accident.
///
/// # Errors
/// [`ScanError`].
pub fn scan(root: &Path) -> Result<Vec<Found>, ScanError> {
    let visible = |name: &str| !name.starts_with('.') || name == ".well-known";
    let walk = WalkDir::new(root)
        .max_depth(DEPTH)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || entry.file_name().to_str().is_none_or(visible));
    let mut found = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| ScanError::Unreadable {
            path: error.path().unwrap_or(root).to_owned(),
            source: error.into(),
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        if found.len() == MAX_ASSETS {
            return Err(ScanError::TooMany(root.to_owned()));
        }
        let unreadable = |source: walkdir::Error| ScanError::Unreadable {
            path: entry.path().to_owned(),
            source: source.into(),
        };
        let size = entry.metadata().map_err(unreadable)?.len();
        let paths =
            site_paths(root, entry.path()).ok_or_else(|| ScanError::Unnameable(entry.path().to_owned()))?;
        let content_type = content_type(entry.path());
        found.push(Found { file: entry.into_path(), paths, size, content_type });
    }
    if found.is_empty() {
        return Err(ScanError::Empty(root.to_owned()));
    }
    Ok(found)
}

/// What a file of this name is served as: text as UTF-8, the unknown as bytes.
pub(crate) fn content_type(path: &Path) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let textual = guess.type_() == mime_guess::mime::TEXT
        || matches!(guess.subtype().as_str(), "javascript" | "json" | "manifest+json");
    if textual { format!("{}; charset=utf-8", guess.essence_str()) } else { guess.essence_str().to_owned() }
}

fn site_paths(root: &Path, file: &Path) -> Option<Vec<SitePath>> {
    let mut path = String::new();
    for part in file.strip_prefix(root).ok()?.components() {
        path.push('/');
        encode(part.as_os_str().to_str()?, &mut path);
    }
    let mut paths = vec![path.parse().ok()?];
    if let Some(directory) = path.strip_suffix(INDEX_FILE).filter(|directory| directory.ends_with('/')) {
        paths.push(directory.parse().ok()?);
    }
    Some(paths)
}

/// Percent-encodes a path segment as browsers do (WHATWG URL, path percent-encode set).
fn encode(segment: &str, path: &mut String) {
    use core::fmt::Write as _;
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_found_at_the_paths_that_browsers_ask_for() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["index.html", "b c/ä.png", "b c/index.html", ".git/config", ".well-known/x", "app.wasm"]
        {
            let file = root.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", root.join("passwd")).unwrap();
        let found = scan(root).unwrap();
        let paths: Vec<_> = found.iter().flat_map(|found| &found.paths).map(ToString::to_string).collect();
        let expect = [
            "/.well-known/x",
            "/app.wasm",
            "/b%20c/index.html",
            "/b%20c/",
            "/b%20c/%C3%A4.png",
            "/index.html",
            "/",
        ];
        assert_eq!(paths, expect);
        assert_eq!(found[1].content_type, "application/wasm");
        assert_eq!(found[2].content_type, "text/html; charset=utf-8");
    }

    #[test]
    fn an_empty_directory_is_no_site() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(scan(directory.path()), Err(ScanError::Empty(_))));
    }
}
