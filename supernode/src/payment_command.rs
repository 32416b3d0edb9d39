//! `blackhole payment`.

use std::{num::NonZeroU64, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use prost::Message as _;
use runtime::unix_now;
use shared::{
    economy::{
        agreement::{AGREEMENT_SECONDS_MAX, Agreement},
        price::Price,
    },
    identity::PublicKey,
    wire::economy::SignedAgreement,
};

use crate::{config::Config, wire_up::KEY_FILE};

const DAY_SECONDS: u64 = 86_400;

/// What is to be done with agreements to pay.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Let a node pay for what visitors of a site get. Signed by the site's publisher; the node's section [[payments.pay]]
    /// names the file.
    Agree(Box<Agree>),
    /// Print what an agreement says.
    Show {
        /// The agreement's file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Agree {
    /// The publisher's key; `blackhole key new` makes one.
    #[arg(long)]
    key: PathBuf,
    /// The site's name.
    #[arg(long)]
    site: String,
    /// The configuration of the node that pays, which names account, chain and contract in its section [chain].
    #[arg(long, env = "BLACKHOLE_CONFIG")]
    config: PathBuf,
    /// The node that pays, as did:key:…, where it is not the one whose data directory the configuration names.
    #[arg(long)]
    node: Option<PublicKey>,
    /// What it pays at most: base units of the token for each so many bytes, as 3/1000.
    #[arg(long, value_parser = price)]
    price: Price,
    /// What it pays beside that, at most, for what visitors' tabs give to each other; it goes to them. Nothing without.
    #[arg(long, value_parser = price)]
    tabs: Option<Price>,
    /// For how many days.
    #[arg(long, default_value_t = 90)]
    days: u64,
    /// The file to make.
    #[arg(default_value = "site.agreement")]
    file: PathBuf,
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    match what {
        What::Agree(agree) => agree_to(agree),
        What::Show { file } => show(file),
    }
}

fn agree_to(agree: &Agree) -> anyhow::Result<()> {
    let publisher = runtime::load_key(&agree.key)?;
    let config: Config = runtime::load(&agree.config)?;
    let section = config.chain.as_ref().with_context(|| {
        let file = agree.config.display();
        format!("{file} has no section [chain]; add one with chain_id, channels and coin_price")
    })?;
    let data_dir = &config.node.data_dir;
    let account = runtime::load_account_key(&section.key_file(data_dir)).context(
        "the node that pays has no account yet; start it once, or make one by `blackhole account new`",
    )?;
    let node = match &agree.node {
        Some(node) => node.clone(),
        None => {
            let key = runtime::load_key(&data_dir.join(KEY_FILE));
            key.context("the node that pays has no key yet; start it once, or name it by --node")?.public()
        }
    };
    let now = unix_now();
    let seconds = agree.days.saturating_mul(DAY_SECONDS).min(AGREEMENT_SECONDS_MAX);
    let agreement = Agreement {
        publisher: publisher.public(),
        site: agree.site.clone(),
        node,
        payer: account.account(),
        contract: section.contract(),
        price: agree.price,
        tabs: agree.tabs,
        issued: now,
        expires: now.plus(seconds),
    };
    let bytes = agreement.sign(&publisher).encode_to_vec();
    let file = agree.file.display();
    runtime::write_whole(&agree.file, &bytes, false).with_context(|| format!("writing {file}"))?;
    print(&agreement);
    eprintln!(
        "Name {file} in a section [[payments.pay]] of that node, one for each node that serves the site."
    );
    Ok(())
}

fn show(file: &PathBuf) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let signed = SignedAgreement::decode(bytes.as_slice());
    let agreement = signed.ok().and_then(|signed| Agreement::open(&signed).ok());
    print(&agreement.with_context(|| format!("{} is no agreement to pay", file.display()))?);
    Ok(())
}

fn print(agreement: &Agreement) {
    let Agreement { publisher, site, node, payer, contract, price, tabs, expires, .. } = agreement;
    println!("site {site} of {publisher}");
    println!("paid by {payer} through {} on chain {}", contract.address, contract.chain_id);
    println!("from node {node}");
    println!("at most {} base units for each {} bytes, until unix {}", price.amount, price.per, expires.0);
    if let Some(Price { amount, per }) = tabs {
        println!("and at most {amount} base units for each {per} bytes that tabs give to each other");
    }
}

/// Reads `3/1000`.
fn price(text: &str) -> Result<Price, String> {
    let parts = text.split_once('/');
    let parts = parts.and_then(|(amount, per)| Some((amount.parse().ok()?, per.parse::<NonZeroU64>().ok()?)));
    let (amount, per) =
        parts.ok_or("a price is base units of the token for each so many bytes, as 3/1000")?;
    Ok(Price { amount, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_two_whole_numbers() {
        let per = |per| NonZeroU64::new(per).expect("above zero");
        assert_eq!(price("3/1000"), Ok(Price { amount: 3, per: per(1000) }));
        for wrong in ["", "3", "3/0", "-1/5", "1.5/10", "3/1000/2"] {
            assert!(price(wrong).is_err(), "{wrong}");
        }
    }
}
