//! Money through channels: locked, promised, claimed, booked.

use std::sync::Arc;

use abi::PaymentChannels;
use shared::{
    base::Instant,
    economy::{Amount, ledger::Book, payee::Accepted, price::Unit},
    identity::Account,
};
use supernode_chain::{At, ChainError, Purse, PurseError, Settlement};

use crate::anvil::{Anvil, EAGER, NOW, PATIENT, START, THAW_SECONDS, address, agree, key, settler};

const T: Instant = Instant::from_micros(0);

/// Serves as much as is allowed, up to `bytes`, paying as it goes; returns what was served.
fn transfer(payer: &Purse, payee: &Purse, bytes: u64) -> u64 {
    let mut served = 0;
    while served < bytes {
        let allowed = payee.allowance(payer.account()).units();
        let piece = u64::try_from(allowed).expect("small").min(bytes - served).min(300);
        if piece == 0 {
            break;
        }
        assert!(payee.handle_sent(T, payer.account(), Unit::Bytes, piece).expect("agreed"));
        assert!(payer.handle_verified(T, payee.account(), Unit::Bytes, piece).expect("agreed"));
        served += piece;
        let settle = served == bytes;
        if let Some(voucher) = payer.issue(T, NOW, payee.account(), settle).expect("kept") {
            payee.handle_voucher(T, NOW, &voucher).expect("a good voucher");
        }
    }
    served
}

fn balance(purse: &Purse, book: Book) -> u64 {
    u64::try_from(purse.balance(book)).expect("an asset")
}

#[tokio::test]
async fn what_was_served_is_claimed_once_and_booked_on_both_sides() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (payer_key, payee_key) = (key(1), key(2));
    anvil.fund(payer_key.account(), 1_000_000).await;
    anvil.fund(payee_key.account(), 0).await;
    let (payer_chain, payee_chain) = (anvil.chain(&payer_key).await, anvil.chain(&payee_key).await);
    payer_chain.deposit(Amount::of(600_000)).await.expect("deposited");
    payer_chain.reserve(&[(payee_key.account(), Amount::of(100_000))]).await.expect("reserved");
    let (payer, payee) =
        (anvil.purse(directory.path(), &payer_key), anvil.purse(directory.path(), &payee_key));
    agree(&payer, &payee);
    anvil.finalize().await;
    let payer_settler = settler(&payer_chain, &payer, EAGER);
    let payee_settler = settler(&payee_chain, &payee, EAGER);
    payer_settler.look(NOW).await.expect("looked");
    payee_settler.look(NOW).await.expect("looked");

    assert_eq!(transfer(&payer, &payee, 50_000), 50_000);
    assert_eq!(payee_settler.look(NOW).await.expect("looked").claimed, 1);
    // Once more brings nothing.
    assert_eq!(payee_settler.look(NOW).await.expect("looked").claimed, 0);
    anvil.finalize().await;
    assert!(payer_settler.look(NOW).await.expect("looked").booked);
    assert!(payee_settler.look(NOW).await.expect("looked").booked);
    let channel = payee_chain.channel(payer.account(), payee.account(), At::Latest).await.expect("read");
    assert_eq!(channel.claimed, Amount::of(50_000));
    assert_eq!(balance(&payee, Book::Free), 50_000);
    assert_eq!(payee.balance(Book::Earned), -50_000);
    assert_eq!(payee.balance(Book::Receivable(payer.account())), 0);
    assert_eq!(balance(&payer, Book::Wallet), 400_000);
    assert_eq!(balance(&payer, Book::Free), 500_000);
    assert_eq!(balance(&payer, Book::Reserved(payee.account())), 50_000);
    assert_eq!(balance(&payer, Book::Signed(payee.account())), 0);
    // What the books say the chain says.
    assert_eq!(payee_chain.free(payee.account(), At::Latest).await.expect("read"), Amount::of(50_000));
    payee_chain.withdraw(payee.account(), Amount::of(20_000)).await.expect("withdrawn");
    anvil.finalize().await;
    payee_settler.look(NOW).await.expect("looked");
    assert_eq!((balance(&payee, Book::Wallet), balance(&payee, Book::Free)), (20_000, 30_000));
    // The books replay, from the disk, to the same.
    let head = payee.head();
    drop(payee_settler);
    drop(Arc::into_inner(payee).expect("the last"));
    assert_eq!(anvil.purse(directory.path(), &payee_key).head(), head);
}

#[tokio::test]
async fn vouchers_of_many_payers_go_in_one_batch_and_bad_ones_nowhere() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let payee_key = key(99);
    anvil.fund(payee_key.account(), 0).await;
    let payee_chain = anvil.chain(&payee_key).await;
    let payee = anvil.purse(directory.path(), &payee_key);
    for number in 1..=12 {
        let payer = key(number);
        anvil.fund(payer.account(), 10_000).await;
        let chain = anvil.chain(&payer).await;
        chain.deposit(Amount::of(10_000)).await.expect("deposited");
        chain.reserve(&[(payee_key.account(), Amount::of(10_000))]).await.expect("reserved");
        payee.sell(payer.account(), Unit::Bytes, crate::anvil::PRICE).expect("room");
    }
    let settler = settler(&payee_chain, &payee, EAGER);
    settler.look(NOW).await.expect("looked");
    for number in 1..=12 {
        let voucher = anvil.voucher(&key(number), payee_key.account(), 100 * u64::from(number));
        let accepted = payee.handle_voucher(T, NOW, &voucher).expect("good");
        assert_eq!(accepted, Accepted::Newer { amount: Amount::of(100 * u64::from(number)) });
        assert_eq!(payee.handle_voucher(T, NOW, &voucher).expect("good"), Accepted::Nothing);
    }
    let before = payee.head();
    let forged = {
        let mut voucher = anvil.voucher(&key(1), payee_key.account(), 9_000);
        voucher.signature.0[9] ^= 1;
        voucher
    };
    assert!(matches!(payee.handle_voucher(T, NOW, &forged), Err(PurseError::Refused(_))));
    assert_eq!(payee.head(), before);
    let blocks = |value: serde_json::Value| value.as_str().map(str::to_owned);
    let first = blocks(anvil.ask("eth_blockNumber", serde_json::json!([])).await);
    assert_eq!(settler.look(NOW).await.expect("looked").claimed, 12);
    let last = blocks(anvil.ask("eth_blockNumber", serde_json::json!([])).await);
    let number = |text: Option<String>| {
        u64::from_str_radix(text.expect("a number").trim_start_matches("0x"), 16).expect("a number")
    };
    assert_eq!(number(last) - number(first), 1, "one transaction");
    let free = payee_chain.free(payee_key.account(), At::Latest).await.expect("read");
    assert_eq!(free, Amount::of((1..=12).map(|number| 100 * number).sum()));
    // The contract itself refuses what the purse would.
    let refused = payee_chain.claim(payee_key.account(), &[forged]).await;
    assert!(matches!(refused, Err(ChainError::Refused(why)) if why.contains("NotSignedForPayer")));
}

#[tokio::test]
async fn a_payer_that_leaves_is_claimed_in_time_by_the_payee_or_its_watcher() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (payer_key, payee_key, watcher_key) = (key(1), key(2), key(3));
    for (key, tokens) in [(&payer_key, 50_000), (&payee_key, 0), (&watcher_key, 0)] {
        anvil.fund(key.account(), tokens).await;
    }
    let payer_chain = anvil.chain(&payer_key).await;
    payer_chain.deposit(Amount::of(50_000)).await.expect("deposited");
    payer_chain.reserve(&[(payee_key.account(), Amount::of(50_000))]).await.expect("reserved");
    // The payee is away; a watcher has its voucher, and finds it too small to claim for its own sake.
    let (watcher_chain, watcher) =
        (anvil.chain(&watcher_key).await, anvil.purse(directory.path(), &watcher_key));
    watcher.guard(&anvil.voucher(&payer_key, payee_key.account(), 30_000)).expect("guarded");
    let watching = settler(&watcher_chain, &watcher, PATIENT);
    assert_eq!(watching.look(NOW).await.expect("looked").claimed, 0);
    payer_chain.thaw(payee_key.account()).await.expect("thawed");
    assert!(matches!(payer_chain.unreserve(payee_key.account()).await, Err(ChainError::Refused(_))));
    assert_eq!(watching.look(NOW).await.expect("looked").claimed, 1);
    anvil.pass(THAW_SECONDS + 1).await;
    payer_chain.unreserve(payee_key.account()).await.expect("unreserved");
    let free = |account: Account| {
        let chain = payer_chain.clone();
        async move { chain.free(account, At::Latest).await.expect("read") }
    };
    assert_eq!(free(payee_key.account()).await, Amount::of(30_000));
    assert_eq!(free(payer_key.account()).await, Amount::of(20_000));
    assert_eq!(free(watcher_key.account()).await, Amount::ZERO);
}

#[tokio::test]
async fn nothing_is_served_to_a_payer_that_is_leaving_or_by_a_key_that_is_revoked() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (payer_key, payee_key, hot) = (key(1), key(2), key(3));
    anvil.fund(payer_key.account(), 50_000).await;
    anvil.fund(payee_key.account(), 0).await;
    let (payer_chain, payee_chain) = (anvil.chain(&payer_key).await, anvil.chain(&payee_key).await);
    payer_chain.deposit(Amount::of(50_000)).await.expect("deposited");
    payer_chain.reserve(&[(payee_key.account(), Amount::of(50_000))]).await.expect("reserved");
    payer_chain.set_signer(hot.account(), true).await.expect("authorised");
    let payee = anvil.purse(directory.path(), &payee_key);
    payee.sell(payer_key.account(), Unit::Bytes, crate::anvil::PRICE).expect("room");
    payee.handle_signer(payer_key.account(), hot.account()).expect("told");
    let settler = settler(&payee_chain, &payee, PATIENT);
    settler.look(NOW).await.expect("looked");
    assert_eq!(payee.allowance(payer_key.account()), START);
    let by_hot = |cumulative: u64| {
        let mut voucher = anvil.voucher(&payer_key, payee_key.account(), cumulative);
        voucher.signature = hot.sign(&voucher.voucher.digest(&anvil.contract().separator()));
        voucher
    };
    payee.handle_voucher(T, NOW, &by_hot(40_000)).expect("a hot key's voucher");
    payer_chain.set_signer(hot.account(), false).await.expect("revoked");
    // What it signed is claimed at once; new ones are refused.
    assert_eq!(settler.look(NOW).await.expect("looked").claimed, 1);
    assert!(matches!(payee.handle_voucher(T, NOW, &by_hot(41_000)), Err(PurseError::Refused(_))));
    payer_chain.thaw(payee_key.account()).await.expect("thawed");
    settler.look(NOW).await.expect("looked");
    assert_eq!(payee.allowance(payer_key.account()), Amount::ZERO);
    let channels = PaymentChannels::new(anvil.channels, anvil.provider.clone());
    let free = channels.freeOf(address(payee_key.account())).call().await.expect("read");
    assert_eq!(free.to::<u64>(), 40_000);
}

#[test]
fn without_a_chain_promises_are_credit_and_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let contract = shared::economy::voucher::ChannelContract { chain_id: 137, address: Account([7; 20]) };
    let open = |number: u8| {
        let path = directory.path().join(format!("{number}.redb"));
        Purse::open(&path, key(number), Settlement::Unsettled(contract), START).expect("a purse")
    };
    let (payer, payee) = (open(1), open(2));
    agree(&payer, &payee);
    assert_eq!(payee.allowance(payer.account()), Amount::ZERO);
    let credit = Amount::of(5_000);
    payer.handle_ceiling(payee.account(), credit);
    let view = shared::economy::payee::ChannelView { ceiling: credit, ..Default::default() };
    payee.handle_view(payer.account(), view);
    assert_eq!(transfer(&payer, &payee, 4_000), 4_000);
    assert_eq!(payer.balance(Book::Debt(payee.account())), -4_000);
    assert_eq!(payee.balance(Book::Receivable(payer.account())), 4_000);
    // Credit ends where the operator said.
    assert_eq!(transfer(&payer, &payee, 4_000), 1_000);
    drop(payee);
    // The file is this account's, and this contract's.
    let path = directory.path().join("2.redb");
    let elsewhere = shared::economy::voucher::ChannelContract { chain_id: 1, ..contract };
    assert!(Purse::open(&path, key(2), Settlement::Chain(elsewhere), START).is_err());
    let settled = Purse::open(&path, key(2), Settlement::Chain(contract), START).expect("the same");
    assert_eq!(settled.vouchers().len(), 1);
}
