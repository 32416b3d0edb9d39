//! `blackhole account`.

use std::path::{Path, PathBuf};

use chain::At;
use clap::Subcommand;
use shared::{economy::Amount, identity::Account};

use crate::on_chain::{self, Of};

/// What is to be done with an account.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Make an account's key in a new file, and print the account.
    New {
        /// The file to make.
        file: PathBuf,
    },
    /// Print the account of a key.
    Show {
        /// The key's file.
        file: PathBuf,
    },
    /// Print what a node's account has: coins for gas, tokens, and what is in the channels' contract.
    Balance {
        #[command(flatten)]
        of: Of,
    },
    /// Put tokens into the channels' contract, to open channels of.
    Deposit {
        #[command(flatten)]
        of: Of,
        /// In base units of the token.
        #[arg(value_parser = on_chain::amount)]
        amount: Amount,
    },
    /// Take tokens out of the channels' contract: what was earned, or what is in no channel.
    Withdraw {
        #[command(flatten)]
        of: Of,
        /// In base units of the token; all that is free without.
        #[arg(value_parser = on_chain::amount)]
        amount: Option<Amount>,
        /// To another account than the node's own.
        #[arg(long)]
        to: Option<Account>,
    },
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    match what {
        What::New { file } => new(file),
        What::Show { file } => {
            println!("{}", runtime::load_account_key(file)?.account());
            Ok(())
        }
        What::Balance { of } => on_chain::run(of, async |chain, _| {
            let (own, at) = (chain.account(), At::Latest);
            println!("account {own}");
            println!("chain {}", chain.contract().chain_id);
            println!("coins {} wei, for gas", chain.coins(own).await?);
            println!("wallet {}", chain.wallet(own, at).await?);
            println!("free {}", chain.free(own, at).await?);
            Ok(())
        }),
        What::Deposit { of, amount } => on_chain::run(of, async |chain, _| {
            chain.deposit(*amount).await?;
            println!("deposited {amount}");
            println!("free {}", chain.free(chain.account(), At::Latest).await?);
            Ok(())
        }),
        What::Withdraw { of, amount, to } => on_chain::run(of, async |chain, _| {
            let own = chain.account();
            let free = chain.free(own, At::Latest).await?;
            let (amount, to) = (amount.unwrap_or(free), to.unwrap_or(own));
            anyhow::ensure!(
                !amount.is_zero(),
                "nothing is free to be withdrawn; see `blackhole channel list`"
            );
            chain.withdraw(to, amount).await?;
            println!("withdrew {amount} to {to}");
            println!("free {}", chain.free(own, At::Latest).await?);
            Ok(())
        }),
    }
}

fn new(file: &Path) -> anyhow::Result<()> {
    let key = runtime::create_account_key(file)?;
    println!("{}", key.account());
    eprintln!(
        "The secret is in {0}. Keep a copy: it cannot be made again. A node uses it by `key_file` in its section \
         [chain].",
        file.display()
    );
    Ok(())
}
