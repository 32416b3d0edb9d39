//! TLS or Noise, whichever the other side speaks. Nodes speak both, and TLS with one another, which is quicker where
//! processors have AES of their own; browsers speak Noise.

mod buffered;
mod tls;

use std::{error::Error, io, iter, vec};

use futures::{
    AsyncRead, AsyncWrite,
    future::{BoxFuture, Either, FutureExt as _},
};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    noise,
};

use self::tls::Tls;

/// The security upgrade of every byte-stream transport.
#[derive(Clone)]
pub(crate) struct Security {
    noise: noise::Config,
    tls: Tls,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct SecurityError(Box<dyn Error + Send + Sync>);

/// TLS is boxed: its state is larger than that of Noise, which most sessions have.
type Secured<Socket> = (PeerId, Either<noise::Output<Socket>, Box<tls::Stream<Socket>>>);

impl Security {
    pub(crate) fn new(keypair: &Keypair) -> anyhow::Result<Self> {
        Ok(Self { noise: noise::Config::new(keypair)?, tls: Tls::new(keypair)? })
    }

    fn is_noise(&self, agreed: &str) -> bool {
        self.noise.protocol_info().any(|name| name == agreed)
    }
}

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = vec::IntoIter<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(tls::NAME).chain(self.noise.protocol_info()).collect::<Vec<_>>().into_iter()
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
                let (peer, stream) = self.tls.accept(socket).await?;
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
                let (peer, stream) = self.tls.connect(socket).await?;
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

impl From<io::Error> for SecurityError {
    fn from(error: io::Error) -> Self {
        Self(error.into())
    }
}
