//! Jobs, and the books of who pays for them and of who does them.

use std::time::Duration;

use shared::{
    base::UnixSeconds,
    economy::{Amount, escrow, ledger::Book},
    identity::eip712::Word,
};
use supernode_chain::{ChainError, Settler, Stage, Terms};

use crate::anvil::{Anvil, NOW, PATIENT, key};

const RESULT: Word = [7; 32];

#[tokio::test]
async fn a_jobs_money_is_in_the_books_of_both_from_its_agreement_to_its_end() {
    let anvil = Anvil::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (client_key, provider_key, arbiter_key) = (key(1), key(2), key(3));
    for (account, tokens) in [(&client_key, 10_000), (&provider_key, 0), (&arbiter_key, 0)] {
        anvil.fund(account.account(), tokens).await;
    }
    let (client, provider) = (anvil.chain(&client_key).await, anvil.chain(&provider_key).await);
    let arbiter = anvil.chain(&arbiter_key).await;
    let (payer, earner) =
        (anvil.purse(directory.path(), &client_key), anvil.purse(directory.path(), &provider_key));
    let settler = |chain: &std::sync::Arc<_>, purse: &std::sync::Arc<_>| {
        let terms = Terms { rule: PATIENT, coin_price: 1, poll: Duration::from_secs(1), stakes: Vec::new() };
        Settler::new(std::sync::Arc::clone(chain), std::sync::Arc::clone(purse), terms)
    };
    let (clients, providers) = (settler(&client, &payer), settler(&provider, &earner));
    let booked = async || {
        anvil.finalize().await;
        clients.look(NOW).await.expect("looked");
        providers.look(NOW).await.expect("looked");
    };
    booked().await;
    assert_eq!(payer.balance(Book::Wallet), 10_000);

    let terms = escrow::Terms {
        provider: provider_key.account(),
        amount: Amount::of(1001),
        arbiter: arbiter_key.account(),
        deliver_by: UnixSeconds(client.time().await.expect("a time") + 86_400),
        review_seconds: 3600,
        rule_seconds: 2 * 86_400,
        silence_share: 5000,
        specification: [3; 32],
    };
    let mut jobs = Vec::new();
    for salt in 0..4 {
        jobs.push(client.create_job(&terms, [salt; 32]).await.expect("created"));
    }
    let again = client.create_job(&terms, [0; 32]).await;
    assert!(matches!(again, Err(ChainError::Refused(why)) if why.starts_with("NameTaken")));
    booked().await;
    assert_eq!(payer.balance(Book::Wallet), 10_000 - 4 * 1001);
    assert!(jobs.iter().all(|job| payer.balance(Book::Escrow(*job)) == 1001));
    assert_eq!(payer.open_jobs().len(), 4);

    // Accepted, ruled, refunded after its time, and one that opens and closes between two looks.
    for job in &jobs[..3] {
        provider.deliver(*job, RESULT).await.expect("delivered");
    }
    let other = client.accept_result(jobs[0], [8; 32]).await;
    assert!(matches!(other, Err(ChainError::Refused(why)) if why.starts_with("ResultDiffers")));
    client.accept_result(jobs[0], RESULT).await.expect("accepted");
    client.dispute(jobs[1], [9; 32]).await.expect("disputed");
    assert_eq!(client.job(jobs[1]).await.expect("read").expect("known").stage, Stage::Disputed);
    arbiter.rule(jobs[1], Amount::of(400)).await.expect("ruled");
    let quick = client.create_job(&terms, [9; 32]).await.expect("created");
    let until = UnixSeconds(client.time().await.expect("a time") + 600);
    let signed = provider.sign_split(&provider_key, quick, Amount::of(1), until).expect("signed");
    let more = client.split(quick, Amount::ZERO, until, &signed).await;
    assert!(matches!(more, Err(ChainError::Refused(why)) if why.starts_with("NotSignedBy")));
    client.split(quick, Amount::of(1), until, &signed).await.expect("split");
    booked().await;
    assert_eq!(earner.balance(Book::Wallet), 1001 + 400 + 1);
    assert_eq!(payer.balance(Book::Wallet), 10_000 - 2 * 1001 - 1001 - 400 - 1);
    assert_eq!(payer.open_jobs(), jobs[2..].iter().copied().collect());

    // Silence pays what was delivered, and gives back what was not.
    anvil.pass(86_401).await;
    client.close_job(jobs[2]).await.expect("closed");
    client.close_job(jobs[3]).await.expect("closed");
    booked().await;
    assert_eq!(earner.balance(Book::Wallet), 2 * 1001 + 400 + 1);
    assert_eq!(payer.balance(Book::Wallet), 10_000 - 2 * 1001 - 400 - 1);
    assert!(payer.open_jobs().is_empty());
    assert_eq!(client.job(jobs[3]).await.expect("read").expect("known").stage, Stage::Closed);
    assert_eq!(client.job([1; 32]).await.expect("read"), None);
}
