//! What a holder says, and whether it is true.

use std::collections::BTreeMap;

use prost::Message as _;

use super::Challenge;
use crate::{
    base::{
        BlobRoot,
        blob::{BlobShape, HashTree, prove_leaves, verify_leaves},
    },
    identity::{Context, Keypair, PublicKey},
    wire::storage as wire,
};

/// Nine leaves, and of each at most 22 storeys of 64 bytes; with the signature's message around them.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024;

/// A holder's answer that is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The shard is there, and has this shape.
    Held(BlobShape),
    /// The holder itself says that it is not.
    Lost,
}

/// Why bytes are not a true answer. What the holder signed convicts it; the rest may be anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Fault {
    /// Not an answer, or too long for one.
    #[error("what came is no answer")]
    Malformed,
    /// About another shard or beacon, or by another holder.
    #[error("the answer is to another question")]
    OtherQuestion,
    /// The signature is not the holder's.
    #[error("the answer is not signed by the holder that was asked")]
    Signature,
    /// The holder signed that the shard has a length which it has not, or leaves that are not the shard's.
    #[error("what the holder signed does not lead to the shard's root")]
    Proof,
}

impl Fault {
    /// Whether the holder itself is at fault, for all to see.
    pub const fn convicts(self) -> bool {
        matches!(self, Self::Proof)
    }
}

/// Answers a challenge from what is stored: the shard's hashes and the groups that hold the leaves asked for, as far as
/// they could be read. What has rotted is answered as lost. Returns the encoded [`wire::SignedProofAnswer`].
pub fn answer(
    challenge: &Challenge,
    tree: &HashTree,
    groups: &BTreeMap<u32, &[u8]>,
    holder: &Keypair,
) -> Vec<u8> {
    use wire::proof_answer::Found;
    let leaves = challenge.leaves(tree.shape());
    let proof = prove_leaves(tree, &leaves, groups);
    let answer = wire::ProofAnswer {
        root: challenge.root.0.to_vec(),
        beacon: challenge.beacon.to_vec(),
        bytes: tree.shape().size(),
        found: Some(proof.map_or(Found::Lost(true), Found::Slice)),
    }
    .encode_to_vec();
    let signature = holder.sign(Context::ShardProof, &answer).to_vec();
    wire::SignedProofAnswer { answer, holder: holder.public().to_bytes().to_vec(), signature }.encode_to_vec()
}

/// Checks what came as the answer to `challenge`. Needs to know of the shard nothing but its root.
///
/// # Errors
/// [`Fault`].
pub fn check_answer(challenge: &Challenge, bytes: &[u8]) -> Result<Answer, Fault> {
    use wire::proof_answer::Found;
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(Fault::Malformed);
    }
    let signed = wire::SignedProofAnswer::decode(bytes).map_err(|_| Fault::Malformed)?;
    let holder = PublicKey::from_bytes(&signed.holder).map_err(|_| Fault::Malformed)?;
    if holder != challenge.holder {
        return Err(Fault::OtherQuestion);
    }
    if !holder.verify(Context::ShardProof, &signed.answer, &signed.signature) {
        return Err(Fault::Signature);
    }
    let answer = wire::ProofAnswer::decode(signed.answer.as_slice()).map_err(|_| Fault::Malformed)?;
    let root = BlobRoot::try_from(answer.root.as_slice()).map_err(|_| Fault::Malformed)?;
    if root != challenge.root || answer.beacon != challenge.beacon {
        return Err(Fault::OtherQuestion);
    }
    match answer.found {
        Some(Found::Slice(slice)) => {
            let shape = BlobShape::new(answer.bytes).ok_or(Fault::Proof)?;
            let proved = verify_leaves(root, shape, &challenge.leaves(shape), &slice);
            proved.map(|_| Answer::Held(shape)).map_err(|_| Fault::Proof)
        }
        Some(Found::Lost(true)) => Ok(Answer::Lost),
        Some(Found::Lost(false)) | None => Err(Fault::Malformed),
    }
}
