//! As little of an S3 client as signs what it asks (Signature Version 4, the payload unsigned).

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::http::{Answer, ask, put};

/// Whom it asks, and as whom.
pub(crate) struct Client {
    pub(crate) door: SocketAddr,
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Client {
    /// Asks for a path of letters that need no escaping, without a query.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let now = OffsetDateTime::now_utc();
        let day = format!("{:04}{:02}{:02}", now.year(), u8::from(now.month()), now.day());
        let moment = format!("{day}T{:02}{:02}{:02}Z", now.hour(), now.minute(), now.second());
        let (door, signed) = (self.door, "host;x-amz-content-sha256;x-amz-date");
        let canonical = format!(
            "{method}\n{path}\n\nhost:{door}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{moment}\n\n\
             {signed}\nUNSIGNED-PAYLOAD"
        );
        let scope = format!("{day}/us-east-1/s3/aws4_request");
        let digest = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}");
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [&day, "us-east-1", "s3", "aws4_request", &text] {
            let mut mac = <Hmac<Sha256>>::new_from_slice(&key).unwrap();
            mac.update(part.as_bytes());
            key = mac.finalize().into_bytes().to_vec();
        }
        let (id, signature) = (&self.id, hex::encode(key));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        );
        let length = body.len().to_string();
        let headers = [
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-date", &moment),
            ("authorization", &authorization),
            ("content-length", &length),
        ];
        match method {
            "PUT" => put(self.door, path, &headers, body),
            _ => ask(self.door, method, path, &headers),
        }
    }
}
