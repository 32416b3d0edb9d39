//! What happened on the chain, by its logs. Nothing of the money itself hangs on these: a node behind an endpoint may keep
//! them for as long as it likes.

use std::collections::BTreeSet;

use abi::{
    PaymentChannels,
    alloy::{
        primitives::B256,
        providers::Provider as _,
        rpc::types::{Filter, Log},
        sol_types::SolEvent as _,
    },
};
use shared::identity::Account;

use super::{Chain, ChainError, address, within};
use crate::store::Direction;

/// Blocks of logs in one question: what public endpoints permit.
const LOG_BLOCKS_MAX: u64 = 2_000;
/// Questions for one answer: some minutes, and at two seconds a block more than a month.
const QUESTIONS_MAX: u64 = 1_000;

impl Chain {
    /// Every channel that money was locked in from a block on, to us or from us.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn channels_since(&self, from: u64) -> Result<BTreeSet<(Direction, Account)>, ChainError> {
        let newest = within(self.provider.get_block_number()).await?;
        let own = B256::left_padding_from(address(self.account).as_slice());
        let reserved = Filter::new()
            .address(address(self.contract.address))
            .event_signature(PaymentChannels::Reserved::SIGNATURE_HASH);
        let mut channels = BTreeSet::new();
        for (direction, filter) in
            [(Direction::Out, reserved.clone().topic1(own)), (Direction::In, reserved.topic2(own))]
        {
            for log in self.logs(filter, from, newest).await? {
                let event = PaymentChannels::Reserved::decode_log(&log.inner);
                let event = event.map_err(|error| ChainError::Rpc(error.to_string()))?;
                let other = if direction == Direction::Out { event.payee } else { event.payer };
                channels.insert((direction, Account(other.into_array())));
            }
        }
        Ok(channels)
    }

    /// Logs of these blocks, both included.
    pub(super) async fn logs(&self, filter: Filter, from: u64, to: u64) -> Result<Vec<Log>, ChainError> {
        let blocks = to.saturating_sub(from);
        if blocks / LOG_BLOCKS_MAX > QUESTIONS_MAX {
            return Err(ChainError::TooLong { from, blocks });
        }
        let (mut logs, mut first) = (Vec::new(), from);
        while first <= to {
            let last = to.min(first.saturating_add(LOG_BLOCKS_MAX - 1));
            let some = filter.clone().from_block(first).to_block(last);
            logs.extend(within(self.provider.get_logs(&some)).await?);
            first = last.saturating_add(1);
        }
        Ok(logs)
    }
}
