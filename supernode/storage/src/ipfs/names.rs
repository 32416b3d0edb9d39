//! Names: IPNS records that this node keeps, its own and where the configuration says so strangers'; and what names
//! stand for, domains among them.

use std::borrow::Cow;

use shared::{
    base::UnixSeconds,
    storage::ipfs::{
        ContentPath, Naming, NamingError, Root,
        ipns::{Name, Record},
    },
};

use super::{Ipfs, dns::DnsError};

/// How long to keep an answer, by this node's records (the specification's suggestion).
const TTL_SECONDS: u64 = 300;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is the newest now.
    Newest,
    /// A newer one is kept.
    Older,
    /// No room.
    Full,
}

impl Ipfs {
    /// Signs with this node's key that its name stands for `value` for so many seconds.
    ///
    /// # Errors
    /// Where the record cannot be kept.
    pub async fn publish(&self, value: String, lifetime_seconds: u64) -> anyhow::Result<Name> {
        let (name, now) = (Name::of(&self.key), runtime::unix_now());
        let before = self.map.name(name.to_bytes()).await?;
        let before = before.and_then(|record| Record::open(&name, &record, UnixSeconds(0)).ok());
        let sequence = before.map_or(0, |before| before.sequence + u64::from(before.value != value));
        let record =
            Record { value, sequence, expires: now.plus(lifetime_seconds), ttl_seconds: TTL_SECONDS };
        let signed = record.sign(&self.key)?;
        self.map.keep_name(name.to_bytes(), signed, true, 0).await?;
        Ok(name)
    }

    /// The record of a name, if one is kept that has not expired.
    pub(super) async fn record(&self, name: &Name) -> anyhow::Result<Option<(Record, Vec<u8>)>> {
        let Some(signed) = self.map.name(name.to_bytes()).await? else { return Ok(None) };
        Ok(Record::open(name, &signed, runtime::unix_now()).ok().map(|record| (record, signed)))
    }

    /// Keeps a record that somebody brings.
    pub(super) async fn keep_record(&self, name: &Name, signed: &[u8]) -> anyhow::Result<Kept> {
        let brought = Record::open(name, signed, runtime::unix_now())?;
        if let Some((known, _)) = self.record(name).await?
            && (known.sequence, known.expires) > (brought.sequence, brought.expires)
        {
            return Ok(Kept::Older);
        }
        let strangers = self.config.strangers_names;
        let room = self.map.keep_name(name.to_bytes(), signed.to_vec(), false, strangers).await?;
        Ok(if room { Kept::Newest } else { Kept::Full })
    }

    /// Follows a key's name or a domain, with the path below it, to content. Says for how many seconds that holds.
    pub(super) async fn resolve_name(
        &self,
        name: &str,
        below: &str,
    ) -> Result<(ContentPath, u64), NameError> {
        let mut naming = Naming::new(&ascii(name), below)?;
        loop {
            match naming.root().clone() {
                Root::Cid(_) => return naming.end().ok_or(NamingError::Endless.into()),
                Root::Key(name) => {
                    let kept = self.record(&name).await.map_err(NameError::Store)?;
                    let (record, _) = kept.ok_or(NameError::NoRecord(name))?;
                    let left = runtime::unix_now().until(record.expires);
                    naming.handle_value(&record.value, record.ttl_seconds.min(left))?;
                }
                Root::Domain(domain) => {
                    let (value, seconds) = self.dns.look_up(&domain).await?;
                    naming.handle_value(&value, seconds)?;
                }
            }
        }
    }
}

/// Who writes a domain in letters of its own means the one that DNS has.
pub(super) fn ascii(name: &str) -> Cow<'_, str> {
    match url::Host::parse(name) {
        Ok(url::Host::Domain(domain)) if !name.is_ascii() => Cow::Owned(domain),
        _ => Cow::Borrowed(name),
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    /// It is none, or stands for none.
    #[error(transparent)]
    Naming(#[from] NamingError),
    /// Nothing is known of a key.
    #[error("no record of {0} is kept here")]
    NoRecord(Name),
    /// A domain could not be looked up, or stands for nothing.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The map cannot be read.
    #[error(transparent)]
    Store(anyhow::Error),
}
