//! Stakes and payouts, and the books of both.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use abi::StakeRegistry;
use shared::{
    economy::{
        Amount,
        ledger::Book,
        payout::{Epoch, Payout},
    },
    identity::{Account, Keypair, StakeBinding},
};
use supernode_chain::{At, ChainError, Settler, Terms};

use crate::anvil::{Anvil, NOW, PATIENT, account, key, settler};

#[tokio::test]
async fn a_stake_is_bound_to_its_node_taken_out_and_booked() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let operator = key(1);
    anvil.fund(operator.account(), 10_000).await;
    let chain = anvil.chain(&operator).await;
    let purse = anvil.purse(directory.path(), &operator);
    let peer = Keypair::from_secret([8; 32]);
    let node = chain.stake(&peer, 1, Amount::of(6_000)).await.expect("staked");
    // Whoever reads the record can check it.
    let stakes = StakeRegistry::new(anvil.stakes, anvil.provider.clone());
    let events = stakes.Registered_filter().from_block(0).query().await.expect("events");
    let (event, _) = events.first().expect("it is recorded");
    let binding =
        StakeBinding { chain_id: 31_337, registry: account(anvil.stakes), operator: operator.account() };
    assert!(binding.verify(&peer.public(), &event.signature));
    assert_eq!(event.did, peer.public().to_string());

    let terms = Terms { rule: PATIENT, coin_price: 1, poll: Duration::from_secs(1), stakes: vec![node] };
    let settler = Settler::new(chain.clone(), purse.clone(), terms);
    let booked = || (purse.balance(Book::Wallet), purse.balance(Book::Stake(node)));
    anvil.finalize().await;
    settler.look(NOW).await.expect("looked");
    assert_eq!(booked(), (4_000, 6_000));
    chain.unbond(node, Amount::of(2_500)).await.expect("unbonded");
    let early = chain.withdraw_stake(node, operator.account()).await;
    assert!(matches!(early, Err(ChainError::Refused(why)) if why.contains("TooEarly")));
    anvil.pass(14 * 86_400 + 1).await;
    chain.withdraw_stake(node, operator.account()).await.expect("withdrawn");
    assert_eq!(chain.stake_of(node, At::Latest).await.expect("read"), Amount::of(3_500));
    anvil.finalize().await;
    settler.look(NOW).await.expect("looked");
    assert_eq!(booked(), (6_500, 3_500));
    assert_eq!(purse.balance(Book::Lost), 0);
}

#[tokio::test]
async fn many_small_earners_are_paid_by_one_root() {
    let anvil = Anvil::new().await;
    let payer = key(1);
    anvil.fund(payer.account(), 1_000_000).await;
    let chain = anvil.chain(&payer).await;
    let epoch =
        Epoch { chain_id: 31_337, contract: account(anvil.payouts), payer: payer.account(), number: 5 };
    let owed: BTreeMap<Account, Amount> =
        (1..=37_u8).map(|number| (Account([number; 20]), Amount::of(u64::from(number) * 10))).collect();
    let (payout, carried) = Payout::net(&epoch, &owed, Amount::of(100)).expect("somebody earned");
    assert_eq!((payout.count(), carried.len()), (28, 9));
    let time = chain.time().await.expect("read");
    chain.open_payout(5, &payout, time + 30 * 86_400).await.expect("opened");
    let shares: Vec<_> = payout.shares().collect();
    chain.pay_shares(payer.account(), 5, &shares[..1]).await.expect("paid");
    // One that was paid already is passed over, and nobody is paid twice.
    chain.pay_shares(payer.account(), 5, &shares).await.expect("paid");
    chain.pay_shares(payer.account(), 5, &shares).await.expect("nothing to do");
    for share in &shares {
        let has = chain.wallet(share.account, At::Latest).await.expect("read");
        assert_eq!(has, share.amount, "{}", share.account);
    }
    let mut forged = shares[3].clone();
    forged.index = 1000;
    let refused = chain.pay_shares(payer.account(), 5, &[forged]).await;
    assert!(matches!(refused, Err(ChainError::Refused(why)) if why.contains("ProofWrong")));
}

#[tokio::test]
async fn an_epoch_is_booked_from_its_opening_to_what_comes_back_of_it() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let payer = key(1);
    anvil.fund(payer.account(), 1_000).await;
    let chain = anvil.chain(&payer).await;
    let epoch = chain.epoch(payer.account(), 5).expect("configured");
    let owed =
        (1..=3_u8).map(|number| (Account([number; 20]), Amount::of(u64::from(number) * 100))).collect();
    let (payout, _) = Payout::net(&epoch, &owed, Amount::ZERO).expect("somebody earned");
    let (payout, shares) = (Arc::new(payout.clone()), payout.shares().collect::<Vec<_>>());
    // The books are closed and opened again before each look.
    let look = async |expect: [i128; 4]| {
        anvil.finalize().await;
        let purse = anvil.purse(directory.path(), &payer);
        purse.watch_payout(5, Arc::clone(&payout));
        settler(&chain, &purse, PATIENT).look(NOW).await.expect("looked");
        let owed = purse.balances().into_iter().filter(|(book, _)| matches!(book, Book::Owed(_)));
        let owed = owed.map(|(_, balance)| balance).sum();
        let books = [Book::Wallet, Book::Payout(5), Book::Shares].map(|book| purse.balance(book));
        assert_eq!([books[0], books[1], books[2], owed], expect);
        assert_eq!(purse.balance(Book::Outside), -1_000, "nothing came or went but shares");
        purse.payouts().len()
    };
    assert_eq!(look([1_000, 0, 0, 0]).await, 1);
    let month = chain.time().await.expect("read") + 30 * 86_400;
    chain.open_payout(5, &payout, month).await.expect("opened");
    chain.pay_shares(payer.account(), 5, &shares[..1]).await.expect("paid");
    assert_eq!(look([400, 500, 600, -500]).await, 1);
    chain.pay_shares(payer.account(), 5, &shares[1..2]).await.expect("paid");
    assert_eq!(look([400, 300, 600, -300]).await, 1);
    anvil.pass(31 * 86_400).await;
    chain.reclaim_payout(5).await.expect("reclaimed");
    assert_eq!(look([700, 0, 300, 0]).await, 0, "it is done with");
    assert_eq!(look([700, 0, 300, 0]).await, 0);
}
