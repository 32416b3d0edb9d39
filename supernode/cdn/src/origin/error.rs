//! What origins do wrong, each by its name.

use crate::store::{ImportError, IndexError};

/// Why an asset could not be had from its origin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginError {
    #[error("the origin cannot be reached: {0}; see that it runs and that its name resolves")]
    Unreachable(String),
    #[error("the origin did not begin to answer within {0} s")]
    Silent(u64),
    #[error("the origin sent nothing for {0} s in the middle of an answer")]
    Stalled(u64),
    #[error("the origin sends fewer than {0} bytes a second")]
    Slow(u64),
    #[error("the origin redirects in a circle, or more than {0} times")]
    RedirectLoop(usize),
    #[error("the origin redirects to {0}, which is another one; add that as a site of its own")]
    RedirectElsewhere(String),
    #[error("the origin redirects to something that is no address")]
    RedirectNowhere,
    #[error("the origin answers {0}")]
    Status(u16),
    #[error("the origin serves {found:?} where {expected:?} belongs: an error page under a wrong status?")]
    WrongType { expected: String, found: String },
    #[error("the origin encodes as {0:?} though asked not to; bytes would not be the same for everybody")]
    Encoded(String),
    #[error("the origin says this is not for everybody ({0}); it is left to the visitors' browsers")]
    Private(&'static str),
    #[error("the origin's answer exceeds {0} bytes; raise cdn.origin.asset_mib_max if that is meant")]
    TooLong(u64),
    #[error("the origin announced {announced} bytes and broke off after {received}")]
    BrokenOff { announced: u64, received: u64 },
    #[error("the origin broke off, and ignores the range asked for to go on")]
    RangeIgnored,
    #[error("the origin's answer changed its length from {before} to {after} bytes on the way")]
    LengthChanged { before: u64, after: u64 },
    #[error("the origin's list of assets cannot be read: {0}")]
    List(String),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl OriginError {
    /// For counting.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Silent(_) => "silent",
            Self::Stalled(_) => "stalled",
            Self::Slow(_) => "slow",
            Self::RedirectLoop(_) => "redirect_loop",
            Self::RedirectElsewhere(_) => "redirect_elsewhere",
            Self::RedirectNowhere => "redirect_nowhere",
            Self::Status(_) => "status",
            Self::WrongType { .. } => "wrong_type",
            Self::Encoded(_) => "encoded",
            Self::Private(_) => "private",
            Self::TooLong(_) => "too_long",
            Self::BrokenOff { .. } => "broken_off",
            Self::RangeIgnored => "range_ignored",
            Self::LengthChanged { .. } => "length_changed",
            Self::List(_) => "list",
            Self::Import(_) => "import",
            Self::Index(_) => "index",
        }
    }

    /// Whether the origin means that there is no such asset, or none for everybody. What else goes wrong
    /// may pass, and what was there before is kept.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Status(404 | 410) | Self::Private(_))
    }
}
