//! Names of things. Each is a type of its own, so that none can stand where another belongs.

use core::{fmt, str::FromStr};

macro_rules! counter_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter_id! {
    /// One connection to one remote peer, as the shell numbered it. Never reused within a process.
    LinkId
}
counter_id! {
    /// A request and its one answer. Unique per direction of a link.
    RequestId
}
counter_id! {
    /// Work that the core asked the shell to do, and the shell's one report of it.
    EffectId
}

/// The BLAKE3 root hash that names a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRoot(pub [u8; 32]);

/// Names a site: the publisher's key and the site's name, hashed together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub [u8; 32]);

/// The BLAKE3 hash of a segment's record, which names the segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub [u8; 32]);

/// Why a text is not a 32-byte hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits, found `{found}` ({length} bytes)")]
pub struct ParseRootError {
    /// The start of what was found.
    pub found: String,
    /// Its whole length in bytes.
    pub length: usize,
}

macro_rules! hash_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}…)"), hex::encode(&self.0[..5]))
            }
        }

        impl FromStr for $name {
            type Err = ParseRootError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_) => {
                        Err(ParseRootError { found: text.chars().take(70).collect(), length: text.len() })
                    }
                }
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = core::array::TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                Ok(Self(bytes.try_into()?))
            }
        }
    };
}

hash_name!(BlobRoot);
hash_name!(SiteId);
hash_name!(SegmentId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_reads_back_what_it_prints() {
        let root = BlobRoot([0xa5; 32]);
        assert_eq!(root.to_string().parse(), Ok(root));
    }

    #[test]
    fn a_bad_root_is_named_and_its_echo_is_bounded() {
        let error = "zz".repeat(4000).parse::<BlobRoot>().unwrap_err();
        assert_eq!(error.length, 8000);
        assert_eq!(error.found.len(), 70);
    }
}
