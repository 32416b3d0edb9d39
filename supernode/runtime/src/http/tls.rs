//! TLS, by a certificate in files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use serde::Deserialize;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// A certificate that clients trust, as files in PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, the node's own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `section` names the part of the configuration that the files are said in.
pub(super) fn acceptor(tls: &Tls, section: &str) -> anyhow::Result<TlsAcceptor> {
    let chain = read_chain(&tls.certificate).with_context(|| {
        let file = tls.certificate.display();
        format!("{section}.tls.certificate: {file} holds no PEM certificate chain")
    })?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("{section}.tls.key: {} holds no PEM private key", tls.key.display()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{section}.tls: the certificate and the key do not belong together"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    anyhow::ensure!(!chain.is_empty(), "it is empty");
    Ok(chain)
}
