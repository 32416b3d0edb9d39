//! Reading a configuration file, and saying exactly where and why one is refused.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

/// A hundred times the longest configuration anyone writes by hand: a bigger file is something else.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}; give its path with --config", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is far longer than a configuration.
    #[error("{} has {bytes} bytes, which is no configuration; at most {CONFIG_BYTES_MAX} are read", .path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A line does not hold.
    #[error("{}:{line}: {reason}\n  {line} | {text}\ncorrect that line, or remove it to take the default", .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// The line itself.
        text: String,
    },
}

/// Reads a TOML file into `T`.
///
/// # Errors
/// [`ConfigError`] names the file, the line and what to do about it.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLong { path: path.to_owned(), bytes });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text[..at].matches('\n').count() + 1;
        ConfigError::Line {
            path: path.to_owned(),
            line,
            reason: error.message().trim().to_owned(),
            text: text.lines().nth(line - 1).unwrap_or_default().trim().to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing is of interest")]
    struct Example {
        port: u16,
    }

    #[test]
    fn the_wrong_line_is_named_with_its_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        let check = |text: &str, expect: &[&str]| {
            fs::write(&path, text).unwrap();
            let error = load::<Example>(&path).unwrap_err().to_string();
            for part in expect {
                assert!(error.contains(part), "{error} lacks {part}");
            }
        };
        check("\n# é\nport = \"x\"\n", &["node.toml:3: ", "port = \"x\"", "correct that line"]);
        check("port = 1\nprot = 2\n", &["node.toml:2: ", "unknown field `prot`"]);
        check("port = \n", &["node.toml:1: "]);
        check("", &["missing field `port`"]);
    }
}
