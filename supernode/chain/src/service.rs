//! A node's money as it runs: the purse from the data directory, and a settler once the chain answers.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use shared::{
    base::UnixSeconds,
    economy::{Amount, ledger::Book, voucher::ChannelContract},
    identity::{Account, AccountKey, PublicKey, StakeBinding, eip712::Word},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Chain, ChainError, Config, Meters, Purse, PurseError, Settlement, Settler, SettlerError, StoreError,
    Terms,
};

/// Vouchers and books, within the data directory.
const PURSE_FILE: &str = "purse.redb";

/// A node that starts waits so long for the chain's, and then goes on without it.
const REACHED_WITHIN: Duration = Duration::from_secs(2);

/// How a node's money stands. Amounts are base units of the token, by the books.
#[derive(Clone, Debug)]
pub struct MoneyStatus {
    /// Whose money it is.
    pub account: Account,
    /// The chain that vouchers are for,
    pub chain_id: u64,
    /// and whether they are claimed there, or wait.
    pub settled: bool,
    /// The token in our account.
    pub wallet: u128,
    /// In the channels' contract, to reserve or withdraw.
    pub free: u128,
    /// At stake.
    pub stake: u128,
    /// Earned, since ever.
    pub earned: u128,
    /// Of that, by vouchers that were not claimed yet.
    pub receivable: u128,
    /// What we owe others, by vouchers that they have not claimed and to earners.
    pub owed: u128,
    /// When vouchers were last claimed, since the start.
    pub claimed: Option<UnixSeconds>,
    /// When the chain last answered, since the start.
    pub answered: Option<UnixSeconds>,
    /// What is wrong with it. Never the endpoint's own words, which may have its secret.
    pub problem: Option<&'static str>,
}

impl MoneyStatus {
    /// The amounts by their names.
    pub const fn figures(&self) -> [(&'static str, u128); 6] {
        [
            ("wallet", self.wallet),
            ("free", self.free),
            ("stake", self.stake),
            ("earned", self.earned),
            ("receivable", self.receivable),
            ("owed", self.owed),
        ]
    }
}

/// What the looks at the chain brought.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    claimed: Option<UnixSeconds>,
    answered: Option<UnixSeconds>,
    problem: Option<&'static str>,
}

/// A node's money.
#[derive(Debug)]
pub struct Money {
    config: Config,
    key: AccountKey,
    purse: Arc<Purse>,
    /// Our node, where stakes are configured.
    stakes: Vec<Word>,
    meters: Meters,
    seen: Mutex<Seen>,
    /// Told where a look at the chain should not wait.
    wanted: Notify,
    /// Once it is connected.
    chain: OnceLock<Arc<Chain>>,
}

impl Money {
    /// Opens the purse, and connects where an endpoint is configured. An endpoint that is away is waited for later;
    /// one of another chain, or without the contracts, is refused.
    ///
    /// # Errors
    /// Says what to correct: the key, the purse's file, or the section's chain and contracts.
    pub async fn open(
        config: Config,
        data_dir: &Path,
        node: &PublicKey,
        meters: Meters,
    ) -> anyhow::Result<Self> {
        let key_file = config.key_file(data_dir);
        let contract = config.contract();
        let settled = config.rpc.is_some();
        let settlement = if settled { Settlement::Chain(contract) } else { Settlement::Unsettled(contract) };
        let (path, start) = (data_dir.join(PURSE_FILE), Amount::of(config.stranger_owes_max));
        let (key, purse) = tokio::task::spawn_blocking(move || {
            let key = runtime::load_or_create_account_key(&key_file).context("[chain] key_file")?;
            let purse = Purse::open(&path, key.clone(), settlement, start);
            let purse = purse.map_err(|error| match error {
                PurseError::Store(StoreError::OfAnother) => anyhow::anyhow!(
                    "{0} is of another account, chain or contract than [chain] names; correct the section, or move \
                     {0} away to begin anew (what it holds can then not be claimed from here)",
                    path.display()
                ),
                error => anyhow::Error::new(error).context(format!("opening {}", path.display())),
            })?;
            anyhow::Ok((key, Arc::new(purse)))
        })
        .await??;
        let stakes = config.stakes.map(|registry| {
            let binding = StakeBinding { chain_id: config.chain_id, registry, operator: key.account() };
            binding.node_name(node)
        });
        let stakes = stakes.into_iter().collect();
        let money = Self {
            config,
            key,
            purse,
            stakes,
            meters,
            seen: Mutex::default(),
            wanted: Notify::new(),
            chain: OnceLock::new(),
        };
        let reached = tokio::time::timeout(REACHED_WITHIN, money.connect()).await;
        match reached.unwrap_or_else(|_| Some(Err(ChainError::Rpc("it takes its time".into())))) {
            None => {}
            Some(Ok(chain)) => drop(money.chain.set(Arc::new(chain))),
            Some(Err(ChainError::Rpc(why))) => {
                tracing::warn!(%why, "the chain's node is away; claims wait for it");
                money.see(|seen| seen.problem = Some(AWAY));
            }
            Some(Err(error)) => {
                return Err(anyhow::Error::new(error).context(MISFIT));
            }
        }
        Ok(money)
    }

    /// Vouchers and books.
    pub fn purse(&self) -> &Arc<Purse> {
        &self.purse
    }

    /// The contract that vouchers are for.
    pub fn contract(&self) -> ChannelContract {
        self.config.contract()
    }

    /// The chain; nothing without one, or before its node has answered.
    pub fn chain(&self) -> Option<Arc<Chain>> {
        self.chain.get().cloned()
    }

    /// Whether epochs of earners can be opened here: a chain and the contract are configured.
    pub fn pays_out(&self) -> Option<Account> {
        self.config.payouts.filter(|_| self.config.rpc.is_some())
    }

    /// Somebody is new here: what its channel holds is to be known soon.
    pub fn look_soon(&self) {
        self.wanted.notify_one();
    }

    /// How it stands now. Brings the meters up to date.
    pub fn status(&self) -> MoneyStatus {
        let balances = self.purse.balances();
        let sum = |wanted: fn(&Book) -> bool| -> u128 {
            balances.iter().filter(|(book, _)| wanted(book)).map(|(_, balance)| balance.unsigned_abs()).sum()
        };
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let status = MoneyStatus {
            account: self.purse.account(),
            chain_id: self.config.chain_id,
            settled: matches!(self.purse.settlement(), Settlement::Chain(_)),
            wallet: sum(|book| matches!(book, Book::Wallet)),
            free: sum(|book| matches!(book, Book::Free)),
            stake: sum(|book| matches!(book, Book::Stake(_))),
            earned: sum(|book| matches!(book, Book::Earned)),
            receivable: sum(|book| matches!(book, Book::Receivable(_))),
            // Debt is the part of what was signed that nothing is locked for: counted with it already.
            owed: sum(|book| matches!(book, Book::Signed(_) | Book::Owed(_))),
            claimed: seen.claimed,
            answered: seen.answered,
            problem: seen.problem,
        };
        self.meters.observe(&status);
        status
    }

    /// Looks at the chain until `shutdown`, then keeps the counts since the last vouchers.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        if let Some(chain) = self.reach(&shutdown).await {
            let terms = Terms {
                rule: self.config.rule(),
                coin_price: self.config.coin_price,
                poll: self.poll(),
                stakes: self.stakes.clone(),
            };
            let settler = Settler::new(chain, Arc::clone(&self.purse), terms);
            settler.run(shutdown.clone(), &self.wanted, |looked| self.handle_look(looked)).await;
        }
        shutdown.cancelled().await;
        let purse = Arc::clone(&self.purse);
        match tokio::task::spawn_blocking(move || purse.checkpoint()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the counts since the last vouchers were not kept"),
            Err(error) => tracing::error!(%error, "keeping the counts panicked"),
        }
    }

    /// The chain, once its node answers; nothing without one, or at the shutdown.
    async fn reach(&self, shutdown: &CancellationToken) -> Option<Arc<Chain>> {
        if let Some(chain) = self.chain.get() {
            return Some(Arc::clone(chain));
        }
        self.config.rpc.as_ref()?;
        loop {
            shutdown.run_until_cancelled(tokio::time::sleep(self.poll())).await?;
            match shutdown.run_until_cancelled(self.connect()).await?? {
                Ok(chain) => return Some(Arc::clone(self.chain.get_or_init(|| Arc::new(chain)))),
                Err(error) => {
                    tracing::warn!(%error, "the chain could not be reached");
                    self.see(|seen| seen.problem = Some(word(&error)));
                }
            }
        }
    }

    async fn connect(&self) -> Option<Result<Chain, ChainError>> {
        let config = &self.config;
        Some(Chain::connect(config.rpc.clone()?, &self.key, config.contract(), config.others()).await)
    }

    fn handle_look(&self, looked: &Result<crate::Looked, SettlerError>) {
        let now = runtime::unix_now();
        self.see(|seen| match looked {
            Ok(looked) => {
                (seen.answered, seen.problem) = (Some(now), None);
                if looked.claimed > 0 {
                    seen.claimed = Some(now);
                }
            }
            Err(SettlerError::Chain(error)) => seen.problem = Some(word(error)),
            Err(SettlerError::Purse(_)) => {
                seen.problem =
                    Some("vouchers and books cannot be kept: look at the log and the disk, and start anew");
            }
        });
    }

    fn see(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn poll(&self) -> Duration {
        Duration::from_secs(self.config.poll_seconds)
    }
}

/// Connects for one command of an operator. Nothing of the node's own files but its account's key is looked at, so
/// that a node may run meanwhile.
///
/// # Errors
/// Says what to correct or to make.
pub async fn reach(config: &Config, data_dir: &Path) -> anyhow::Result<Chain> {
    let key = runtime::load_account_key(&config.key_file(data_dir)).context("[chain] key_file")?;
    let rpc = config.rpc.clone().context(
        "the section [chain] has no `rpc`: set it to a JSON-RPC endpoint of the chain, which this command asks",
    )?;
    match Chain::connect(rpc, &key, config.contract(), config.others()).await {
        Err(error @ (ChainError::WrongChain { .. } | ChainError::NoContract(_))) => {
            Err(anyhow::Error::new(error).context(MISFIT))
        }
        reached => Ok(reached?),
    }
}

const MISFIT: &str = "the section [chain] does not fit the chain behind its rpc: correct rpc, chain_id, channels, \
                      stakes, payouts or escrow, or remove rpc to run unsettled";
const AWAY: &str = "the chain's node does not answer; claims wait for it";

const fn word(error: &ChainError) -> &'static str {
    match error {
        ChainError::Rpc(_) => AWAY,
        ChainError::Refused(_) => "a contract refused; the log has its reason",
        ChainError::NotMined => "a transaction was not mined; it is tried again",
        ChainError::WrongChain { .. } | ChainError::NoContract(_) => {
            "the chain behind rpc is not the one that [chain] names; correct the section"
        }
        ChainError::NotConfigured(..) | ChainError::Key | ChainError::TooLong { .. } => {
            "the section [chain] is not complete; the log says more"
        }
        ChainError::NoCoins => "the account has too few of the chain's coins to pay for gas; send it some",
        ChainError::Overtaken => "another process sends transactions of this account; it is tried again",
    }
}
