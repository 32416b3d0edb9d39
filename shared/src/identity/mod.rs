//! Who says what: Ed25519 keys, their names in the field's notations, and signatures that mean one
//! thing only.

mod delegation;
mod keys;

pub use delegation::{CLOCK_SKEW_SECONDS, Delegation, DelegationError, MAX_SITE_NAME_BYTES};
pub use keys::{Context, KeyError, Keypair, PublicKey, SIGNATURE_BYTES, Signature};
pub use libp2p_identity::PeerId;
