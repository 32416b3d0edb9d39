//! `blackhole channel`.

use anyhow::bail;
use chain::{At, Chain, ChannelState, Direction};
use clap::Subcommand;
use shared::{economy::Amount, identity::Account};

use crate::on_chain::{self, Of};

/// What is to be done with channels.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Print the channels to and from a node's account.
    List {
        #[command(flatten)]
        of: Of,
        /// Look from this block on: the one that the contracts are from, or a later one.
        #[arg(long, default_value_t = 0)]
        from_block: u64,
    },
    /// Lock money for a payee, or more of it. It comes of what was deposited.
    Open {
        #[command(flatten)]
        of: Of,
        /// Who may claim it.
        payee: Account,
        /// In base units of the token.
        #[arg(value_parser = on_chain::amount)]
        amount: Amount,
    },
    /// Take back what a payee has not claimed: once to tell it, and once more when its time is over.
    Close {
        #[command(flatten)]
        of: Of,
        /// Whose channel it is.
        payee: Account,
    },
    /// Let a key sign vouchers for this account.
    Allow {
        #[command(flatten)]
        of: Of,
        /// The account of that key.
        signer: Account,
    },
    /// Let a key sign no more. What it signed stays good for a while, so that payees can claim it.
    Disallow {
        #[command(flatten)]
        of: Of,
        /// The account of that key.
        signer: Account,
    },
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    match what {
        What::List { of, from_block } => on_chain::run(of, async |chain, _| list(chain, *from_block).await),
        What::Open { of, payee, amount } => on_chain::run(of, async |chain, _| {
            chain.reserve(&[(*payee, *amount)]).await?;
            let channel = chain.channel(chain.account(), *payee, At::Latest).await?;
            print(Direction::Out, *payee, channel, chain.time().await?);
            Ok(())
        }),
        What::Close { of, payee } => on_chain::run(of, async |chain, _| close(chain, *payee).await),
        What::Allow { of, signer } => on_chain::run(of, async |chain, _| {
            chain.set_signer(*signer, true).await?;
            println!("{signer} may sign for {}", chain.account());
            Ok(())
        }),
        What::Disallow { of, signer } => on_chain::run(of, async |chain, _| {
            chain.set_signer(*signer, false).await?;
            let (until, now) =
                (chain.signer_good_until(chain.account(), *signer).await?, chain.time().await?);
            println!("{signer} signs no more; what it signed is good until {}", on_chain::moment(until, now));
            Ok(())
        }),
    }
}

async fn list(chain: &Chain, from_block: u64) -> anyhow::Result<()> {
    let (own, now) = (chain.account(), chain.time().await?);
    let channels = chain.channels_since(from_block).await?;
    if channels.is_empty() {
        eprintln!("There are none. `blackhole channel open` makes one.");
    }
    for (direction, other) in channels {
        let (payer, payee) = if direction == Direction::Out { (own, other) } else { (other, own) };
        print(direction, other, chain.channel(payer, payee, At::Latest).await?, now);
    }
    Ok(())
}

async fn close(chain: &Chain, payee: Account) -> anyhow::Result<()> {
    let (own, now) = (chain.account(), chain.time().await?);
    let channel = chain.channel(own, payee, At::Latest).await?;
    let left = channel.ceiling.less(channel.claimed);
    if left.is_zero() {
        bail!("nothing is locked for {payee}; see `blackhole channel list`");
    }
    if channel.thawed_at == 0 {
        chain.thaw(payee).await?;
        let channel = chain.channel(own, payee, At::Latest).await?;
        print(Direction::Out, payee, channel, now);
        println!("the payee may claim until then; say the same once more after it");
    } else if channel.thawed_at > now {
        bail!("{payee} may claim until {}; come back then", on_chain::moment(channel.thawed_at, now));
    } else {
        chain.unreserve(payee).await?;
        println!("closed, {left} came back");
    }
    Ok(())
}

/// One line: which way, with whom, and how it stands.
fn print(direction: Direction, other: Account, channel: ChannelState, now: u64) {
    let way = if direction == Direction::Out { "to" } else { "from" };
    let ChannelState { ceiling, claimed, thawed_at } = channel;
    let left = ceiling.less(claimed);
    let state = match thawed_at {
        0 if left.is_zero() => "used up".to_owned(),
        0 => "open".to_owned(),
        at => format!("closes at {}", on_chain::moment(at, now)),
    };
    println!("{way} {other} locked {ceiling} claimed {claimed} left {left} {state}");
}
