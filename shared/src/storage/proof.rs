//! Proofs: that a shard is still where it was promised, checked by anybody who knows its 32-byte root.
//!
//! ```text
//! beacon ─► challenge ─► leaves ─► ask ──┬─ answer in time, slice leads to the root ─► Passed
//!                                        ├─ … late ─────────────────────────────────► Late
//!                                        ├─ "I lost it" ─────────────────────────────► Lost
//!                                        ├─ anything else that the holder signed ─────► Wrong, with evidence
//!                                        └─ nothing, three times ─────────────────────► Silent
//! ```
//!
//! The beacon is drawn after the shard was stored (by Raft's signature or a block's hash), so an answer can neither
//! be kept from earlier nor computed ahead; the leaves depend on the holder, so that of two copies each is read. An
//! answer is asked for again when none came, about the same leaves: a fresh draw would let who dropped a part try
//! its luck.
//!
//! What cannot be told from a challenge: whether a holder fetched the leaves from somewhere within the deadline.
//! Of a coded shard that takes k other holders' blocks; of a copy it takes one, which is why copies are for networks
//! of friends.

mod answer;
mod audit;
mod challenge;
mod opinion;
mod standing;

pub use answer::{Answer, Fault, MAX_ANSWER_BYTES, answer, check_answer};
pub use audit::{ANSWER_WITHIN, ASKS, Audit, Step, Transcript, Verdict};
pub use challenge::{CHALLENGE_LEAVES, Challenge};
pub use opinion::{Concern, Opinion};
pub use standing::{DISMISSAL_POINTS, Standing};

#[cfg(test)]
mod tests;
