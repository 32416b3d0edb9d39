//! `_redirects`: where a site sends whoever asks for what it has not got
//! (<https://specs.ipfs.tech/http-gateways/web-redirects-file/>).

/// The file below a site's root.
pub const FILE_NAME: &str = "_redirects";
/// A longer file is refused as a whole.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Segments of a pattern. Further ones would only match paths that nobody has.
const MAX_SEGMENTS: usize = 64;

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectsError {
    /// Longer than [`MAX_FILE_BYTES`], or not text.
    #[error("_redirects has more than {MAX_FILE_BYTES} bytes, or is not text")]
    File,
    /// A line that is no rule.
    #[error("_redirects, line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
}

/// A site's rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    from: Vec<Segment>,
    to: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Placeholder(String),
    Splat,
}

/// What a rule says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// A path on the site, or a URL elsewhere.
    pub to: String,
    /// 200 and 404, 410 and 451 show what lies there; the others send the browser.
    pub status: u16,
}

impl Redirects {
    /// Reads a site's file.
    ///
    /// # Errors
    /// [`RedirectsError`].
    pub fn parse(file: &[u8]) -> Result<Self, RedirectsError> {
        if file.len() as u64 > MAX_FILE_BYTES {
            return Err(RedirectsError::File);
        }
        let text = core::str::from_utf8(file).map_err(|_| RedirectsError::File)?;
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let rule = Rule::parse(line).map_err(|why| RedirectsError::Line { line: index + 1, why })?;
            rules.push(rule);
        }
        Ok(Self(rules))
    }

    /// The first rule that fits a path, which begins with a slash.
    pub fn find(&self, path: &str) -> Option<Redirect> {
        self.0.iter().find_map(|rule| rule.apply(path))
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut words = line.split_whitespace();
        let (Some(from), Some(to)) = (words.next(), words.next()) else {
            return Err("from and to are wanted");
        };
        let status = match words.next() {
            None => 301,
            Some(status) => status.parse().map_err(|_| "the status is no number")?,
        };
        if words.next().is_some() {
            return Err("more than from, to and status");
        }
        if !matches!(status, 200 | 301 | 302 | 303 | 307 | 308 | 404 | 410 | 451) {
            return Err("a status that is not supported");
        }
        let Some(path) = from.strip_prefix('/') else { return Err("from begins with a slash") };
        let elsewhere = to.starts_with("http://") || to.starts_with("https://");
        if !to.starts_with('/') && !elsewhere {
            return Err("to is a path or a URL");
        }
        if elsewhere && matches!(status, 200 | 404 | 410 | 451) {
            return Err("what is shown lies on the site itself");
        }
        let mut segments = Vec::new();
        let mut rest = path.split('/').peekable();
        while let Some(segment) = rest.next() {
            segments.push(match segment {
                "*" if rest.peek().is_none() => Segment::Splat,
                name if name.contains('*') => return Err("an asterisk stands alone, at the end"),
                name => match name.strip_prefix(':') {
                    Some("") => return Err("a placeholder without name"),
                    Some(name) => Segment::Placeholder(name.to_owned()),
                    None => Segment::Literal(name.to_owned()),
                },
            });
            if segments.len() > MAX_SEGMENTS {
                return Err("too many segments");
            }
        }
        Ok(Self { from: segments, to: to.to_owned(), status })
    }

    fn apply(&self, path: &str) -> Option<Redirect> {
        let mut rest = Some(path.strip_prefix('/')?);
        let mut bound: Vec<(&str, &str)> = Vec::new();
        for segment in &self.from {
            if *segment == Segment::Splat {
                // Matches also nothing at all: `/a/*` is there for `/a`.
                bound.push(("splat", rest.take().unwrap_or_default()));
                break;
            }
            let (name, after) = match rest?.split_once('/') {
                Some((name, after)) => (name, Some(after)),
                None => (rest?, None),
            };
            match segment {
                Segment::Literal(literal) if literal != name => return None,
                Segment::Placeholder(_) if name.is_empty() => return None,
                Segment::Placeholder(placeholder) => bound.push((placeholder, name)),
                Segment::Literal(_) | Segment::Splat => {}
            }
            rest = after;
        }
        // A slash at the end names the same thing.
        if rest.is_some_and(|rest| !rest.is_empty()) {
            return None;
        }
        Some(Redirect { to: fill(&self.to, &bound), status: self.status })
    }
}

/// Puts what was bound into the place of `:name`. What was put in is not looked at again.
fn fill(to: &str, bound: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(to.len());
    let mut rest = to;
    while let Some((before, after)) = rest.split_once(':') {
        filled.push_str(before);
        let end =
            after.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(after.len());
        let (name, behind) = after.split_at(end);
        match bound.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => filled.push_str(value),
            None => {
                filled.push(':');
                filled.push_str(name);
            }
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}
