//! Noise or TLS, whichever the other side speaks; Noise where it speaks both, as browsers do.

use std::{error::Error, vec};

use futures::{
    AsyncRead, AsyncWrite,
    future::{BoxFuture, Either, FutureExt as _},
};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    noise, tls,
};

/// The security upgrade of every byte-stream transport.
#[derive(Clone)]
pub(crate) struct Security {
    noise: noise::Config,
    tls: tls::Config,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct SecurityError(Box<dyn Error + Send + Sync>);

/// TLS is boxed: its state is larger than that of Noise, which most sessions have.
type Secured<Socket> = (PeerId, Either<noise::Output<Socket>, Box<tls::TlsStream<Socket>>>);

impl Security {
    pub(crate) fn new(keypair: &Keypair) -> anyhow::Result<Self> {
        Ok(Self { noise: noise::Config::new(keypair)?, tls: tls::Config::new(keypair)? })
    }

    fn is_noise(&self, agreed: &str) -> bool {
        self.noise.protocol_info().any(|name| name == agreed)
    }
}

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = vec::IntoIter<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.noise.protocol_info().chain(self.tls.protocol_info()).collect::<Vec<_>>().into_iter()
    }
}

impl<Socket> InboundConnectionUpgrade<Socket> for Security
where
    Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Secured<Socket>;
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, SecurityError>>;

    fn upgrade_inbound(self, socket: Socket, agreed: &'static str) -> Self::Future {
        async move {
            if self.is_noise(agreed) {
                let (peer, stream) = self.noise.upgrade_inbound(socket, agreed).await?;
                Ok((peer, Either::Left(stream)))
            } else {
                let (peer, stream) = self.tls.upgrade_inbound(socket, agreed).await?;
                Ok((peer, Either::Right(Box::new(stream))))
            }
        }
        .boxed()
    }
}

impl<Socket> OutboundConnectionUpgrade<Socket> for Security
where
    Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Secured<Socket>;
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, SecurityError>>;

    fn upgrade_outbound(self, socket: Socket, agreed: &'static str) -> Self::Future {
        async move {
            if self.is_noise(agreed) {
                let (peer, stream) = self.noise.upgrade_outbound(socket, agreed).await?;
                Ok((peer, Either::Left(stream)))
            } else {
                let (peer, stream) = self.tls.upgrade_outbound(socket, agreed).await?;
                Ok((peer, Either::Right(Box::new(stream))))
            }
        }
        .boxed()
    }
}

impl From<noise::Error> for SecurityError {
    fn from(error: noise::Error) -> Self {
        Self(error.into())
    }
}

impl From<tls::UpgradeError> for SecurityError {
    fn from(error: tls::UpgradeError) -> Self {
        Self(error.into())
    }
}
