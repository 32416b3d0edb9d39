//! What a peer says of another that broke the protocol. What becomes of it: [`super::tracker`].

use prost::Message as _;

use crate::{
    identity::{Context, Keypair, PublicKey},
    wire::cdn as wire,
};

/// Signs a report.
pub fn sign(
    reporter: &Keypair,
    accused: &PublicKey,
    offence: wire::OffenceKind,
    session: u64,
) -> wire::SignedReport {
    let report = wire::Report {
        reporter: reporter.public().to_bytes().to_vec(),
        accused: accused.to_bytes().to_vec(),
        offence: offence.into(),
        session,
    }
    .encode_to_vec();
    let signature = reporter.sign(Context::Report, &report).to_vec();
    wire::SignedReport { report, signature }
}
