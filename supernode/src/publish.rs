//! `blackhole publish`: a directory into nodes, or the permission for a node to pull an origin.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use cdn::{
    Store,
    publish::{DAY_SECONDS, DEFAULT_DAYS, Statement, into_store, loader, scan, upload},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use prost::Message as _;
use runtime::{DataDir, unix_now};
use shared::identity::{Delegation, PublicKey};
use url::Url;

use crate::script_tag::{ScriptTag, loader_integrity, policy_source};

/// Publish a directory into nodes, or let a node publish an origin.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory with the built site.
    #[arg(required_unless_present = "origin", conflicts_with = "origin")]
    directory: Option<PathBuf>,
    /// The publisher's key; `blackhole key new` makes one.
    #[arg(long)]
    key: PathBuf,
    /// The site's name: by custom its host, with the port where that is not the usual one.
    #[arg(long)]
    site: String,
    /// The edges of running nodes to hand the directory to.
    #[arg(long, num_args = 1.., required_unless_present_any = ["data_dir", "origin"])]
    to: Vec<Url>,
    /// The data directory of a node that is not running, to put the directory into.
    #[arg(long, conflicts_with = "to")]
    data_dir: Option<PathBuf>,
    /// The origin that a node shall pull the site from.
    #[arg(long, requires = "delegate")]
    origin: Option<Url>,
    /// The node that may sign for the site, as did:key:…; it prints that when it starts.
    #[arg(long)]
    delegate: Option<PublicKey>,
    /// Where to write the delegation.
    #[arg(long, default_value = "site.delegation")]
    delegation: PathBuf,
    /// For how many days the statement or the delegation is to be believed.
    #[arg(long, default_value_t = DEFAULT_DAYS)]
    days: u64,
}

/// Publishes, and prints the tag to paste.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let key = runtime::load_key(&arguments.key)?;
    let statement = Statement { key, site: arguments.site.clone(), days: arguments.days };
    if let Some((origin, delegate)) = arguments.origin.as_ref().zip(arguments.delegate.as_ref()) {
        return delegate_to(&statement, origin, delegate, &arguments.delegation);
    }
    let Some(directory) = &arguments.directory else { bail!("give the directory with the built site") };
    let not_published = || format!("{} was not published", directory.display());
    let total = scan(directory)?.iter().map(|found| found.size).sum();
    let (edge, integrity) = match &arguments.data_dir {
        Some(data_dir) => {
            put_into(data_dir, directory, &statement, total).with_context(not_published)?;
            (None, None)
        }
        None => {
            let loader = hand_to(&arguments.to, directory, &statement, total).with_context(not_published)?;
            (arguments.to.first(), loader.as_deref().map(loader_integrity))
        }
    };
    eprintln!("Published {} as {} of {}.", directory.display(), statement.site, statement.key.public());
    let publisher = statement.key.public();
    let tag =
        ScriptTag { edge, publisher: &publisher, site: &statement.site, integrity, min_delegation: None };
    eprintln!("Paste this into the site's pages:\n");
    println!("{tag}");
    explain_policy();
    Ok(())
}

fn put_into(data_dir: &Path, directory: &Path, statement: &Statement, total: u64) -> anyhow::Result<()> {
    let data_dir = DataDir::open(data_dir)?;
    // The quota is the running node's business; who may write here may fill it.
    let store = Arc::new(Store::open(data_dir.path(), u64::MAX)?);
    let bar = bar(total)?;
    let done = Cell::new(0);
    into_store(&store, directory, statement, &|bytes| {
        done.set(done.get() + bytes);
        bar.set_position(done.get());
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// Hands the directory to each of the nodes; returns the loader of the first.
fn hand_to(
    edges: &[Url],
    directory: &Path,
    statement: &Statement,
    total: u64,
) -> anyhow::Result<Option<Vec<u8>>> {
    // Everything is hashed once, and sent to each node at most once.
    let bar = bar(total.saturating_mul(edges.len() as u64 + 1))?;
    let done = AtomicU64::new(0);
    let progress = |bytes: u64| bar.set_position(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let loader = runtime.block_on(async {
        upload(edges, directory, statement, &progress).await?;
        match edges.first() {
            Some(edge) => loader(edge).await,
            None => Ok(None),
        }
    })?;
    bar.finish_and_clear();
    Ok(loader.map(|bytes| bytes.to_vec()))
}

/// Writes the delegation, and prints what the node's operator and the publisher need.
fn delegate_to(statement: &Statement, origin: &Url, delegate: &PublicKey, file: &Path) -> anyhow::Result<()> {
    let now = unix_now();
    let delegation = Delegation {
        publisher: statement.key.public(),
        delegate: delegate.clone(),
        site: statement.site.clone(),
        not_before: now,
        expires: now.plus(statement.days.saturating_mul(DAY_SECONDS)),
        // Grows with time, so that a later one can revoke this one.
        serial: now.0,
    };
    let signed = delegation.sign(&statement.key).encode_to_vec();
    runtime::write_whole(file, &signed, false).with_context(|| format!("writing {}", file.display()))?;
    eprintln!("{delegate} may sign for {} for {} days. Its operator adds:\n", statement.site, statement.days);
    println!(
        "[[cdn.sites]]\nname = {:?}\npublisher = \"{}\"\norigin = \"{origin}\"\ndelegation = {:?}\n",
        statement.site,
        delegation.publisher,
        file.display().to_string()
    );
    let tag = ScriptTag {
        edge: None,
        publisher: &delegation.publisher,
        site: &statement.site,
        integrity: None,
        min_delegation: Some(delegation.serial),
    };
    eprintln!("Paste this into the site's pages, with the address of the node's edge:\n");
    println!("{tag}");
    explain_policy();
    Ok(())
}

fn explain_policy() {
    let source = policy_source();
    eprintln!(
        "\nA Content-Security-Policy that forbids inline scripts must name this one in script-src: '{source}'"
    );
}

fn bar(total: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(total);
    bar.set_style(ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}
