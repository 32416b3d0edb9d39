//! Names that stand for names: from `/ipns/NAME/a` to `/ipfs/CID/b/a`, one answer at a time.

use super::{
    Cid, ContentPath, PathError,
    dnslink::Domain,
    ipns::Name,
    path::{MAX_NAMES, names},
};

/// Names that stand for names, one after the other. Who has a reason for more has not been met.
const MAX_STEPS: usize = 32;

/// What stands behind `/ipfs/` or `/ipns/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A block.
    Cid(Cid),
    /// A key, whose record says what it stands for.
    Key(Name),
    /// A domain, whose TXT record says it.
    Domain(Domain),
}

/// A content path: a root, and names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    root: Root,
    names: Vec<Vec<u8>>,
}

/// Why a name leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// Not a name.
    #[error("{0:?} is neither a key's name nor a domain")]
    Name(String),
    /// What it stands for is no path.
    #[error("it stands for {0:?}, which is no path of /ipfs or /ipns")]
    Value(String),
    /// The path leaves its root, or is too long.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Too many steps, or a circle.
    #[error("names that stand for names, more than {MAX_STEPS} one after the other")]
    Endless,
}

/// Follows names: answer what [`Naming::root`] asks by [`Naming::handle_value`], until it is a block.
#[derive(Clone, Debug)]
pub struct Naming {
    at: Content,
    seconds: Option<u64>,
    steps: usize,
}

impl Root {
    /// Reads a key's name or a domain.
    ///
    /// # Errors
    /// [`NamingError::Name`].
    pub fn of_name(text: &str) -> Result<Self, NamingError> {
        if let Ok(name) = Name::parse(text) {
            return Ok(Self::Key(name));
        }
        Domain::parse(text).map(Self::Domain).map_err(|_| NamingError::Name(shown(text)))
    }
}

impl Content {
    /// Reads `/ipfs/CID/a` or `/ipns/NAME/a`.
    pub(super) fn parse(text: &str) -> Result<Self, NamingError> {
        let no_path = || NamingError::Value(shown(text));
        let (namespace, rest) =
            text.strip_prefix('/').and_then(|rest| rest.split_once('/')).ok_or_else(no_path)?;
        let (root, below) = rest.split_once('/').unwrap_or((rest, ""));
        let root = match namespace {
            "ipfs" => Root::Cid(root.parse().map_err(|_| no_path())?),
            "ipns" => Root::of_name(root).map_err(|_| no_path())?,
            _ => return Err(no_path()),
        };
        Ok(Self { root, names: names(below)? })
    }
}

impl Naming {
    /// Begins at a name, with the path below it.
    ///
    /// # Errors
    /// [`NamingError::Name`], [`NamingError::Path`].
    pub fn new(name: &str, below: &str) -> Result<Self, NamingError> {
        let at = Content { root: Root::of_name(name)?, names: names(below)? };
        Ok(Self { at, seconds: None, steps: 0 })
    }

    /// What it has come to.
    pub const fn root(&self) -> &Root {
        &self.at.root
    }

    /// The end, once it has come to a block, and for how many seconds that holds.
    pub fn end(&self) -> Option<(ContentPath, u64)> {
        let Root::Cid(root) = self.at.root else { return None };
        Some((ContentPath { root, names: self.at.names.clone() }, self.seconds.unwrap_or(0)))
    }

    /// Takes what the name stands for, and for how many seconds.
    ///
    /// # Errors
    /// [`NamingError`]; there is no end then.
    pub fn handle_value(&mut self, value: &str, seconds: u64) -> Result<(), NamingError> {
        let Content { root, names: mut above } = Content::parse(value)?;
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(NamingError::Endless);
        }
        above.append(&mut self.at.names);
        if above.len() > MAX_NAMES {
            return Err(PathError::Names.into());
        }
        self.at = Content { root, names: above };
        self.seconds = Some(self.seconds.map_or(seconds, |known| known.min(seconds)));
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}
