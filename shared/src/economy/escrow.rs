//! A job's money between agreement and result, as `PaymentManager` moves it: both sides know what an act would do
//! before they pay for it.
//!
//! ```text
//! Open ─ deliver ─► Delivered ─ dispute ─► Disputed
//!  └──── decline ────┴─ accept, decline ───┴─ accept, rule, decline ─► Closed(to the provider, the rest to the client)
//! ```
//! In every state anyone may close once its time is over, and both together may split at any time.

use super::Amount;
use crate::{
    base::UnixSeconds,
    identity::{
        Account,
        eip712::{Domain, Separator, Word, account_word, keccak256, number_word, struct_hash},
    },
};

/// Ten thousandths, of which `silence_share` is a count.
pub const WHOLE: u16 = 10_000;

/// What both sides know before money is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who does it.
    pub provider: Account,
    /// For how much.
    pub amount: Amount,
    /// Who rules where they do not agree.
    pub arbiter: Account,
    /// Until when it is delivered.
    pub deliver_by: UnixSeconds,
    /// How long the client may look.
    pub review_seconds: u32,
    /// How long the arbiter may think.
    pub rule_seconds: u32,
    /// What the provider gets where the arbiter says nothing, in ten thousandths.
    pub silence_share: u16,
    /// Hash of what is to be done.
    pub specification: Word,
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Who pays.
    Client,
    /// Who delivers.
    Provider,
    /// Who rules.
    Arbiter,
    /// Somebody else.
    Anyone,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Money is locked, nothing delivered.
    Open,
    /// The client looks at this result.
    Delivered(Word),
    /// The arbiter looks at it.
    Disputed(Word),
    /// Over.
    Closed {
        /// What the provider got; the client got the rest.
        to_provider: Amount,
    },
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Here is the result.
    Deliver(Word),
    /// This result is good.
    Accept(Word),
    /// It is not.
    Dispute,
    /// I shall not do it.
    Decline,
    /// The provider is due so much.
    Rule(Amount),
    /// Both have signed that the provider gets so much.
    Settle(Amount),
    /// Somebody's time is over.
    Close,
}

/// Why an act would fail, on the chain too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscrowError {
    /// Not this party's to do.
    #[error("{0:?} may not do that")]
    NotParty(Party),
    /// Not in this state.
    #[error("that is not done in this state")]
    WrongState,
    /// The state's time is over.
    #[error("it was to be done until {0:?}")]
    TooLate(UnixSeconds),
    /// Somebody still has time.
    #[error("somebody has time until {0:?}")]
    TooEarly(UnixSeconds),
    /// A result of zeros is none.
    #[error("a result is not zero")]
    NoResult,
    /// Another result was delivered.
    #[error("another result was delivered")]
    ResultDiffers,
    /// More than there is.
    #[error("the split gives more than the job has")]
    Split,
}

/// A job as the chain has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    terms: Terms,
    state: State,
    deadline: UnixSeconds,
}

impl Job {
    /// Money was just locked.
    pub const fn created(terms: Terms) -> Self {
        Self { terms, state: State::Open, deadline: terms.deliver_by }
    }

    /// Where it is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Until when the state's party has time.
    pub const fn deadline(&self) -> UnixSeconds {
        self.deadline
    }

    /// What was agreed.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Does what `party` does at `now`.
    ///
    /// # Errors
    /// [`EscrowError`]; nothing has changed then.
    pub fn act(&mut self, now: UnixSeconds, party: Party, act: Act) -> Result<State, EscrowError> {
        let amount = self.terms.amount;
        let in_time = if now > self.deadline { Err(EscrowError::TooLate(self.deadline)) } else { Ok(()) };
        let by = |wanted| if party == wanted { Ok(()) } else { Err(EscrowError::NotParty(party)) };
        let closed = |to_provider: Amount| {
            if to_provider > amount { Err(EscrowError::Split) } else { Ok(State::Closed { to_provider }) }
        };
        if matches!(self.state, State::Closed { .. }) {
            return Err(EscrowError::WrongState);
        }
        let state = match (act, self.state) {
            (Act::Deliver(result), State::Open) => {
                by(Party::Provider)?;
                in_time?;
                if result == [0; 32] {
                    return Err(EscrowError::NoResult);
                }
                self.deadline = now.plus(self.terms.review_seconds.into());
                State::Delivered(result)
            }
            (Act::Accept(named), State::Delivered(result) | State::Disputed(result)) => {
                by(Party::Client)?;
                if named != result {
                    return Err(EscrowError::ResultDiffers);
                }
                closed(amount)?
            }
            (Act::Dispute, State::Delivered(result)) => {
                by(Party::Client)?;
                in_time?;
                self.deadline = now.plus(self.terms.rule_seconds.into());
                State::Disputed(result)
            }
            (Act::Rule(to_provider), State::Disputed(_)) => {
                by(Party::Arbiter)?;
                in_time?;
                closed(to_provider)?
            }
            (Act::Decline, _) => {
                by(Party::Provider)?;
                closed(Amount::ZERO)?
            }
            (Act::Settle(to_provider), _) => {
                if !matches!(party, Party::Client | Party::Provider) {
                    return Err(EscrowError::NotParty(party));
                }
                closed(to_provider)?
            }
            (Act::Close, state) => {
                if in_time.is_ok() {
                    return Err(EscrowError::TooEarly(self.deadline));
                }
                closed(match state {
                    State::Delivered(_) => amount,
                    // The odd unit goes to the client, who paid.
                    State::Disputed(_) => amount.share(self.terms.silence_share.into(), WHOLE.into()),
                    State::Open | State::Closed { .. } => Amount::ZERO,
                })?
            }
            _ => return Err(EscrowError::WrongState),
        };
        self.state = state;
        Ok(state)
    }
}

impl Terms {
    /// The job's name, as the contract gives it.
    pub fn name(&self, client: Account, salt: Word) -> Word {
        keccak256(&[
            &account_word(client),
            &account_word(self.provider),
            &number_word(self.amount.units()),
            &account_word(self.arbiter),
            &number_word(self.deliver_by.0.into()),
            &number_word(self.review_seconds.into()),
            &number_word(self.rule_seconds.into()),
            &number_word(self.silence_share.into()),
            &self.specification,
            &salt,
        ])
    }
}

/// What signatures for one `PaymentManager` begin with.
pub fn separator(chain_id: u64, contract: Account) -> Separator {
    Domain { name: "Blackhole PaymentManager", version: "1", chain_id, contract: Some(contract) }.separator()
}

/// What a client signs so that anyone may accept for it.
pub fn acceptance_digest(separator: &Separator, job: Word, result: Word, deadline: UnixSeconds) -> Word {
    let words = [job, result, number_word(deadline.0.into())];
    separator.digest(&struct_hash("Acceptance(bytes32 job,bytes32 result,uint256 deadline)", &words))
}

/// What one party signs so that the other may split.
pub fn settlement_digest(
    separator: &Separator,
    job: Word,
    to_provider: Amount,
    deadline: UnixSeconds,
) -> Word {
    let words = [job, number_word(to_provider.units()), number_word(deadline.0.into())];
    separator.digest(&struct_hash("Settlement(bytes32 job,uint256 toProvider,uint256 deadline)", &words))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: Word = [7; 32];

    fn job() -> Job {
        Job::created(Terms {
            provider: Account([1; 20]),
            amount: Amount::of(1001),
            arbiter: Account([2; 20]),
            deliver_by: UnixSeconds(100),
            review_seconds: 10,
            rule_seconds: 20,
            silence_share: 5000,
            specification: [3; 32],
        })
    }

    fn ends(acts: &[(u64, Party, Act)]) -> Result<Amount, EscrowError> {
        let mut job = job();
        for (now, party, act) in acts {
            job.act(UnixSeconds(*now), *party, *act)?;
        }
        match job.state() {
            State::Closed { to_provider } => Ok(to_provider),
            state => panic!("{state:?}"),
        }
    }

    #[test]
    fn every_way_ends_as_agreed() {
        use Party::{Anyone, Arbiter, Client, Provider};
        let deliver = (50, Provider, Act::Deliver(RESULT));
        let dispute = (60, Client, Act::Dispute);
        let check = |acts: &[(u64, Party, Act)], to_provider: u64| {
            assert_eq!(ends(acts), Ok(Amount::of(to_provider)), "{acts:?}");
        };
        check(&[deliver, (55, Client, Act::Accept(RESULT))], 1001);
        check(&[deliver, (61, Anyone, Act::Close)], 1001);
        check(&[(101, Anyone, Act::Close)], 0);
        check(&[deliver, dispute, (80, Arbiter, Act::Rule(Amount::of(400)))], 400);
        check(&[deliver, dispute, (81, Anyone, Act::Close)], 500);
        check(&[deliver, dispute, (300, Client, Act::Accept(RESULT))], 1001);
        check(&[deliver, (70, Provider, Act::Decline)], 0);
        check(&[(5, Client, Act::Settle(Amount::of(9)))], 9);
    }

    #[test]
    fn what_is_not_ones_own_or_not_in_time_fails() {
        use Party::{Anyone, Arbiter, Client, Provider};
        let deliver = (50, Provider, Act::Deliver(RESULT));
        let check = |acts: &[(u64, Party, Act)], error| assert_eq!(ends(acts), Err(error), "{acts:?}");
        check(&[(50, Client, Act::Deliver(RESULT))], EscrowError::NotParty(Client));
        check(&[(101, Provider, Act::Deliver(RESULT))], EscrowError::TooLate(UnixSeconds(100)));
        check(&[(50, Provider, Act::Deliver([0; 32]))], EscrowError::NoResult);
        check(&[deliver, (51, Provider, Act::Deliver([8; 32]))], EscrowError::WrongState);
        check(&[deliver, (51, Client, Act::Accept([8; 32]))], EscrowError::ResultDiffers);
        check(&[deliver, (60, Anyone, Act::Close)], EscrowError::TooEarly(UnixSeconds(60)));
        check(&[deliver, (51, Arbiter, Act::Rule(Amount::ZERO))], EscrowError::WrongState);
        check(&[(5, Client, Act::Settle(Amount::of(1002)))], EscrowError::Split);
        check(&[(5, Anyone, Act::Settle(Amount::ZERO))], EscrowError::NotParty(Anyone));
        check(&[(5, Provider, Act::Decline), (6, Provider, Act::Decline)], EscrowError::WrongState);
    }
}
