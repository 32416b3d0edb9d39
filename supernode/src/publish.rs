//! `blackhole publish`.

use std::{cell::Cell, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use cdn::{
    Store,
    publish::{DEFAULT_DAYS, Statement, into_store, scan},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use runtime::DataDir;

/// Publish a site: a directory into a node, or an origin that a node pulls.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory with the built site.
    directory: Option<PathBuf>,
    /// The publisher's key; `blackhole key new` makes one.
    #[arg(long)]
    key: PathBuf,
    /// The site's name: by custom its host, with the port where that is not the usual one.
    #[arg(long)]
    site: String,
    /// The data directory of a node that is not running.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// For how many days the statement is to be believed.
    #[arg(long, default_value_t = DEFAULT_DAYS)]
    days: u64,
}

/// Publishes, and prints the tag to paste.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let key = runtime::load_key(&arguments.key)?;
    let statement = Statement { key, site: arguments.site.clone(), days: arguments.days };
    let Some(directory) = &arguments.directory else { bail!("give the directory with the built site") };
    let total = scan(directory)?.iter().map(|found| found.size).sum();
    let Some(data_dir) = &arguments.data_dir else { bail!("give --data-dir") };
    let data_dir = DataDir::open(data_dir)?;
    let store = Arc::new(Store::open(data_dir.path(), u64::MAX)?);
    let bar = bar(total)?;
    let done = Cell::new(0);
    into_store(&store, directory, &statement, &|bytes| {
        done.set(done.get() + bytes);
        bar.set_position(done.get());
    })
    .with_context(|| format!("{} was not published", directory.display()))?;
    bar.finish_and_clear();
    eprintln!("Published {} as {} of {}.", directory.display(), statement.site, statement.key.public());
    Ok(())
}

fn bar(total: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(total);
    bar.set_style(ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}
