//! A chain of our own, with the contracts on it.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use abi::{
    Dollar, PaymentChannels, PaymentManager, Payouts, StakeRegistry,
    alloy::{
        network::EthereumWallet,
        primitives::{Address, B256, U256},
        providers::{DynProvider, Provider as _, ProviderBuilder},
        signers::local::PrivateKeySigner,
    },
};
use serde_json::{Value, json};
use shared::{
    base::UnixSeconds,
    economy::{
        Amount,
        price::{Price, Unit},
        settlement::ClaimRule,
        voucher::{ChannelContract, SignedVoucher, Voucher},
    },
    identity::{Account, AccountKey},
};
use supernode_chain::{Chain, Others, Purse, Settlement, Settler, Terms};
use url::Url;

pub(crate) const THAW_SECONDS: u64 = 7200;
/// A base unit for each byte: figures in the tests are both.
pub(crate) const PRICE: Price = Price { amount: 1, per: core::num::NonZeroU64::MIN };
/// What a stranger may owe.
pub(crate) const START: Amount = Amount::of(1000);

/// Ends with the test.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) url: Url,
    pub(crate) provider: DynProvider,
    /// Who sends by `provider`.
    pub(crate) deployer: Address,
    pub(crate) dollar: Address,
    pub(crate) channels: Address,
    pub(crate) escrow: Address,
    pub(crate) stakes: Address,
    pub(crate) payouts: Address,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn key(number: u8) -> AccountKey {
    AccountKey::from_secret([number; 32]).expect("a small number is a key")
}

pub(crate) fn address(account: Account) -> Address {
    Address::from(account.0)
}

pub(crate) fn account(address: Address) -> Account {
    Account(address.into_array())
}

/// The binary's tests use this file too, from another directory.
fn program() -> PathBuf {
    const PROGRAM: &str = "contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil";
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let program = above.map(|directory| directory.join(PROGRAM)).find(|program| program.exists());
    program.expect("anvil is not installed: `cargo xtask test contracts` does it")
}

/// Starts the program and waits until it listens.
pub(crate) fn start(port: u16, extra: &[&str]) -> (Child, Url) {
    let port = port.to_string();
    let mut child = Command::new(program())
        // Two blocks behind the newest are final.
        .args(["--port", &port, "--slots-in-an-epoch", "1", "--hardfork", "prague"])
        .args(extra)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("anvil starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let url = lines.find_map(|line| {
        let listening = line.ok()?.strip_prefix("Listening on ")?.to_owned();
        Url::parse(&format!("http://{listening}")).ok()
    });
    // Whoever does not read its pipe stops it in the end.
    std::thread::spawn(move || lines.for_each(drop));
    (child, url.expect("anvil says where it listens"))
}

impl Anvil {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(extra: &[&str]) -> Self {
        let (child, url) = start(0, extra);
        let deployer = PrivateKeySigner::from_bytes(&B256::from([0xde; 32])).expect("a key");
        let own = deployer.address();
        let wallet = EthereumWallet::from(deployer);
        let provider = ProviderBuilder::new().wallet(wallet).connect_http(url.clone()).erased();
        ask(&provider, "anvil_setBalance", json!([own, "0xffffffffffffffffffff"])).await;
        let dollar = *Dollar::deploy(provider.clone()).await.expect("deployed").address();
        let channels = PaymentChannels::deploy(provider.clone(), dollar, THAW_SECONDS).await;
        let escrow = PaymentManager::deploy(provider.clone(), dollar).await;
        let judges = (Address::repeat_byte(0x11), Address::repeat_byte(0x22));
        let minimum = abi::alloy::primitives::aliases::U96::from(1_u64);
        let stakes = StakeRegistry::deploy(provider.clone(), dollar, judges.0, judges.1, minimum).await;
        let payouts = Payouts::deploy(provider.clone(), dollar).await;
        Self {
            child,
            url,
            deployer: own,
            dollar,
            channels: *channels.expect("deployed").address(),
            escrow: *escrow.expect("deployed").address(),
            stakes: *stakes.expect("deployed").address(),
            payouts: *payouts.expect("deployed").address(),
            provider,
        }
    }

    pub(crate) async fn ask(&self, method: &'static str, parameters: Value) -> Value {
        ask(&self.provider, method, parameters).await
    }

    pub(crate) fn contract(&self) -> ChannelContract {
        ChannelContract { chain_id: 31_337, address: account(self.channels) }
    }

    pub(crate) fn others(&self) -> Others {
        Others {
            stakes: Some(account(self.stakes)),
            payouts: Some(account(self.payouts)),
            escrow: Some(account(self.escrow)),
        }
    }

    /// Coins for gas, and tokens.
    pub(crate) async fn fund(&self, account: Account, tokens: u64) {
        self.ask("anvil_setBalance", json!([address(account), "0xffffffffffffffff"])).await;
        let dollar = Dollar::new(self.dollar, self.provider.clone());
        let minted = dollar.mint(address(account), U256::from(tokens)).send().await.expect("minted");
        minted.get_receipt().await.expect("mined");
    }

    pub(crate) async fn chain(&self, key: &AccountKey) -> Arc<Chain> {
        let chain = Chain::connect(self.url.clone(), key, self.contract(), self.others()).await;
        Arc::new(chain.expect("connected"))
    }

    /// Everything so far becomes final.
    pub(crate) async fn finalize(&self) {
        self.ask("anvil_mine", json!(["0x3"])).await;
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        self.ask("evm_increaseTime", json!([seconds])).await;
        self.ask("anvil_mine", json!(["0x1"])).await;
    }

    /// An account's purse in a directory of its own.
    pub(crate) fn purse(&self, directory: &Path, key: &AccountKey) -> Arc<Purse> {
        let path = directory.join(format!("{}.redb", key.account()));
        let purse = Purse::open(&path, key.clone(), Settlement::Chain(self.contract()), START);
        Arc::new(purse.expect("a purse"))
    }

    pub(crate) fn voucher(&self, payer: &AccountKey, payee: Account, cumulative: u64) -> SignedVoucher {
        let cumulative = Amount::of(cumulative);
        let voucher = Voucher { payer: payer.account(), payee, cumulative };
        voucher.sign(&self.contract().separator(), payer)
    }
}

async fn ask(provider: &DynProvider, method: &'static str, parameters: Value) -> Value {
    provider.raw_request(method.into(), parameters).await.unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// A settler that claims whatever is there.
pub(crate) fn settler(chain: &Arc<Chain>, purse: &Arc<Purse>, rule: ClaimRule) -> Settler {
    // A coin worth a tenth of a dollar.
    let terms = Terms { rule, coin_price: 100_000, poll: Duration::from_millis(100), stakes: Vec::new() };
    Settler::new(chain.clone(), purse.clone(), terms)
}

pub(crate) const EAGER: ClaimRule = ClaimRule { gas_multiple: 1, outstanding_max: Amount::of(1) };
pub(crate) const PATIENT: ClaimRule =
    ClaimRule { gas_multiple: 1_000_000, outstanding_max: Amount::of(1 << 60) };

pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// Agrees on a price, on both sides.
pub(crate) fn agree(payer: &Purse, payee: &Purse) {
    payer.buy(payee.account(), Unit::Bytes, PRICE).expect("room");
    payee.sell(payer.account(), Unit::Bytes, PRICE).expect("room");
}
