//! IPNS records that this node keeps: its own, and where the configuration says so, strangers'.

use anyhow::Context as _;
use shared::{
    base::UnixSeconds,
    storage::ipfs::ipns::{IpnsError, Name, Record},
};

use super::Ipfs;

/// Names that stand for names, one after the other.
const MAX_STEPS: usize = 8;
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

    /// Follows names to `CID/a/b`, and says for how long that may be kept.
    pub(super) async fn resolve_name(
        &self,
        name: &str,
        below: &str,
    ) -> anyhow::Result<Option<(String, u64)>> {
        let (mut name, mut below) = (name.to_owned(), below.to_owned());
        let mut ttl = u64::MAX;
        for _ in 0..MAX_STEPS {
            let parsed = Name::parse(&name).context(IpnsError::Name)?;
            let Some((record, _)) = self.record(&parsed).await? else { return Ok(None) };
            ttl = ttl.min(record.ttl_seconds).min(runtime::unix_now().until(record.expires));
            let value = format!("{}/{below}", record.value.trim_end_matches('/'));
            if let Some(path) = value.strip_prefix("/ipfs/") {
                return Ok(Some((path.trim_end_matches('/').to_owned(), ttl)));
            }
            let next = value.strip_prefix("/ipns/").context("a name stands for no content path")?;
            let (next, rest) = next.split_once('/').unwrap_or((next, ""));
            (name, below) = (next.to_owned(), rest.to_owned());
        }
        anyhow::bail!("names that stand for names without end")
    }
}
