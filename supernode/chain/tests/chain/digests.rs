//! What Rust computes is what Solidity computes, over random values.

use abi::{
    PaymentChannels, PaymentManager, Payouts, StakeRegistry,
    alloy::primitives::{Address, B256, Bytes, U256, aliases::U96},
};
use shared::{
    base::{SeededRng, UnixSeconds},
    economy::{Amount, escrow, payout::Epoch, voucher::Voucher},
    identity::{Account, Keypair, StakeBinding, eip712::Word, peer_id_hash},
};

use crate::anvil::{Anvil, account, address};

const ROUNDS: usize = 40;

struct Random(SeededRng);

impl Random {
    fn word(&mut self) -> Word {
        let mut word = [0; 32];
        word.chunks_mut(8).for_each(|part| part.copy_from_slice(&self.0.next_u64().to_be_bytes()));
        word
    }

    fn account(&mut self) -> Account {
        Account(self.word()[..20].try_into().expect("20 of 32"))
    }

    /// Of any length up to 96 bits.
    fn amount(&mut self) -> Amount {
        let word = self.word();
        let all = u128::from_be_bytes(word[..16].try_into().expect("16 of 32"));
        Amount::new(all >> (32 + self.0.below(96))).expect("at most 96 bits")
    }
}

fn u96(amount: Amount) -> U96 {
    U96::from(amount.units())
}

#[tokio::test]
async fn every_digest_name_and_leaf_is_the_contracts_own() {
    let anvil = Anvil::new().await;
    let mut random = Random(SeededRng::from_number(4));
    let channels = PaymentChannels::new(anvil.channels, anvil.provider.clone());
    let manager = PaymentManager::new(anvil.escrow, anvil.provider.clone());
    let stakes = StakeRegistry::new(anvil.stakes, anvil.provider.clone());
    let payouts = Payouts::new(anvil.payouts, anvil.provider.clone());
    let separator = anvil.contract().separator();
    let escrow_separator = escrow::separator(31_337, account(anvil.escrow));
    for _ in 0..ROUNDS {
        let (payer, payee, cumulative) = (random.account(), random.account(), random.amount());
        let digest = channels.voucherDigest(address(payer), address(payee), u96(cumulative));
        let ours = Voucher { payer, payee, cumulative }.digest(&separator);
        assert_eq!(digest.call().await.expect("an answer"), B256::from(ours));

        let (job, result, deadline) = (random.word(), random.word(), random.0.next_u64());
        let digest = manager.acceptanceDigest(job.into(), result.into(), U256::from(deadline));
        let ours = escrow::acceptance_digest(&escrow_separator, job, result, UnixSeconds(deadline));
        assert_eq!(digest.call().await.expect("an answer"), B256::from(ours));
        let digest =
            manager.settlementDigest(job.into(), U256::from(cumulative.units()), U256::from(deadline));
        let ours = escrow::settlement_digest(&escrow_separator, job, cumulative, UnixSeconds(deadline));
        assert_eq!(digest.call().await.expect("an answer"), B256::from(ours));

        let terms = escrow::Terms {
            provider: payee,
            amount: cumulative,
            arbiter: random.account(),
            deliver_by: UnixSeconds(random.0.next_u64()),
            review_seconds: u32::try_from(random.0.below(1 << 32)).expect("32 bits"),
            rule_seconds: u32::try_from(random.0.below(1 << 32)).expect("32 bits"),
            silence_share: u16::try_from(random.0.below(1 << 16)).expect("16 bits"),
            specification: random.word(),
        };
        let theirs = PaymentManager::Terms {
            provider: address(terms.provider),
            amount: u96(terms.amount),
            arbiter: address(terms.arbiter),
            deliverBy: terms.deliver_by.0,
            reviewSeconds: terms.review_seconds,
            ruleSeconds: terms.rule_seconds,
            silenceShare: terms.silence_share,
            specification: terms.specification.into(),
        };
        let name = manager.nameOf(address(payer), theirs, job.into()).call().await.expect("an answer");
        assert_eq!(name, B256::from(terms.name(payer, job)));

        let (number, index) = (random.0.next_u64(), random.0.next_u64());
        let leaf = payouts.leafOf(address(payer), number, U256::from(index), address(payee), u96(cumulative));
        let epoch = Epoch { chain_id: 31_337, contract: account(anvil.payouts), payer, number };
        let ours = epoch.leaf(index, payee, cumulative);
        assert_eq!(leaf.call().await.expect("an answer"), B256::from(ours));

        let peer = Keypair::from_secret(random.word()).public();
        let hash = stakes.peerIdHashOf(peer.to_bytes().into()).call().await.expect("an answer");
        assert_eq!(hash, B256::from(peer_id_hash(&peer)));
        let binding = StakeBinding { chain_id: 31_337, registry: account(anvil.stakes), operator: payer };
        let name = stakes.nameOf(address(payer), hash).call().await.expect("an answer");
        assert_eq!(name, B256::from(binding.node_name(&peer)));
    }
}

#[tokio::test]
async fn a_binding_is_signed_over_the_registrys_message() {
    let anvil = Anvil::new().await;
    let stakes = StakeRegistry::new(anvil.stakes, anvil.provider.clone());
    let peer = Keypair::from_secret([3; 32]);
    let operator = Account([9; 20]);
    let message: Bytes = stakes.bindingMessage(address(operator)).call().await.expect("an answer");
    let binding = StakeBinding { chain_id: 31_337, registry: account(anvil.stakes), operator };
    let key = peer.to_libp2p().try_into_ed25519().expect("Ed25519");
    assert!(key.public().verify(&message, &binding.sign(&peer)));
    assert_ne!(anvil.stakes, Address::ZERO);
}
