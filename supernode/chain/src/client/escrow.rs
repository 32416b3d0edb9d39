//! Money for jobs, held from the agreement to the result: `PaymentManager`.

use std::collections::{BTreeMap, BTreeSet};

use abi::{
    Dollar, PaymentManager,
    alloy::{
        primitives::{B256, U256},
        rpc::types::{Filter, Log},
        sol_types::SolEvent,
    },
};
use shared::{
    base::UnixSeconds,
    economy::{
        Amount,
        escrow::{self, Terms},
    },
    identity::{
        Account, AccountKey, AccountSignature,
        eip712::{Separator, Word},
    },
};

use super::{At, Chain, ChainError, address, amount, narrow, wide};
use crate::purse::JobMoves;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Money is locked, nothing delivered.
    Open,
    /// The client looks at the result.
    Delivered,
    /// The arbiter does.
    Disputed,
    /// Over.
    Closed,
}

/// A job as the chain has it. Of one that is over nothing is left but that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobState {
    /// Where it is.
    pub stage: Stage,
    /// Who pays.
    pub client: Account,
    /// Who does it.
    pub provider: Account,
    /// Who rules where they do not agree.
    pub arbiter: Account,
    /// For how much.
    pub amount: Amount,
    /// Until when the stage's party has time, in seconds since 1970.
    pub deadline: u64,
    /// What was delivered.
    pub result: Option<Word>,
}

impl Chain {
    // ── What is known ──

    /// A job; nothing where there never was one of this name.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn job(&self, name: Word) -> Result<Option<JobState>, ChainError> {
        let call = PaymentManager::jobOfCall { name: name.into() };
        let job = self.read(self.escrow()?, call, At::Latest).await?;
        let stage = match job.state {
            1 => Stage::Open,
            2 => Stage::Delivered,
            3 => Stage::Disputed,
            4 => Stage::Closed,
            _ => return Ok(None),
        };
        Ok(Some(JobState {
            stage,
            client: Account(job.client.into_array()),
            provider: Account(job.provider.into_array()),
            arbiter: Account(job.arbiter.into_array()),
            amount: amount(job.amount),
            deadline: job.deadline.to::<u64>(),
            result: (!job.result.is_zero()).then_some(job.result.0),
        }))
    }

    /// What the contract owes us that our token did not take when it was due.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn owed_by_escrow(&self) -> Result<Amount, ChainError> {
        let call = PaymentManager::owedCall { account: address(self.account) };
        Ok(wide(self.read(self.escrow()?, call, At::Latest).await?))
    }

    /// What these blocks did to jobs that we pay for, of which `open` are those that were open before; and what jobs that
    /// we did brought. Nothing where no contract is configured.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn job_moves(
        &self,
        open: BTreeSet<Word>,
        from: u64,
        to: u64,
    ) -> Result<(BTreeMap<Word, JobMoves>, Amount), ChainError> {
        let Some(escrow) = self.others.escrow else { return Ok(Default::default()) };
        let own = B256::left_padding_from(address(self.account).as_slice());
        let of_escrow = Filter::new().address(address(escrow));
        let mut moves: BTreeMap<Word, JobMoves> = BTreeMap::new();
        let created = of_escrow.clone().event_signature(PaymentManager::Created::SIGNATURE_HASH).topic2(own);
        for log in self.logs(created, from, to).await? {
            let event = read::<PaymentManager::Created>(&log)?;
            moves.entry(event.job.0).or_default().locked = amount(event.terms.amount);
        }
        let ours: Vec<B256> = open.into_iter().chain(moves.keys().copied()).map(B256::from).collect();
        // Of no job at all would mean of any.
        if !ours.is_empty() {
            let closed = of_escrow.event_signature(PaymentManager::Closed::SIGNATURE_HASH).topic1(ours);
            for log in self.logs(closed, from, to).await? {
                let event = read::<PaymentManager::Closed>(&log)?;
                let job = moves.entry(event.job.0).or_default();
                (job.paid, job.refunded) = (wide(event.toProvider), wide(event.toClient));
            }
        }
        let came = Filter::new()
            .address(self.token)
            .event_signature(Dollar::Transfer::SIGNATURE_HASH)
            .topic1(B256::left_padding_from(address(escrow).as_slice()))
            .topic2(own);
        let mut received = Amount::ZERO;
        for log in self.logs(came, from, to).await? {
            received = received.plus(wide(read::<Dollar::Transfer>(&log)?.value));
        }
        let refunded: Amount = moves.values().map(|job| job.refunded).sum();
        Ok((moves, received.less(refunded)))
    }

    // ── The client ──

    /// Locks a job's money. Returns its name, which follows from all of it.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn create_job(&self, terms: &Terms, salt: Word) -> Result<Word, ChainError> {
        let escrow = self.escrow()?;
        self.permit(escrow, terms.amount).await?;
        let name = terms.name(self.account, salt);
        let terms = PaymentManager::Terms {
            provider: address(terms.provider),
            amount: narrow(terms.amount),
            arbiter: address(terms.arbiter),
            deliverBy: terms.deliver_by.0,
            reviewSeconds: terms.review_seconds,
            ruleSeconds: terms.rule_seconds,
            silenceShare: terms.silence_share,
            specification: terms.specification.into(),
        };
        self.act(escrow, PaymentManager::createCall { terms, salt: salt.into() }).await?;
        Ok(name)
    }

    /// Pays for this result, and for no other.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn accept_result(&self, job: Word, result: Word) -> Result<(), ChainError> {
        self.act(self.escrow()?, PaymentManager::acceptCall { name: job.into(), result: result.into() }).await
    }

    /// Has the arbiter look at what was delivered.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn dispute(&self, job: Word, evidence: Word) -> Result<(), ChainError> {
        let call = PaymentManager::disputeCall { name: job.into(), evidence: evidence.into() };
        self.act(self.escrow()?, call).await
    }

    // ── The provider ──

    /// Says what the result is. Once.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn deliver(&self, job: Word, result: Word) -> Result<(), ChainError> {
        self.act(self.escrow()?, PaymentManager::deliverCall { name: job.into(), result: result.into() })
            .await
    }

    /// Gives all back.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn decline(&self, job: Word) -> Result<(), ChainError> {
        self.act(self.escrow()?, PaymentManager::declineCall { name: job.into() }).await
    }

    // ── Both ──

    /// Signs a split, which the other party may then have done.
    ///
    /// # Errors
    /// [`ChainError::NotConfigured`].
    pub fn sign_split(
        &self,
        key: &AccountKey,
        job: Word,
        to_provider: Amount,
        until: UnixSeconds,
    ) -> Result<AccountSignature, ChainError> {
        Ok(key.sign(&escrow::settlement_digest(&self.escrow_separator()?, job, to_provider, until)))
    }

    /// Splits as the other party signed.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn split(
        &self,
        job: Word,
        to_provider: Amount,
        until: UnixSeconds,
        signature: &AccountSignature,
    ) -> Result<(), ChainError> {
        let call = PaymentManager::settleCall {
            name: job.into(),
            toProvider: U256::from(to_provider.units()),
            deadline: U256::from(until.0),
            signature: long_form(signature).into(),
        };
        self.act(self.escrow()?, call).await
    }

    // ── The arbiter, and anyone ──

    /// Rules what the provider gets.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn rule(&self, job: Word, to_provider: Amount) -> Result<(), ChainError> {
        let call = PaymentManager::ruleCall { name: job.into(), toProvider: U256::from(to_provider.units()) };
        self.act(self.escrow()?, call).await
    }

    /// Ends a job whose party said nothing in its time.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn close_job(&self, job: Word) -> Result<(), ChainError> {
        self.act(self.escrow()?, PaymentManager::closeCall { name: job.into() }).await
    }

    /// Takes what the contract owes us.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn collect_from_escrow(&self, to: Account) -> Result<(), ChainError> {
        self.act(self.escrow()?, PaymentManager::collectCall { to: address(to) }).await
    }

    // ── Below ──

    fn escrow(&self) -> Result<Account, ChainError> {
        self.others.escrow.ok_or(ChainError::NotConfigured("PaymentManager", "escrow"))
    }

    fn escrow_separator(&self) -> Result<Separator, ChainError> {
        Ok(escrow::separator(self.contract.chain_id, self.escrow()?))
    }
}

/// As the contract takes it: r, s, and 27 or 28.
fn long_form(signature: &AccountSignature) -> Vec<u8> {
    let (r, mut s) = (signature.r(), signature.vs());
    let odd = s[0] >> 7;
    s[0] &= 0x7f;
    [&r[..], &s, &[27 + odd]].concat()
}

fn read<E: SolEvent>(log: &Log) -> Result<E, ChainError> {
    let event = E::decode_log(&log.inner).map_err(|error| ChainError::Rpc(error.to_string()))?;
    Ok(event.data)
}
