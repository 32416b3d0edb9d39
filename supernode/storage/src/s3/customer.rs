//! Server-side encryption with the customer's key (SSE-C).

use s3s::{
    S3Result,
    crypto::{Checksum as _, Md5},
    dto::ServerSideEncryption,
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::{attributes::Attributes, body};
use crate::objects::CustomerKey;

/// The one algorithm that S3 has for it.
pub(super) const ALGORITHM: &str = "AES256";

/// A key that came with a request, in order.
pub(super) struct Said {
    pub(super) key: CustomerKey,
    /// As it is said back.
    pub(super) md5: String,
}

/// What an object keeps of the key that opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    salt: [u8; 16],
    proof: [u8; 32],
}

/// Whether the client insists that this node seals the object. A key of S3's own key service is not here.
pub(super) fn insists(asked: Option<&ServerSideEncryption>) -> S3Result<bool> {
    match asked.map(ServerSideEncryption::as_str) {
        None => Ok(false),
        Some(ALGORITHM) => Ok(true),
        Some("aws:kms" | "aws:kms:dsse") => Err(s3_error!(NotImplemented, "SSE-KMS is not implemented")),
        Some(_) => Err(s3_error!(InvalidArgument, "The encryption method specified is not supported")),
    }
}

/// The key of a request's three headers.
pub(super) fn said(algorithm: Option<&str>, key: Option<&str>, md5: Option<&str>) -> S3Result<Option<Said>> {
    if algorithm.is_none() && key.is_none() && md5.is_none() {
        return Ok(None);
    }
    let Some(algorithm) = algorithm else {
        return Err(s3_error!(
            InvalidArgument,
            "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption \
             algorithm."
        ));
    };
    if algorithm != ALGORITHM {
        return Err(s3_error!(
            InvalidEncryptionAlgorithmError,
            "The encryption request that you specified is not valid. The valid value is AES256."
        ));
    }
    let Some(key) = key else {
        return Err(s3_error!(
            InvalidArgument,
            "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret \
             key."
        ));
    };
    let bytes = body::base64(key).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
        s3_error!(InvalidArgument, "The secret key was invalid for the specified algorithm.")
    })?;
    let Some(md5) = md5 else {
        return Err(s3_error!(
            InvalidArgument,
            "Requests specifying Server Side Encryption with Customer provided keys must provide the client \
             calculated MD5 of the secret key."
        ));
    };
    if body::base64(md5).is_none_or(|said| said != Md5::checksum(&bytes)) {
        return Err(s3_error!(
            InvalidArgument,
            "The calculated MD5 hash of the key did not match the hash that was provided."
        ));
    }
    Ok(Some(Said { key: CustomerKey::new(bytes), md5: md5.to_owned() }))
}

/// The same of an operation's input: several have these members.
macro_rules! said_key {
    ($input:expr) => {
        $crate::s3::customer::said(
            $input.sse_customer_algorithm.as_deref(),
            $input.sse_customer_key.as_deref(),
            $input.sse_customer_key_md5.as_deref(),
        )
    };
}
pub(super) use said_key;

/// And of the members about what is copied.
macro_rules! said_source_key {
    ($input:expr) => {
        $crate::s3::customer::said(
            $input.copy_source_sse_customer_algorithm.as_deref(),
            $input.copy_source_sse_customer_key.as_deref(),
            $input.copy_source_sse_customer_key_md5.as_deref(),
        )
    };
}
pub(super) use said_source_key;

impl Said {
    /// To know the key again by.
    pub(super) fn mark(&self) -> Mark {
        let salt = rand::random();
        Mark { salt, proof: self.key.proof(&salt) }
    }

    /// What an answer says.
    pub(super) fn algorithm(said: Option<&Self>) -> Option<String> {
        said.map(|_| ALGORITHM.to_owned())
    }

    /// What an answer says.
    pub(super) fn md5(said: Option<&Self>) -> Option<String> {
        said.map(|said| said.md5.clone())
    }
}

/// Whether the request has the key that the object, or the upload, wants.
pub(super) fn check(attributes: &Attributes, said: Option<&Said>) -> S3Result<()> {
    match (&attributes.customer, said) {
        (None, None) => Ok(()),
        (Some(mark), Some(said)) => {
            if blake3::Hash::from(said.key.proof(&mark.salt)) == blake3::Hash::from(mark.proof) {
                Ok(())
            } else {
                Err(s3_error!(AccessDenied, "Access Denied"))
            }
        }
        (Some(_), None) => Err(s3_error!(
            InvalidRequest,
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided \
             to retrieve the object."
        )),
        (None, Some(_)) => {
            Err(s3_error!(InvalidRequest, "The encryption parameters are not applicable to this object."))
        }
    }
}

/// The ETag of an object of one's own key: an MD5 would say something of bytes that nobody here can read.
pub(super) fn etag(said: Option<&Said>, md5: [u8; 16]) -> [u8; 16] {
    if said.is_some() { rand::random() } else { md5 }
}
