//! The certificate a listener shows, and the hash of it that its address carries.

use std::fs;
use std::io;
use std::path::Path;

use multihash::Multihash;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use str0m::config::DtlsCert;

use runtime::write_whole;

/// Far above the kilobyte that a key and its certificate take: a bigger file is something else.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The multihash code of SHA-256, the only one WebRTC Direct uses.
const SHA2_256: u64 = 0x12;

/// A self-signed ECDSA P-256 certificate with its key.
///
/// Its hash is part of the listener's multiaddr: keep it (see [`Certificate::to_pem`]), and the
/// address survives a restart; lose it, and every address handed out before is dead.
#[derive(Clone)]
pub struct Certificate {
    dtls: DtlsCert,
    digest: [u8; 32],
    pem: String,
}

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The key or the certificate could not be generated.
    #[error("cannot generate a WebRTC certificate: {0}")]
    Generate(#[source] rcgen::Error),
    /// The PEM text has no private key that can be used.
    #[error("the WebRTC certificate file holds no usable ECDSA P-256 private key: {0}")]
    Key(#[source] rcgen::Error),
    /// The PEM text has no certificate.
    #[error("the WebRTC certificate file holds no certificate; delete it to have a new one made")]
    NoCertificate,
    /// The file could not be read or written.
    #[error("the WebRTC certificate file: {0}")]
    File(#[from] io::Error),
    /// The file is not one of ours.
    #[error("the WebRTC certificate file has more than {FILE_BYTES_MAX} bytes")]
    FileTooLong,
}

impl Certificate {
    /// Makes a fresh one.
    pub fn generate() -> Result<Self, CertificateError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(CertificateError::Generate)?;
        let certificate = rcgen::CertificateParams::new(Vec::<String>::new())
            .and_then(|params| params.self_signed(&key))
            .map_err(CertificateError::Generate)?;
        let pem = format!("{}{}", key.serialize_pem(), certificate.pem());
        Ok(Self::from_der(certificate.der().to_vec(), key.serialize_der(), pem))
    }

    /// Reads what [`Certificate::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let key = rcgen::KeyPair::from_pem(pem).map_err(CertificateError::Key)?;
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CertificateError::NoCertificate)?;
        Ok(Self::from_der(certificate.to_vec(), key.serialize_der(), pem.to_owned()))
    }

    /// Reads the certificate kept at `path`, or makes one there on the first start.
    pub fn load_or_create(path: &Path) -> Result<Self, CertificateError> {
        match fs::metadata(path) {
            Ok(found) if found.len() > FILE_BYTES_MAX => Err(CertificateError::FileTooLong),
            Ok(_) => Self::from_pem(&fs::read_to_string(path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::generate()?;
                write_whole(path, made.to_pem().as_bytes(), true)?;
                Ok(made)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn from_der(certificate: Vec<u8>, private_key: Vec<u8>, pem: String) -> Self {
        let digest = sha256(&certificate);
        Self { dtls: DtlsCert { certificate, private_key }, digest, pem }
    }

    /// The private key and the certificate as PEM text. Secret: store it readable by its owner only.
    #[must_use]
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// The hash that stands behind `/certhash/` in the multiaddr.
    #[must_use]
    pub fn certhash(&self) -> Multihash<64> {
        fingerprint_multihash(self.digest)
    }

    pub(super) fn dtls(&self) -> &DtlsCert {
        &self.dtls
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificate").field(&self.certhash()).finish()
    }
}

/// SHA-256 by the library that does DTLS, so that no second one is linked for it.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    str0m::crypto::from_feature_flags().sha256_provider.sha256(bytes)
}

/// A certificate fingerprint in the form the specification uses in addresses and the prologue.
#[allow(clippy::expect_used)]
pub(super) fn fingerprint_multihash(digest: [u8; 32]) -> Multihash<64> {
    Multihash::wrap(SHA2_256, &digest).expect("32 bytes fit a multihash of 64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_keeps_its_hash_over_a_restart() {
        let made = Certificate::generate().unwrap();
        let read = Certificate::from_pem(made.to_pem()).unwrap();
        assert_eq!(made.certhash(), read.certhash());
        assert_eq!(made.certhash().code(), SHA2_256);
    }

    #[test]
    fn certificate_file_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webrtc.pem");
        let first = Certificate::load_or_create(&path).unwrap();
        let second = Certificate::load_or_create(&path).unwrap();
        assert_eq!(first.certhash(), second.certhash());
        fs::write(&path, "not a certificate").unwrap();
        assert!(matches!(Certificate::load_or_create(&path), Err(CertificateError::Key(_))));
    }

    #[test]
    fn broken_pem_is_refused_by_name() {
        assert!(matches!(Certificate::from_pem(""), Err(CertificateError::Key(_))));
        let made = Certificate::generate().unwrap();
        let key_only = made.to_pem().split("-----BEGIN CERTIFICATE").next().unwrap();
        assert!(matches!(Certificate::from_pem(key_only), Err(CertificateError::NoCertificate)));
    }
}
