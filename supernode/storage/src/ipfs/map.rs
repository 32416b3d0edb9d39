//! Where the bytes of each block lie, and what is pinned. One redb; what a method returns is committed and synced.
//!
//! A block is entered once for each pin that has it, so that a pin goes with all its rows and touches no other's.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use shared::{base::BlobRoot, storage::ipfs::Cid};

/// Multihash and pin to a [`Location`].
const BLOCKS: TableDefinition<'_, (&[u8], u64), &[u8]> = TableDefinition::new("ipfs-blocks-1");
/// Pin and multihash.
const PINNED: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("ipfs-pinned-1");
/// Pin to a [`PinRow`] in JSON. A pin without is not finished.
const PINS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("ipfs-pins-1");
/// Root to pin.
const ROOTS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("ipfs-roots-1");
/// IPNS name to its newest record, and whether it is this node's own.
const NAMES: TableDefinition<'_, &[u8], (bool, &[u8])> = TableDefinition::new("ipns-records-1");
/// The next pin, under "pin".
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("ipfs-counters-1");

/// What the database keeps in memory.
const CACHE_BYTES: usize = 32 << 20;
/// Rows of one transaction where a pin goes.
const REMOVED_AT_ONCE: usize = 4096;
/// The one layout of rows there is so far.
const VERSION: u32 = 1;

/// Where a block's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In the map.
    Inline(Vec<u8>),
    /// A stretch of a blob.
    Blob { root: BlobRoot, from: u64, bytes: u32 },
}

/// What somebody pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its root.
    pub root: Cid,
    /// What it was called when it came.
    pub name: String,
    /// Bytes of all its blocks, each counted where it is linked.
    pub total_bytes: u64,
    /// When it came.
    pub since_unix: u64,
    pub(super) number: u64,
}

#[derive(Serialize, Deserialize)]
struct PinRow {
    version: u32,
    root: String,
    name: String,
    total_bytes: u64,
    since_unix: u64,
}

/// The map of one node.
#[derive(Clone)]
pub(super) struct Map(Arc<Database>);

impl Location {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Inline(bytes) => [&[0], bytes.as_slice()].concat(),
            Self::Blob { root, from, bytes } => {
                [&[1], root.0.as_slice(), &from.to_le_bytes(), &bytes.to_le_bytes()].concat()
            }
        }
    }

    fn read(row: &[u8]) -> anyhow::Result<Self> {
        match row.split_first() {
            Some((0, bytes)) => Ok(Self::Inline(bytes.to_vec())),
            Some((1, rest)) => {
                let (root, rest) = rest.split_first_chunk().context("a row of the map is short")?;
                let (from, rest) = rest.split_first_chunk().context("a row of the map is short")?;
                let bytes = rest.try_into().context("a row of the map is of another length")?;
                let (from, bytes) = (u64::from_le_bytes(*from), u32::from_le_bytes(bytes));
                Ok(Self::Blob { root: BlobRoot(*root), from, bytes })
            }
            _ => anyhow::bail!("a row of the map of an unknown kind"),
        }
    }
}

impl Map {
    /// Opens the database, making it where there is none. Blocks on the disk.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .with_context(|| format!("opening {}", path.display()))?;
        let write = database.begin_write()?;
        write.open_table(BLOCKS)?;
        write.open_table(PINNED)?;
        write.open_table(PINS)?;
        write.open_table(ROOTS)?;
        write.open_table(NAMES)?;
        write.open_table(COUNTERS)?;
        write.commit()?;
        Ok(Self(Arc::new(database)))
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let database = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || look(&database.begin_read()?)).await?
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let database = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let write = database.begin_write()?;
            let done = change(&write)?;
            write.commit()?;
            Ok(done)
        })
        .await?
    }

    pub(super) async fn find(&self, multihash: Vec<u8>) -> anyhow::Result<Option<Location>> {
        self.read(move |read| {
            let table = read.open_table(BLOCKS)?;
            let hash = multihash.as_slice();
            let first = table.range((hash, 0)..=(hash, u64::MAX))?.next().transpose()?;
            first.map(|(_, row)| Location::read(row.value())).transpose()
        })
        .await
    }

    /// A number for a pin that begins.
    pub(super) async fn begin(&self) -> anyhow::Result<u64> {
        self.write(|write| {
            let mut counters = write.open_table(COUNTERS)?;
            let pin = counters.get("pin")?.map_or(1, |row| row.value());
            counters.insert("pin", pin + 1)?;
            Ok(pin)
        })
        .await
    }

    /// Enters blocks of a pin.
    pub(super) async fn enter(&self, pin: u64, rows: Vec<(Vec<u8>, Location)>) -> anyhow::Result<()> {
        self.write(move |write| {
            let (mut blocks, mut pinned) = (write.open_table(BLOCKS)?, write.open_table(PINNED)?);
            for (multihash, location) in rows {
                blocks.insert((multihash.as_slice(), pin), location.encode().as_slice())?;
                pinned.insert((pin, multihash.as_slice()), ())?;
            }
            Ok(())
        })
        .await
    }

    /// Finishes a pin. Where its root is pinned already, says by whom, and nothing is changed.
    pub(super) async fn settle(&self, pin: Pin) -> anyhow::Result<Option<u64>> {
        self.write(move |write| {
            let mut roots = write.open_table(ROOTS)?;
            let root = pin.root.to_bytes();
            if let Some(earlier) = roots.get(root.as_slice())?.map(|row| row.value()) {
                return Ok(Some(earlier));
            }
            roots.insert(root.as_slice(), pin.number)?;
            let Pin { root, name, total_bytes, since_unix, number } = pin;
            let row = PinRow { version: VERSION, root: root.to_string(), name, total_bytes, since_unix };
            write.open_table(PINS)?.insert(number, serde_json::to_vec(&row)?.as_slice())?;
            Ok(None)
        })
        .await
    }

    /// Makes a pin one that is not finished.
    pub(super) async fn unsettle(&self, pin: u64) -> anyhow::Result<()> {
        self.write(move |write| {
            write.open_table(PINS)?.remove(pin)?;
            write.open_table(ROOTS)?.retain(|_, other| other != pin)?;
            Ok(())
        })
        .await
    }

    /// Takes out the rows of a pin that is not finished.
    pub(super) async fn remove(&self, pin: u64) -> anyhow::Result<()> {
        loop {
            let removed = self.write(move |write| {
                ensure!(write.open_table(PINS)?.get(pin)?.is_none(), "a pin that is finished loses no rows");
                let (mut blocks, mut pinned) = (write.open_table(BLOCKS)?, write.open_table(PINNED)?);
                let mut gone = Vec::new();
                for row in pinned.range((pin, &[][..])..)?.take(REMOVED_AT_ONCE) {
                    let (key, ()) = row.map(|(key, _)| (key, ()))?;
                    let (owner, multihash) = key.value();
                    if owner != pin {
                        break;
                    }
                    gone.push(multihash.to_vec());
                }
                for multihash in &gone {
                    pinned.remove((pin, multihash.as_slice()))?;
                    blocks.remove((multihash.as_slice(), pin))?;
                }
                Ok(gone.len())
            });
            if removed.await? < REMOVED_AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Pins that have rows and are not finished.
    pub(super) async fn unfinished(&self) -> anyhow::Result<Vec<u64>> {
        self.read(|read| {
            let (pinned, pins) = (read.open_table(PINNED)?, read.open_table(PINS)?);
            let (mut next, mut found) = (0, Vec::new());
            while let Some(row) = pinned.range((next, &[][..])..)?.next().transpose()? {
                let (pin, _) = row.0.value();
                if pins.get(pin)?.is_none() {
                    found.push(pin);
                }
                next = pin + 1;
            }
            Ok(found)
        })
        .await
    }

    /// Whether a pin is finished.
    pub(super) async fn is_settled(&self, pin: u64) -> anyhow::Result<bool> {
        self.read(move |read| Ok(read.open_table(PINS)?.get(pin)?.is_some())).await
    }

    pub(super) async fn pin_of(&self, root: &Cid) -> anyhow::Result<Option<u64>> {
        let root = root.to_bytes();
        self.read(move |read| Ok(read.open_table(ROOTS)?.get(root.as_slice())?.map(|row| row.value()))).await
    }

    pub(super) async fn pins(&self) -> anyhow::Result<Vec<Pin>> {
        self.read(|read| {
            let table = read.open_table(PINS)?;
            let pins = table.iter()?.map(|row| {
                let (number, row) = row?;
                let PinRow { version, root, name, total_bytes, since_unix } =
                    serde_json::from_slice(row.value())?;
                ensure!(version == VERSION, "a row of layout {version}");
                Ok(Pin { root: root.parse()?, name, total_bytes, since_unix, number: number.value() })
            });
            pins.collect()
        })
        .await
    }

    /// The newest record of a name.
    pub(super) async fn name(&self, name: Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
        self.read(move |read| {
            Ok(read.open_table(NAMES)?.get(name.as_slice())?.map(|row| row.value().1.to_vec()))
        })
        .await
    }

    /// Keeps a record. Those of strangers are at most `strangers`; says whether there was room.
    pub(super) async fn keep_name(
        &self,
        name: Vec<u8>,
        record: Vec<u8>,
        own: bool,
        strangers: u64,
    ) -> anyhow::Result<bool> {
        self.write(move |write| {
            let mut names = write.open_table(NAMES)?;
            let known = names.get(name.as_slice())?.map(|row| row.value().0);
            if known.is_none() && !own && names.len()? >= strangers {
                return Ok(false);
            }
            names.insert(name.as_slice(), (own || known == Some(true), record.as_slice()))?;
            Ok(true)
        })
        .await
    }
}
