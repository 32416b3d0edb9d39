//! As little of an S3 client as signs what it asks (Signature Version 4, the payload unsigned).

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::{
    http::{Answer, head, read_answer},
    process::{PATIENCE, run},
};

/// Whom it asks, and as whom.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) door: SocketAddr,
    pub(crate) id: String,
    pub(crate) secret: String,
    /// What comes with keys of a grant.
    pub(crate) token: Option<String>,
}

impl Client {
    /// Of the door of a node with this configuration, with a key of its own.
    pub(crate) fn new(config: &str, door: SocketAddr) -> Self {
        let key: serde_json::Value =
            serde_json::from_str(&run(&["storage", "key", "create", "--config", config])).unwrap();
        Self::of_key(&key, door)
    }

    /// With an access key as the command line prints it.
    pub(crate) fn of_key(key: &serde_json::Value, door: SocketAddr) -> Self {
        let said = |name: &str| key[name].as_str().map(str::to_owned);
        let (id, secret) = (said("access_key_id").unwrap(), said("secret_access_key").unwrap());
        Self { door, id, secret, token: said("session_token") }
    }

    /// Who has no key yet, and knows no door.
    pub(crate) fn nobody() -> Self {
        Self { door: ([127, 0, 0, 1], 0).into(), id: String::new(), secret: String::new(), token: None }
    }

    /// Asks for a path of letters that need no escaping. A query behind it is of such letters too, in order.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.try_ask(method, path, body).expect("the door answers")
    }

    /// The same of a door that may be killed meanwhile; nothing where no whole answer came.
    pub(crate) fn try_ask(&self, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.door).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(self.head(method, path, body.len()).as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let ended = answer.windows(4).any(|at| at == b"\r\n\r\n");
        ended.then(|| read_answer(method, &answer)).filter(|answer| answer.whole)
    }

    /// How long it takes until the first byte of the body is there, and the answer.
    pub(crate) fn get_timed(&self, path: &str) -> (Duration, Answer) {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(self.door).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(self.head("GET", path, 0).as_bytes()).unwrap();
        let (mut answer, mut piece) = (Vec::new(), vec![0; 65_536]);
        let mut first = None;
        loop {
            let read = stream.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&piece[..read]);
            let head = answer.windows(4).position(|at| at == b"\r\n\r\n");
            if head.is_some_and(|head| answer.len() > head + 4) {
                first.get_or_insert_with(|| begun.elapsed());
            }
        }
        (first.unwrap_or_else(|| begun.elapsed()), read_answer("GET", &answer))
    }

    fn head(&self, method: &str, path: &str, length: usize) -> String {
        let now = OffsetDateTime::now_utc();
        let day = format!("{:04}{:02}{:02}", now.year(), u8::from(now.month()), now.day());
        let moment = format!("{day}T{:02}{:02}{:02}Z", now.hour(), now.minute(), now.second());
        let door = self.door;
        // Of who has none, neither a name nor a line of it.
        let (token_name, token_line) = match &self.token {
            Some(token) => (";x-amz-security-token", format!("x-amz-security-token:{token}\n")),
            None => ("", String::new()),
        };
        let signed = format!("host;x-amz-content-sha256;x-amz-date{token_name}");
        let (resource, query) = path.split_once('?').unwrap_or((path, ""));
        let parameters = query.split('&').filter(|part| !part.is_empty());
        let parameters =
            parameters.map(|part| if part.contains('=') { part.to_owned() } else { part.to_owned() + "=" });
        let canonical = format!(
            "{method}\n{resource}\n{}\nhost:{door}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{moment}\n{token_line}\n\
             {signed}\nUNSIGNED-PAYLOAD",
            parameters.collect::<Vec<_>>().join("&")
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
        let length = length.to_string();
        let mut headers = vec![
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-date", &moment),
            ("authorization", &authorization),
            ("content-length", &length),
        ];
        headers.extend(self.token.as_deref().map(|token| ("x-amz-security-token", token)));
        head(door, method, path, &headers)
    }
}
