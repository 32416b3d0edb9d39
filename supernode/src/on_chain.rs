//! What the commands about money have in common: the configuration that names chain and account, one errand there, and
//! what to do where it fails. A node may run meanwhile: nothing of its files but its keys is looked at.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use chain::{Chain, ChainError};
use clap::Args;
use shared::{economy::Amount, identity::AccountKey};

use crate::config::Config;

/// Whose chain and account.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// The node's configuration, which names chain and account in its section [chain].
    #[arg(long, env = "BLACKHOLE_CONFIG")]
    config: PathBuf,
}

/// Runs one errand on the chain of a configuration, which gets the node's data directory too.
pub(crate) fn run(
    of: &Of,
    errand: impl AsyncFnOnce(&Chain, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (section, data_dir) = section(of)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let chain = chain::reach(&section, &data_dir).await?;
        errand(&chain, &data_dir).await
    });
    done.map_err(|error| match error.downcast_ref::<ChainError>().and_then(ChainError::remedy) {
        Some(remedy) => anyhow::anyhow!("{error:#}\n{remedy}"),
        None => error,
    })
}

/// The account's key, for what is signed and not sent.
pub(crate) fn key(of: &Of) -> anyhow::Result<AccountKey> {
    let (section, data_dir) = section(of)?;
    runtime::load_account_key(&section.key_file(&data_dir)).context("[chain] key_file")
}

fn section(of: &Of) -> anyhow::Result<(chain::Config, PathBuf)> {
    let config: Config = runtime::load(&of.config)?;
    let section = config.chain.with_context(|| {
        let file = of.config.display();
        format!("{file} has no section [chain]; add one with chain_id, channels, coin_price and rpc")
    })?;
    Ok((section, config.node.data_dir))
}

/// Reads an amount: whole base units of the token, above zero.
pub(crate) fn amount(text: &str) -> Result<Amount, String> {
    let units = text.parse().ok().filter(|units| *units > 0);
    units.and_then(Amount::new).ok_or_else(|| {
        "an amount is a whole number of the token's base units, above zero: 1000000 is one dollar where it has six \
         decimals"
            .to_owned()
    })
}

/// A point in the chain's time, for people: when, and how far from now.
pub(crate) fn moment(at: u64, now: u64) -> String {
    let (days, hours, minutes) = {
        let left = Duration::from_secs(at.saturating_sub(now)).as_secs();
        (left / 86_400, left % 86_400 / 3600, left % 3600 / 60)
    };
    match at.saturating_sub(now) {
        0 => format!("unix {at}, which has come"),
        seconds if seconds < 60 => format!("unix {at}, in {seconds} s"),
        _ => format!("unix {at}, in {days} d {hours} h {minutes} min"),
    }
}
