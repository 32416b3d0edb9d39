//! What stands behind nodes: `StakeRegistry`.

use abi::{
    StakeRegistry,
    alloy::{primitives::B256, rpc::types::Filter, sol_types::SolEvent as _},
};
use shared::{
    economy::Amount,
    identity::{Account, Keypair, PublicKey, StakeBinding, eip712::Word},
};

use super::{At, Chain, ChainError, address, amount, narrow, wide};

/// A node's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// What it says it offers, a bit a service.
    pub services: u32,
    /// At stake,
    pub bonded: Amount,
    /// and on its way out.
    pub unbonding: Amount,
    /// From when on that can be taken; 0 where nothing is on its way.
    pub withdrawable_at: u64,
}

impl Chain {
    // ── What is known ──

    /// What is bonded and unbonding for a node.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn stake_of(&self, node: Word, at: At) -> Result<Amount, ChainError> {
        let call = StakeRegistry::nodeOfCall { name: node.into() };
        let node = self.read(self.stakes()?, call, at).await?;
        Ok(amount(node.bonded).plus(amount(node.unbonding)))
    }

    /// A node's record; nothing where there is none.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn node(&self, name: Word) -> Result<Option<NodeState>, ChainError> {
        let call = StakeRegistry::nodeOfCall { name: name.into() };
        let node = self.read(self.stakes()?, call, At::Latest).await?;
        let state = NodeState {
            services: node.services,
            bonded: amount(node.bonded),
            unbonding: amount(node.unbonding),
            withdrawable_at: node.releaseAt.max(node.heldUntil),
        };
        Ok((!node.operator.is_zero()).then_some(state))
    }

    /// What was withdrawn of a node's stake in these blocks.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn stake_withdrawn(&self, node: Word, from: u64, to: u64) -> Result<Amount, ChainError> {
        let filter = Filter::new()
            .address(address(self.stakes()?))
            .event_signature(StakeRegistry::Withdrawn::SIGNATURE_HASH)
            .topic1(B256::from(node));
        let mut sum = Amount::ZERO;
        for log in self.logs(filter, from, to).await? {
            let event = StakeRegistry::Withdrawn::decode_log(&log.inner);
            sum = sum.plus(wide(event.map_err(|error| ChainError::Rpc(error.to_string()))?.amount));
        }
        Ok(sum)
    }

    // ── Our operator speaks ──

    /// The name of our node of this key.
    ///
    /// # Errors
    /// [`ChainError::NotConfigured`].
    pub fn node_name(&self, peer: &PublicKey) -> Result<Word, ChainError> {
        Ok(self.binding()?.node_name(peer))
    }

    /// Records our node, bound by its key, or changes its record. Returns its name.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn register(&self, peer: &Keypair, services: u32) -> Result<Word, ChainError> {
        let (registry, binding) = (self.stakes()?, self.binding()?);
        let call = StakeRegistry::registerCall {
            peerKey: peer.public().to_bytes().into(),
            signature: binding.sign(peer).to_vec().into(),
            did: peer.public().to_string(),
            services,
        };
        self.act(registry, call).await?;
        self.node_name(&peer.public())
    }

    /// Bonds a stake for a node of ours.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn bond(&self, node: Word, money: Amount) -> Result<(), ChainError> {
        let registry = self.stakes()?;
        self.permit(registry, money).await?;
        self.act(registry, StakeRegistry::stakeCall { name: node.into(), amount: narrow(money) }).await
    }

    /// Records our node and bonds a stake for it. Returns its name.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn stake(&self, peer: &Keypair, services: u32, money: Amount) -> Result<Word, ChainError> {
        let name = self.register(peer, services).await?;
        self.bond(name, money).await?;
        Ok(name)
    }

    /// Begins to take a stake out.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn unbond(&self, node: Word, money: Amount) -> Result<(), ChainError> {
        let call = StakeRegistry::unbondCall { name: node.into(), amount: narrow(money) };
        self.act(self.stakes()?, call).await
    }

    /// Takes out what has been unbonded for long enough.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn withdraw_stake(&self, node: Word, to: Account) -> Result<(), ChainError> {
        let call = StakeRegistry::withdrawCall { name: node.into(), to: address(to) };
        self.act(self.stakes()?, call).await
    }

    // ── Below ──

    fn stakes(&self) -> Result<Account, ChainError> {
        self.others.stakes.ok_or(ChainError::NotConfigured("StakeRegistry", "stakes"))
    }

    fn binding(&self) -> Result<StakeBinding, ChainError> {
        let (chain_id, registry) = (self.contract.chain_id, self.stakes()?);
        Ok(StakeBinding { chain_id, registry, operator: self.account })
    }
}
