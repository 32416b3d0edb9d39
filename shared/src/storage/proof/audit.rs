//! One audit, from the first question to the verdict.

use core::time::Duration;

use super::{Answer, Challenge, Fault, check_answer};
use crate::base::Instant;

/// What an answer may take: eight reads from a slow disk and a long way there and back, and not the blocks of k other
/// holders.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often a question is asked before silence is taken for an answer: where a tenth of all questions get lost,
/// a thousandth of all audits end so.
pub const ASKS: u32 = 3;

/// How an audit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Proved within the deadline of the first question.
    Passed,
    /// Proved, this long after that deadline.
    Late(Duration),
    /// The holder says that it lost the shard.
    Lost,
    /// The holder said nothing, as often as it was asked.
    Silent,
    /// The holder signed what is not so.
    Wrong(Fault),
}

impl Verdict {
    /// Whether the shard is there.
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Passed | Self::Late(_))
    }
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the question, for the first time or again.
    Ask,
    /// Wait, at the longest until then.
    Wait(Instant),
    /// It is over.
    Done(Verdict),
}

/// An audit under way.
#[derive(Clone, Debug)]
pub struct Audit {
    challenge: Challenge,
    asks: u32,
    first_asked: Option<Instant>,
    deadline: Option<Instant>,
    verdict: Option<Verdict>,
    /// What came and did not convict: kept for nobody, counted for the log.
    ignored: u32,
    answer: Option<Vec<u8>>,
}

/// An audit that failed, for whoever wants to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// The question.
    pub challenge: Challenge,
    /// What the auditor says of it. Of [`Verdict::Wrong`] the answer is proof; of silence there is none.
    pub verdict: Verdict,
    /// What the holder signed, if anything; at most [`super::MAX_ANSWER_BYTES`].
    pub answer: Option<Vec<u8>>,
}

impl Transcript {
    /// Whether this convicts the holder in the eyes of anybody, who need not trust the auditor.
    pub fn convicts(&self) -> bool {
        let checked = self.answer.as_ref().map(|answer| check_answer(&self.challenge, answer));
        matches!(checked, Some(Err(fault)) if fault.convicts())
    }

    /// Whether the holder itself says that it lost the shard.
    pub fn admits(&self) -> bool {
        let checked = self.answer.as_ref().map(|answer| check_answer(&self.challenge, answer));
        checked == Some(Ok(Answer::Lost))
    }
}

impl Audit {
    /// An audit that is to be begun.
    pub const fn new(challenge: Challenge) -> Self {
        Self {
            challenge,
            asks: 0,
            first_asked: None,
            deadline: None,
            verdict: None,
            ignored: 0,
            answer: None,
        }
    }

    /// The question.
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The verdict, once there is one.
    pub const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// When the next step is due, while it runs.
    pub const fn deadline(&self) -> Option<Instant> {
        if self.verdict.is_none() { self.deadline } else { None }
    }

    /// How many messages came that said nothing about the holder.
    pub const fn ignored(&self) -> u32 {
        self.ignored
    }

    /// What to keep of an audit that failed; nothing of one that did not.
    pub fn transcript(&self) -> Option<Transcript> {
        let verdict = self.verdict.filter(|verdict| !verdict.is_held())?;
        Some(Transcript { challenge: self.challenge.clone(), verdict, answer: self.answer.clone() })
    }

    /// Something came that claims to be the answer. What the holder did not sign changes nothing: anybody could have
    /// sent it.
    pub fn handle_answer(&mut self, now: Instant, bytes: &[u8]) {
        let Some(first_asked) = self.first_asked.filter(|_| self.verdict.is_none()) else { return };
        let verdict = match check_answer(&self.challenge, bytes) {
            Ok(Answer::Held(_)) => match now.since(first_asked).checked_sub(ANSWER_WITHIN) {
                None | Some(Duration::ZERO) => Verdict::Passed,
                Some(late) => Verdict::Late(late),
            },
            Ok(Answer::Lost) => Verdict::Lost,
            Err(fault) if fault.convicts() => Verdict::Wrong(fault),
            Err(_) => {
                self.ignored = self.ignored.saturating_add(1);
                return;
            }
        };
        self.verdict = Some(verdict);
        if !verdict.is_held() {
            self.answer = Some(bytes.to_vec());
        }
    }

    /// What to do at `now`. After [`Step::Ask`] the question counts as sent.
    pub fn poll_step(&mut self, now: Instant) -> Step {
        if let Some(verdict) = self.verdict {
            return Step::Done(verdict);
        }
        match self.deadline {
            Some(deadline) if now < deadline => Step::Wait(deadline),
            _ if self.asks < ASKS => {
                self.asks += 1;
                self.first_asked.get_or_insert(now);
                self.deadline = Some(now + ANSWER_WITHIN);
                Step::Ask
            }
            _ => {
                self.verdict = Some(Verdict::Silent);
                Step::Done(Verdict::Silent)
            }
        }
    }
}
