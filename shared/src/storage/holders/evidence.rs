//! A failed audit as it travels: an auditor's account, and what the holder signed, if it did.

use prost::Message as _;

use crate::{
    base::{BlobRoot, UnixSeconds},
    identity::{Context, Keypair, PublicKey},
    storage::proof::{Challenge, Fault, MAX_ANSWER_BYTES, Transcript, Verdict},
    wire::storage as wire,
};

/// An answer of full length, keys and signatures.
pub const MAX_EVIDENCE_BYTES: usize = MAX_ANSWER_BYTES + 512;

/// The one layout there is so far.
const VERSION: u32 = 1;

/// An account whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAudit {
    /// Who asked.
    pub auditor: PublicKey,
    /// What was asked, of whom, and what came.
    pub transcript: Transcript,
    /// When.
    pub observed: UnixSeconds,
}

/// Why bytes are no account of a failed audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum EvidenceError {
    /// Not one.
    #[error("what came is no account of an audit")]
    Malformed,
    /// The signature is not its auditor's.
    #[error("the account is not signed by the auditor it names")]
    Signature,
    /// The account says that the holder signed what is not so, and the answer does not show it.
    #[error("the answer does not show what the account says")]
    Baseless,
}

impl FailedAudit {
    /// Whether the holder is convicted in the eyes of anybody. Of the rest there is the auditor's word.
    pub fn convicts(&self) -> bool {
        self.transcript.convicts()
    }

    /// Signs the account. `self.auditor` is taken from `auditor`. Returns the encoded [`wire::SignedFailedAudit`].
    pub fn sign(&self, auditor: &Keypair) -> Vec<u8> {
        let Transcript { challenge, verdict, answer } = &self.transcript;
        let failure = match verdict {
            Verdict::Lost => wire::AuditFailure::Lost,
            Verdict::Silent => wire::AuditFailure::Silent,
            Verdict::Wrong(_) => wire::AuditFailure::Wrong,
            // A transcript is of an audit that failed; who makes another makes one that nobody reads.
            Verdict::Passed | Verdict::Late(_) => wire::AuditFailure::Unspecified,
        };
        let audit = wire::FailedAudit {
            version: VERSION,
            root: challenge.root.0.to_vec(),
            beacon: challenge.beacon.to_vec(),
            holder: challenge.holder.to_bytes().to_vec(),
            failure: failure.into(),
            observed_unix: self.observed.0,
            answer: answer.clone().unwrap_or_default(),
        }
        .encode_to_vec();
        let signature = auditor.sign(Context::FailedAudit, &audit).to_vec();
        let auditor = auditor.public().to_bytes().to_vec();
        wire::SignedFailedAudit { audit, auditor, signature }.encode_to_vec()
    }

    /// Reads and verifies an account.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn open(bytes: &[u8]) -> Result<Self, EvidenceError> {
        use EvidenceError::{Baseless, Malformed, Signature};
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(Malformed);
        }
        let signed = wire::SignedFailedAudit::decode(bytes).map_err(|_| Malformed)?;
        let audit = wire::FailedAudit::decode(signed.audit.as_slice()).map_err(|_| Malformed)?;
        let auditor = PublicKey::from_bytes(&signed.auditor).map_err(|_| Malformed)?;
        let challenge = Challenge {
            root: BlobRoot::try_from(audit.root.as_slice()).map_err(|_| Malformed)?,
            beacon: audit.beacon.as_slice().try_into().map_err(|_| Malformed)?,
            holder: PublicKey::from_bytes(&audit.holder).map_err(|_| Malformed)?,
        };
        let verdict = match wire::AuditFailure::try_from(audit.failure) {
            Ok(wire::AuditFailure::Lost) => Verdict::Lost,
            Ok(wire::AuditFailure::Silent) => Verdict::Silent,
            Ok(wire::AuditFailure::Wrong) => Verdict::Wrong(Fault::Proof),
            _ => return Err(Malformed),
        };
        let has_answer = verdict != Verdict::Silent;
        if audit.version != VERSION || has_answer == audit.answer.is_empty() {
            return Err(Malformed);
        }
        if !auditor.verify(Context::FailedAudit, &signed.audit, &signed.signature) {
            return Err(Signature);
        }
        let answer = has_answer.then_some(audit.answer);
        let transcript = Transcript { challenge, verdict, answer };
        let shown = match verdict {
            Verdict::Lost => transcript.admits(),
            Verdict::Wrong(_) => transcript.convicts(),
            _ => true,
        };
        if !shown {
            return Err(Baseless);
        }
        Ok(Self { auditor, transcript, observed: UnixSeconds(audit.observed_unix) })
    }
}
