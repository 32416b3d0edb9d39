//! A chain that forgets blocks, a node that is away, fees that rise, and the wrong chain.

use serde_json::json;
use shared::{
    base::Instant,
    economy::{Amount, ledger::Book, price::Unit},
    identity::Account,
};
use supernode_chain::{At, Chain, ChainError, SettlerError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::anvil::{Anvil, EAGER, NOW, agree, key, settler, start};

const T: Instant = Instant::from_micros(0);

#[tokio::test]
async fn a_reorganisation_of_three_blocks_loses_and_doubles_nothing() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (payer_key, payee_key) = (key(1), key(2));
    anvil.fund(payer_key.account(), 50_000).await;
    anvil.fund(payee_key.account(), 0).await;
    let (payer_chain, payee_chain) = (anvil.chain(&payer_key).await, anvil.chain(&payee_key).await);
    payer_chain.deposit(Amount::of(50_000)).await.expect("deposited");
    payer_chain.reserve(&[(payee_key.account(), Amount::of(50_000))]).await.expect("reserved");
    anvil.finalize().await;
    let payee = anvil.purse(directory.path(), &payee_key);
    payee.sell(payer_key.account(), Unit::Bytes, crate::anvil::PRICE).expect("room");
    let settler = settler(&payee_chain, &payee, EAGER);
    settler.look(NOW).await.expect("looked");
    let voucher = anvil.voucher(&payer_key, payee_key.account(), 20_000);
    payee.handle_voucher(T, NOW, &voucher).expect("good");
    assert_eq!(settler.look(NOW).await.expect("looked").claimed, 1);
    let claimed = || async {
        let channel = payee_chain.channel(payer_key.account(), payee_key.account(), At::Latest).await;
        channel.expect("read").claimed
    };
    assert_eq!(claimed().await, Amount::of(20_000));
    anvil.ask("anvil_mine", json!(["0x2"])).await;
    // The last three blocks never were, and the claim with them.
    anvil.ask("anvil_reorg", json!([3, []])).await;
    assert_eq!(claimed().await, Amount::ZERO);
    assert_eq!(payee.balance(Book::Receivable(payer_key.account())), 20_000);
    assert_eq!(settler.look(NOW).await.expect("looked").claimed, 1);
    anvil.finalize().await;
    settler.look(NOW).await.expect("looked");
    assert_eq!(claimed().await, Amount::of(20_000));
    assert_eq!(payee.balance(Book::Free), 20_000);
    assert_eq!(payee.balance(Book::Receivable(payer_key.account())), 0);
}

#[tokio::test]
async fn two_processes_of_one_account_do_not_undo_each_other() {
    let anvil = Anvil::new().await;
    let own = key(1);
    anvil.fund(own.account(), 50_000).await;
    let (node, command) = (anvil.chain(&own).await, anvil.chain(&own).await);
    node.deposit(Amount::of(50_000)).await.expect("deposited");
    // Both take the same nonce, for nothing is mined meanwhile.
    anvil.ask("evm_setAutomine", json!([false])).await;
    anvil.ask("evm_setIntervalMining", json!([2])).await;
    let reserve = async |chain: &Chain, payees: core::ops::Range<u8>| {
        for payee in payees {
            chain.reserve(&[(Account([payee; 20]), Amount::of(100))]).await.expect("reserved");
        }
    };
    tokio::join!(reserve(&node, 1..3), reserve(&command, 3..5));
    for payee in 1..5 {
        let channel = node.channel(own.account(), Account([payee; 20]), At::Latest).await.expect("read");
        assert_eq!(channel.ceiling, Amount::of(100), "once, and not twice");
    }
    assert_eq!(node.free(own.account(), At::Latest).await.expect("read"), Amount::of(50_000 - 400));
}

#[tokio::test]
async fn a_node_that_is_away_is_waited_for() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (payer_key, payee_key) = (key(1), key(2));
    anvil.fund(payer_key.account(), 50_000).await;
    anvil.fund(payee_key.account(), 0).await;
    let (payer_chain, payee_chain) = (anvil.chain(&payer_key).await, anvil.chain(&payee_key).await);
    payer_chain.deposit(Amount::of(50_000)).await.expect("deposited");
    payer_chain.reserve(&[(payee_key.account(), Amount::of(50_000))]).await.expect("reserved");
    let (payer, payee) =
        (anvil.purse(directory.path(), &payer_key), anvil.purse(directory.path(), &payee_key));
    agree(&payer, &payee);
    let shutdown = CancellationToken::new();
    let port = anvil.url.port().expect("a port");
    let settler_ = settler(&payee_chain, &payee, EAGER);
    settler_.look(NOW).await.expect("looked");
    let state = anvil.ask("anvil_dumpState", json!([])).await;
    let url = anvil.url.clone();
    let contract = anvil.contract();
    let voucher = anvil.voucher(&payer_key, payee_key.account(), 7_000);
    drop(anvil);
    // Vouchers are taken while it is away.
    assert!(matches!(settler_.look(NOW).await, Err(SettlerError::Chain(ChainError::Rpc(_)))));
    payee.handle_voucher(T, NOW, &voucher).expect("good");
    let ending = shutdown.clone();
    let running = tokio::spawn(async move { settler_.run(ending, &Notify::new(), |_| ()).await });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let (mut child, _) = start(port, &[]);
    let again = Chain::connect(url, &payee_key, contract, Default::default()).await;
    assert!(matches!(again, Err(ChainError::NoContract(_))), "an empty chain");
    let provider = abi::alloy::providers::ProviderBuilder::new()
        .connect_http(format!("http://127.0.0.1:{port}").parse().expect("an address"));
    let load = abi::alloy::providers::Provider::raw_request::<_, bool>(
        &provider,
        "anvil_loadState".into(),
        json!([state]),
    );
    assert!(load.await.expect("loaded"));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let free = payee_chain.free(payee_key.account(), At::Latest).await;
        if free.is_ok_and(|free| free == Amount::of(7_000)) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "it is claimed once the node is back");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    shutdown.cancel();
    running.await.expect("it ends");
    let _ = child.kill();
    let _ = child.wait();
}

#[tokio::test]
async fn a_transaction_that_is_stuck_is_replaced() {
    let anvil = Anvil::new().await;
    let payer_key = key(1);
    anvil.fund(payer_key.account(), 50_000).await;
    let chain = anvil.chain(&payer_key).await;
    anvil.ask("evm_setAutomine", json!([false])).await;
    // Somebody with our key, or we before a crash, sent something that nobody mines.
    let first = {
        let chain = chain.clone();
        tokio::spawn(async move { chain.deposit(Amount::of(1)).await })
    };
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    first.abort();
    let second = anvil.chain(&payer_key).await;
    let deposit = tokio::spawn(async move { second.deposit(Amount::of(30_000)).await });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    anvil.ask("evm_setAutomine", json!([true])).await;
    anvil.ask("anvil_mine", json!(["0x1"])).await;
    deposit.await.expect("it ends").expect("deposited");
    let free = chain.free(payer_key.account(), At::Latest).await.expect("read");
    assert_eq!(free, Amount::of(30_000));
}

#[tokio::test]
async fn another_chain_or_no_contract_is_said_so() {
    let anvil = Anvil::new().await;
    let contract = shared::economy::voucher::ChannelContract { chain_id: 137, ..anvil.contract() };
    let wrong = Chain::connect(anvil.url.clone(), &key(1), contract, Default::default()).await;
    assert!(matches!(wrong, Err(ChainError::WrongChain { expected: 137, found: 31_337 })));
}
