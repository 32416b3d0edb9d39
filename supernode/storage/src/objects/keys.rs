//! What follows from the node's key: the accounts' secrets, and the secret halves of their access keys.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use shared::{identity::Keypair, storage::seal::PathKey};
use zeroize::Zeroizing;

/// Derives; keeps the node's key.
#[derive(Clone)]
pub struct Keys {
    node: Keypair,
}

impl Keys {
    /// Of a node's key.
    #[must_use]
    pub fn new(node: &Keypair) -> Self {
        Self { node: node.clone() }
    }

    /// Signs records.
    #[must_use]
    pub fn node(&self) -> &Keypair {
        &self.node
    }

    /// The key of an account's bucket.
    #[must_use]
    pub fn bucket(&self, account: &str, bucket: &str) -> PathKey {
        PathKey::bucket(&self.derive("owner", account), bucket)
    }

    /// The secret half of an access key: 43 letters of the URL's base 64.
    #[must_use]
    pub fn access_secret(&self, access_key: &str) -> String {
        multibase::Base::Base64Url.encode(*self.derive("access key", access_key))
    }

    fn derive(&self, purpose: &str, name: &str) -> Zeroizing<[u8; 32]> {
        let secret = Zeroizing::new(self.node.to_secret());
        let mut mac = <Hmac<Sha256>>::new_from_slice(&*secret).expect("HMAC takes keys of any length");
        mac.update(b"blackhole/supernode-storage/");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(name.as_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }
}
