//! The chain as we use it: reads by JSON-RPC, and transactions of one account, one after the other.
//!
//! A transaction takes the nonce that the chain would mine next. One that was sent and never mined, before a restart or
//! because fees rose, is replaced by the next with a higher fee instead of holding it up; a contract's own rules
//! (cumulative vouchers, epochs used once) see to it that nothing is done twice.

mod error;
mod escrow;
mod history;
mod payouts;
mod stakes;

use std::time::Duration;

use abi::{
    Dollar, PaymentChannels,
    alloy::{
        eips::{BlockId, BlockNumberOrTag},
        network::{EthereumWallet, TransactionBuilder as _},
        primitives::{Address, B256, U256, aliases::U96},
        providers::{DynProvider, Provider as _, ProviderBuilder},
        rpc::types::{TransactionReceipt, TransactionRequest},
        signers::local::PrivateKeySigner,
        sol_types::SolCall,
        transports::{RpcError, TransportErrorKind},
    },
};
use shared::{
    economy::{
        Amount,
        voucher::{ChannelContract, SignedVoucher},
    },
    identity::{Account, AccountKey, eip712::Word},
};
use tokio::sync::Mutex;
use url::Url;

pub use error::ChainError;
pub use escrow::{JobState, Stage};
pub use payouts::PayoutState;
pub use stakes::NodeState;

/// How long a transaction may take to be mined, before it is sent anew with a higher fee.
const MINED_WITHIN: Duration = Duration::from_secs(60);
/// How often to ask for its receipt.
const RECEIPT_EVERY: Duration = Duration::from_millis(250);
/// How often it is asked whether another transaction took our nonce.
const COUNT_EVERY: Duration = Duration::from_secs(3);
/// How often something is sent anew that another process was ahead of: with a block a second, more than two keep up.
const OVERTAKEN_MAX: u32 = 5;
/// How often a transaction is replaced before we give up for now; each time by a quarter dearer, which is more than
/// the tenth that nodes ask for.
const ATTEMPTS_MAX: u32 = 4;
/// An answer of a node takes seconds at most.
const RPC_WITHIN: Duration = Duration::from_secs(20);

/// A channel at some block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelState {
    /// All that was locked and not taken back.
    pub ceiling: Amount,
    /// Of that, claimed.
    pub claimed: Amount,
    /// From when on the payer may take the rest back; 0 where it has not asked.
    pub thawed_at: u64,
}

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: Word,
}

/// Which block to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest, which may yet be undone.
    Latest,
    /// This one.
    Block(u64),
}

impl From<At> for BlockId {
    fn from(at: At) -> Self {
        match at {
            At::Latest => BlockNumberOrTag::Latest.into(),
            At::Block(number) => number.into(),
        }
    }
}

/// Contracts beside the channels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Others {
    /// `StakeRegistry`.
    pub stakes: Option<Account>,
    /// `Payouts`.
    pub payouts: Option<Account>,
    /// `PaymentManager`.
    pub escrow: Option<Account>,
}

/// One account on one chain.
#[derive(Debug)]
pub struct Chain {
    provider: DynProvider,
    account: Account,
    contract: ChannelContract,
    others: Others,
    token: Address,
    /// One transaction at a time: the nonce of the next follows from it.
    sending: Mutex<()>,
}

impl Chain {
    /// Connects, and sees to it that chain and contracts are the ones that were meant.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn connect(
        rpc: Url,
        key: &AccountKey,
        contract: ChannelContract,
        others: Others,
    ) -> Result<Self, ChainError> {
        let signer =
            PrivateKeySigner::from_bytes(&B256::from(key.to_secret())).map_err(|_| ChainError::Key)?;
        let wallet = EthereumWallet::from(signer);
        let provider =
            ProviderBuilder::new().disable_recommended_fillers().wallet(wallet).connect_http(rpc).erased();
        let found = within(provider.get_chain_id()).await?;
        if found != contract.chain_id {
            return Err(ChainError::WrongChain { expected: contract.chain_id, found });
        }
        let known = [Some(contract.address), others.stakes, others.payouts, others.escrow];
        for account in known.into_iter().flatten() {
            if within(provider.get_code_at(address(account)).into_future()).await?.is_empty() {
                return Err(ChainError::NoContract(account));
            }
        }
        let channels = PaymentChannels::new(address(contract.address), provider.clone());
        let token = channels.token().call().await.map_err(read_error)?;
        let account = key.account();
        Ok(Self { provider, account, contract, others, token, sending: Mutex::new(()) })
    }

    // ── What is known ──

    /// Whose transactions these are.
    pub const fn account(&self) -> Account {
        self.account
    }

    /// The channels' contract.
    pub const fn contract(&self) -> ChannelContract {
        self.contract
    }

    /// The newest block that will not be undone.
    ///
    /// # Errors
    /// [`ChainError::Rpc`].
    pub async fn finalized(&self) -> Result<BlockRef, ChainError> {
        let block = within(self.provider.get_block_by_number(BlockNumberOrTag::Finalized).into_future());
        let header = block.await?.ok_or_else(|| ChainError::Rpc("it knows no final block".into()))?.header;
        Ok(BlockRef { number: header.number, hash: header.hash.0 })
    }

    /// The newest block's time, by which the contracts judge; in seconds since 1970.
    ///
    /// # Errors
    /// [`ChainError::Rpc`].
    pub async fn time(&self) -> Result<u64, ChainError> {
        let block = within(self.provider.get_block_by_number(BlockNumberOrTag::Latest).into_future()).await?;
        Ok(block.ok_or_else(|| ChainError::Rpc("it knows no block".into()))?.header.timestamp)
    }

    /// The price of a unit of gas, in wei.
    ///
    /// # Errors
    /// [`ChainError::Rpc`].
    pub async fn gas_price(&self) -> Result<u128, ChainError> {
        within(self.provider.get_gas_price()).await
    }

    /// A channel.
    ///
    /// # Errors
    /// [`ChainError::Rpc`].
    pub async fn channel(&self, payer: Account, payee: Account, at: At) -> Result<ChannelState, ChainError> {
        let call = PaymentChannels::channelOfCall { payer: address(payer), payee: address(payee) };
        let channel = self.read(self.contract.address, call, at).await?;
        Ok(ChannelState {
            ceiling: amount(channel.ceiling),
            claimed: amount(channel.claimed),
            thawed_at: channel.thawedAt,
        })
    }

    /// Until when a payer's signer is good: `u64::MAX` while it is active, 0 where it never was.
    ///
    /// # Errors
    /// [`ChainError::Rpc`].
    pub async fn signer_good_until(&self, payer: Account, signer: Account) -> Result<u64, ChainError> {
        let call = PaymentChannels::signerGoodUntilCall { payer: address(payer), signer: address(signer) };
        self.read(self.contract.address, call, At::Latest).await
    }

    /// The free balance of an account.
    ///
    /// # Errors
    /// [`ChainError::Rpc`].
    pub async fn free(&self, account: Account, at: At) -> Result<Amount, ChainError> {
        let call = PaymentChannels::freeOfCall { account: address(account) };
        Ok(wide(self.read(self.contract.address, call, at).await?))
    }

    /// The chain's own coin in an account, in wei: what gas is paid of.
    ///
    /// # Errors
    /// [`ChainError::Rpc`].
    pub async fn coins(&self, account: Account) -> Result<u128, ChainError> {
        let wei = within(self.provider.get_balance(address(account)).into_future()).await?;
        Ok(u128::try_from(wei).unwrap_or(u128::MAX))
    }

    /// The token in an account.
    ///
    /// # Errors
    /// [`ChainError::Rpc`].
    pub async fn wallet(&self, account: Account, at: At) -> Result<Amount, ChainError> {
        let call = Dollar::balanceOfCall { account: address(account) };
        Ok(wide(self.read(Account(self.token.into_array()), call, at).await?))
    }

    // ── Channels ──

    /// Puts money into the channels' contract, as our free balance.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn deposit(&self, money: Amount) -> Result<(), ChainError> {
        self.permit(self.contract.address, money).await?;
        let call = PaymentChannels::depositCall { account: address(self.account), amount: narrow(money) };
        self.act(self.contract.address, call).await
    }

    /// Takes money out of it.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn withdraw(&self, to: Account, money: Amount) -> Result<(), ChainError> {
        self.act(
            self.contract.address,
            PaymentChannels::withdrawCall { to: address(to), amount: narrow(money) },
        )
        .await
    }

    /// Locks money for payees; at most 500 at a time.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn reserve(&self, reservations: &[(Account, Amount)]) -> Result<(), ChainError> {
        let reservations = reservations
            .iter()
            .map(|(payee, money)| PaymentChannels::Reservation {
                payee: address(*payee),
                amount: narrow(*money),
            })
            .collect();
        self.act(self.contract.address, PaymentChannels::reserveManyCall { reservations }).await
    }

    /// Tells a payee that we want our money back.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn thaw(&self, payee: Account) -> Result<(), ChainError> {
        self.act(self.contract.address, PaymentChannels::thawCall { payee: address(payee) }).await
    }

    /// Takes it back, once the thaw has run its time.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn unreserve(&self, payee: Account) -> Result<(), ChainError> {
        self.act(self.contract.address, PaymentChannels::unreserveCall { payee: address(payee) }).await
    }

    /// Lets a hot key sign for us, or no longer.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn set_signer(&self, signer: Account, may_sign: bool) -> Result<(), ChainError> {
        let signer = address(signer);
        if may_sign {
            self.act(self.contract.address, PaymentChannels::authorizeSignerCall { signer }).await
        } else {
            self.act(self.contract.address, PaymentChannels::revokeSignerCall { signer }).await
        }
    }

    /// Claims one payee's vouchers, ours or another's; one by the single call, more as a batch.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn claim(&self, payee: Account, vouchers: &[SignedVoucher]) -> Result<(), ChainError> {
        match vouchers {
            [] => Ok(()),
            [single] => {
                let call = PaymentChannels::claimCall {
                    payer: address(single.voucher.payer),
                    payee: address(payee),
                    cumulative: narrow(single.voucher.cumulative),
                    r: single.signature.r().into(),
                    vs: single.signature.vs().into(),
                };
                self.act(self.contract.address, call).await
            }
            many => {
                let packed: Vec<u8> = many.iter().flat_map(SignedVoucher::pack).collect();
                let call = PaymentChannels::claimPackedCall { payee: address(payee), packed: packed.into() };
                self.act(self.contract.address, call).await
            }
        }
    }

    // ── Below ──

    async fn read<C: SolCall>(&self, to: Account, call: C, at: At) -> Result<C::Return, ChainError> {
        let request = TransactionRequest::default().to(address(to)).input(call.abi_encode().into());
        let answer = within(self.provider.call(request).block(at.into()).into_future()).await?;
        C::abi_decode_returns(&answer).map_err(|error| ChainError::Rpc(error.to_string()))
    }

    /// Lets a contract take so much of our token, and no more.
    async fn permit(&self, spender: Account, money: Amount) -> Result<(), ChainError> {
        let call = Dollar::approveCall { spender: address(spender), value: U256::from(money.units()) };
        self.act(Account(self.token.into_array()), call).await
    }

    /// Does it, and waits until it is in a block.
    async fn act<C: SolCall>(&self, to: Account, call: C) -> Result<(), ChainError> {
        let _one_at_a_time = self.sending.lock().await;
        let own = address(self.account);
        let request = TransactionRequest::default().from(own).to(address(to)).input(call.abi_encode().into());
        for _ in 0..OVERTAKEN_MAX {
            match self.send(own, request.clone()).await {
                // It is in no block and never will be, so it can be sent anew.
                Err(ChainError::Overtaken) => tracing::info!("another process of this account was first"),
                done => return done,
            }
        }
        Err(ChainError::Overtaken)
    }

    /// Sends it with the next nonce, dearer from time to time, until it is mined.
    async fn send(&self, own: Address, request: TransactionRequest) -> Result<(), ChainError> {
        // Here a contract refuses, before it costs anything. Against what is mined: what waits may be what we replace.
        let estimate = self.provider.estimate_gas(request.clone()).block(At::Latest.into());
        let gas = within(estimate.into_future()).await?;
        let limit = gas.saturating_mul(5) / 4;
        let nonce = within(self.provider.get_transaction_count(own).into_future()).await?;
        let fees = within(self.provider.estimate_eip1559_fees()).await?;
        let mut sent = Vec::new();
        for attempt in 0..ATTEMPTS_MAX {
            let dearer = |fee: u128| (0..attempt).fold(fee, |fee, _| fee.saturating_mul(5) / 4 + 1);
            let request = request
                .clone()
                .nonce(nonce)
                .gas_limit(limit)
                .max_fee_per_gas(dearer(fees.max_fee_per_gas))
                .max_priority_fee_per_gas(dearer(fees.max_priority_fee_per_gas))
                .with_chain_id(self.contract.chain_id);
            match within(self.provider.send_transaction(request)).await {
                Ok(pending) => sent.push(*pending.tx_hash()),
                // What is in the pool already with this nonce pays more: dearer still.
                Err(ChainError::Rpc(why)) if why.contains("underpriced") => continue,
                // Something with this nonce is mined: ours, or another process's of this account.
                Err(ChainError::Rpc(why)) if why.contains("nonce too low") => {}
                Err(error) if sent.is_empty() => return Err(error),
                Err(_) => {}
            }
            if let Some(receipt) = self.mined(own, nonce, &sent).await? {
                return outcome(&receipt, limit);
            }
            tracing::info!(nonce, attempt, "a transaction was not mined in time");
        }
        Err(ChainError::NotMined)
    }

    /// The receipt of whichever of these was mined, if one is in time.
    async fn mined(
        &self,
        own: Address,
        nonce: u64,
        sent: &[B256],
    ) -> Result<Option<TransactionReceipt>, ChainError> {
        let deadline = tokio::time::Instant::now() + MINED_WITHIN;
        let mut next_count = tokio::time::Instant::now() + COUNT_EVERY;
        while tokio::time::Instant::now() < deadline {
            if let Some(receipt) = self.receipt(sent).await? {
                return Ok(Some(receipt));
            }
            if tokio::time::Instant::now() >= next_count {
                let counted = within(self.provider.get_transaction_count(own).into_future()).await?;
                if counted > nonce {
                    // One with this nonce is mined. Whoever counts may be ahead of who has receipts.
                    tokio::time::sleep(COUNT_EVERY).await;
                    return self.receipt(sent).await?.map(Some).ok_or(ChainError::Overtaken);
                }
                next_count += COUNT_EVERY;
            }
            tokio::time::sleep(RECEIPT_EVERY).await;
        }
        Ok(None)
    }

    async fn receipt(&self, sent: &[B256]) -> Result<Option<TransactionReceipt>, ChainError> {
        for hash in sent {
            if let Some(receipt) = within(self.provider.get_transaction_receipt(*hash)).await? {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }
}

fn outcome(receipt: &TransactionReceipt, limit: u64) -> Result<(), ChainError> {
    if receipt.status() {
        return Ok(());
    }
    let used = receipt.gas_used;
    Err(ChainError::Refused(format!("it failed in its block, having used {used} gas of {limit}")))
}

async fn within<T>(
    answer: impl Future<Output = Result<T, RpcError<TransportErrorKind>>>,
) -> Result<T, ChainError> {
    match tokio::time::timeout(RPC_WITHIN, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ChainError::Rpc(format!("no answer in {} s", RPC_WITHIN.as_secs()))),
    }
}

fn read_error(error: abi::alloy::contract::Error) -> ChainError {
    ChainError::Rpc(error.to_string())
}

fn address(account: Account) -> Address {
    Address::from(account.0)
}

fn narrow(amount: Amount) -> U96 {
    U96::from(amount.units())
}

fn amount(value: U96) -> Amount {
    Amount::new(value.to::<u128>()).unwrap_or(Amount::MAX)
}

/// A token may know larger numbers than the contracts take.
fn wide(value: U256) -> Amount {
    u128::try_from(value).ok().and_then(Amount::new).unwrap_or(Amount::MAX)
}
