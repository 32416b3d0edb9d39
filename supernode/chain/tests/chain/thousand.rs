//! A thousand channels at once, and every way in which a voucher can be a bad one.

use abi::{
    Dollar, PaymentChannels,
    alloy::{
        hex,
        primitives::{Address, U256, aliases::U96},
        providers::Provider as _,
        sol_types::SolCall,
    },
};
use serde_json::json;
use shared::{
    base::Instant,
    economy::{
        Amount,
        payee::Accepted,
        price::Unit,
        voucher::{ChannelContract, PACKED_VOUCHER_BYTES, SignedVoucher, Voucher},
    },
    identity::AccountKey,
};
use supernode_chain::At;

use crate::anvil::{Anvil, EAGER, NOW, PRICE, account, address, key, settler};

const T: Instant = Instant::from_micros(0);
const PAYERS: u64 = 1000;
/// What each has reserved.
const RESERVED: u64 = 10_000;
/// A claim of one, with room; also for one that is refused.
const GAS: u64 = 300_000;
/// Whoever asks so often for what is mined at once has waited long enough.
const ASKED_MAX: usize = 10_000;

fn payer(number: u64) -> AccountKey {
    let mut secret = [7; 32];
    secret[24..].copy_from_slice(&number.to_be_bytes());
    AccountKey::from_secret(secret).expect("a small number is a key")
}

/// What somebody sends, mined at once; whether it went through.
async fn mined<C: SolCall>(anvil: &Anvil, from: Address, to: Address, call: C) -> bool {
    let data = hex::encode_prefixed(call.abi_encode());
    // With its gas said, nobody estimates it and refuses it for what it will come to.
    let request = json!([{ "from": from, "to": to, "data": data, "gas": GAS }]);
    let hash = anvil.ask("eth_sendTransaction", request).await;
    // It is mined at once, beside the answer.
    for _ in 0..ASKED_MAX {
        let receipt = anvil.ask("eth_getTransactionReceipt", json!([hash])).await;
        if let Some(status) = receipt["status"].as_str() {
            return status == "0x1";
        }
    }
    panic!("{hash} is not mined")
}

/// Locks and reserves for every payer, each in a transaction of its own, as wallets would.
async fn reserve(anvil: &Anvil, payers: &[AccountKey], payee: &AccountKey) {
    let all = PAYERS * RESERVED;
    let deployer = anvil.deployer;
    anvil.fund(account(deployer), all).await;
    let approve = Dollar::approveCall { spender: anvil.channels, value: U256::from(all) };
    assert!(mined(anvil, deployer, anvil.dollar, approve).await);
    for payer in payers {
        let owner = address(payer.account());
        anvil.ask("anvil_setBalance", json!([owner, "0xffffffffffffffff"])).await;
        let amount = U96::from(RESERVED);
        let deposit = PaymentChannels::depositCall { account: owner, amount };
        assert!(mined(anvil, deployer, anvil.channels, deposit).await);
        let reserve = PaymentChannels::reserveCall { payee: address(payee.account()), amount };
        assert!(mined(anvil, owner, anvil.channels, reserve).await);
    }
}

async fn block(anvil: &Anvil) -> u64 {
    anvil.provider.get_block_number().await.expect("answered")
}

#[tokio::test]
async fn a_thousand_channels_are_claimed_by_two_transactions_and_no_bad_voucher_changes_anything() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let payee_key = key(99);
    let payee_account = payee_key.account();
    anvil.fund(payee_account, 0).await;
    let payers: Vec<AccountKey> = (0..PAYERS).map(payer).collect();
    // Their wallets sign nothing but vouchers here.
    anvil.ask("anvil_autoImpersonateAccount", json!([true])).await;
    reserve(&anvil, &payers, &payee_key).await;
    let chain = anvil.chain(&payee_key).await;
    let payee = anvil.purse(directory.path(), &payee_key);
    for payer in &payers {
        payee.sell(payer.account(), Unit::Bytes, PRICE).expect("room");
    }
    let settler = settler(&chain, &payee, EAGER);
    settler.look(NOW).await.expect("looked");
    let amounts: Vec<u64> = (0..PAYERS).map(|number| 100 + number).collect();
    let vouchers: Vec<SignedVoucher> = payers
        .iter()
        .zip(&amounts)
        .map(|(payer, amount)| anvil.voucher(payer, payee_account, *amount))
        .collect();
    for (voucher, amount) in vouchers.iter().zip(&amounts) {
        let accepted = payee.handle_voucher(T, NOW, voucher).expect("good");
        assert_eq!(accepted, Accepted::Newer { amount: Amount::of(*amount) });
    }

    // ── All at once ──
    let before = block(&anvil).await;
    assert_eq!(settler.look(NOW).await.expect("looked").claimed, vouchers.len());
    let transactions = block(&anvil).await - before;
    assert!(transactions <= 2, "{transactions} transactions, a block each");
    let earned: u64 = amounts.iter().sum();
    let free = async || chain.free(payee_account, At::Latest).await.expect("read").units();
    assert_eq!(free().await, u128::from(earned));

    // ── The bad ones, each mined, so that the contract and not the estimate refuses them ──
    let claimed = async |number: usize| {
        let channel = chain.channel(payers[number].account(), payee_account, At::Latest).await.expect("read");
        (channel.ceiling, channel.claimed, channel.thawed_at)
    };
    let known = claimed(0).await;
    let refused = async |packed: &[u8], what: &str| {
        let call = PaymentChannels::claimPackedCall {
            payee: address(payee_account),
            packed: packed.to_vec().into(),
        };
        assert!(!mined(&anvil, anvil.deployer, anvil.channels, call).await, "{what}");
    };
    let good = anvil.voucher(&payers[0], payee_account, RESERVED);
    let signed_for = |contract: ChannelContract, cumulative: u64| {
        let cumulative = Amount::of(cumulative);
        let voucher = Voucher { payer: payers[0].account(), payee: payee_account, cumulative };
        voucher.sign(&contract.separator(), &payers[0])
    };
    let ours = anvil.contract();
    refused(&vouchers[0].pack(), "replayed").await;
    refused(&anvil.voucher(&payers[0], payee_account, amounts[0] - 1).pack(), "lower").await;
    refused(&signed_for(ChannelContract { chain_id: 1, ..ours }, RESERVED).pack(), "another chain's").await;
    let elsewhere = ChannelContract { address: account(anvil.escrow), ..ours };
    refused(&signed_for(elsewhere, RESERVED).pack(), "another contract's").await;
    let packed = good.pack();
    for bit in 0..8 * PACKED_VOUCHER_BYTES {
        let mut flipped = packed;
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&flipped, &format!("bit {bit} flipped")).await;
    }
    assert_eq!((claimed(0).await, free().await), (known, u128::from(earned)), "no state changed");
    // As it was signed, it is good.
    chain.claim(payee_account, &[good]).await.expect("claimed");
    assert_eq!(free().await, u128::from(earned + RESERVED - amounts[0]));
}
