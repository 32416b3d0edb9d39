//! `blackhole stake`.

use std::path::Path;

use anyhow::Context as _;
use chain::{At, Chain, NodeState};
use clap::Subcommand;
use shared::{
    economy::Amount,
    identity::{Account, Keypair, eip712::Word},
};

use crate::{
    on_chain::{self, Of},
    wire_up::KEY_FILE,
};

/// Content delivery's bit in a node's record. The others' follow in the order of the five services: compute, bandwidth,
/// storage, hosting.
const CDN: u32 = 1;

/// What is to be done with a node's stake.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Print a node's record: what is at stake, and what is on its way out.
    Show {
        #[command(flatten)]
        of: Of,
    },
    /// Record a node, bound by its own key to its account. Once more changes its services.
    Register {
        #[command(flatten)]
        of: Of,
        /// What it offers, as a sum: 1 content, 2 compute, 4 bandwidth, 8 storage, 16 hosting.
        #[arg(long, default_value_t = CDN, value_parser = clap::value_parser!(u32).range(1..32))]
        services: u32,
    },
    /// Put tokens of the account at stake for its node.
    Add {
        #[command(flatten)]
        of: Of,
        /// In base units of the token.
        #[arg(value_parser = on_chain::amount)]
        amount: Amount,
    },
    /// Begin to take a stake out. It can be slashed until it is out.
    Unbond {
        #[command(flatten)]
        of: Of,
        /// In base units of the token.
        #[arg(value_parser = on_chain::amount)]
        amount: Amount,
    },
    /// Take out what has been on its way for long enough.
    Withdraw {
        #[command(flatten)]
        of: Of,
        /// To another account than the node's own.
        #[arg(long)]
        to: Option<Account>,
    },
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    match what {
        What::Show { of } => on_chain::run(of, async |chain, data_dir| {
            print(chain, chain.node_name(&key(data_dir)?.public())?).await
        }),
        What::Register { of, services } => on_chain::run(of, async |chain, data_dir| {
            let name = chain.register(&key(data_dir)?, *services).await?;
            print(chain, name).await
        }),
        What::Add { of, amount } => on_chain::run(of, async |chain, data_dir| {
            let name = recorded(chain, data_dir).await?;
            chain.bond(name, *amount).await?;
            print(chain, name).await
        }),
        What::Unbond { of, amount } => on_chain::run(of, async |chain, data_dir| {
            let name = recorded(chain, data_dir).await?;
            chain.unbond(name, *amount).await?;
            print(chain, name).await
        }),
        What::Withdraw { of, to } => on_chain::run(of, async |chain, data_dir| {
            let name = recorded(chain, data_dir).await?;
            let before = chain.stake_of(name, At::Latest).await?;
            let to = to.unwrap_or(chain.account());
            chain.withdraw_stake(name, to).await?;
            let after = chain.stake_of(name, At::Latest).await?;
            println!("withdrew {} to {to}", before.less(after));
            print(chain, name).await
        }),
    }
}

fn key(data_dir: &Path) -> anyhow::Result<Keypair> {
    let file = data_dir.join(KEY_FILE);
    runtime::load_key(&file).context("the node's own key, which is made at its first start")
}

/// The node's name, where it is recorded: other commands would only cost gas.
async fn recorded(chain: &Chain, data_dir: &Path) -> anyhow::Result<Word> {
    let name = chain.node_name(&key(data_dir)?.public())?;
    let known = chain.node(name).await?;
    known.context("this node is not recorded yet: `blackhole stake register` does that")?;
    Ok(name)
}

async fn print(chain: &Chain, name: Word) -> anyhow::Result<()> {
    let digits = hex::encode(name);
    println!("node 0x{digits}");
    println!("operator {}", chain.account());
    let Some(NodeState { services, bonded, unbonding, withdrawable_at }) = chain.node(name).await? else {
        println!("not recorded; `blackhole stake register` does that");
        return Ok(());
    };
    println!("services {services}");
    println!("staked {bonded}");
    if !unbonding.is_zero() {
        let when = on_chain::moment(withdrawable_at, chain.time().await?);
        println!("on its way out {unbonding}, free at {when}");
    }
    Ok(())
}
