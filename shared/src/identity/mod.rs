//! Who says what: Ed25519 keys, their names in the field's notations, and signatures that mean one
//! thing only; with the feature `economy` also accounts of a chain, what binds them to peers, and documents of both.

#[cfg(feature = "economy")]
mod account;
#[cfg(feature = "economy")]
mod binding;
mod delegation;
#[cfg(feature = "economy")]
mod did;
#[cfg(feature = "economy")]
pub mod eip712;
mod keys;
#[cfg(feature = "economy")]
mod revocation;
#[cfg(feature = "economy")]
pub mod siwe;
#[cfg(any(feature = "economy", feature = "storage"))]
pub(crate) mod timestamp;

#[cfg(feature = "economy")]
pub use account::{
    ACCOUNT_BYTES, ACCOUNT_SIGNATURE_BYTES, Account, AccountError, AccountKey, AccountPublicKey,
    AccountSignature,
};
#[cfg(feature = "economy")]
pub use binding::{BINDING_SECONDS_MAX, Binding, BindingError, StakeBinding, peer_id_hash};
pub use delegation::{CLOCK_SKEW_SECONDS, Delegation, DelegationError, MAX_SITE_NAME_BYTES};
#[cfg(feature = "economy")]
pub use did::{Did, DidError, Document, MAX_DID_BYTES, MAX_DOCUMENT_BYTES, MAX_METHODS, Method};
pub use keys::{Context, KeyError, Keypair, PublicKey, SIGNATURE_BYTES, Signature};
pub use libp2p_identity::PeerId;
#[cfg(feature = "economy")]
pub use revocation::{MAX_REVOKED_BLOCKS, REVOCATIONS_MAX, Revocation, RevocationError, Revocations};
