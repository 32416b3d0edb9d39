//! As little of an HTTP client as shows what is on the wire.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::process::PATIENCE;

/// What came back. `whole` is false where the body is shorter than announced.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A body of a length that was not announced, as one text.
pub(crate) fn unchunked(answer: &Answer) -> String {
    assert_eq!(answer.headers["transfer-encoding"], "chunked");
    let (mut rest, mut whole) = (answer.body.as_slice(), Vec::new());
    loop {
        let end = rest.windows(2).position(|at| at == b"\r\n").expect("a chunk has a length");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return String::from_utf8(whole).unwrap();
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
}

/// One request on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(address, "GET", path, headers)
}

pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    read_answer(method, &exchange(address, head(address, method, path, headers).as_bytes()))
}

/// A request with a short body.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let request = [head(address, method, path, headers).as_bytes(), body].concat();
    read_answer(method, &exchange(address, &request))
}

/// A client of the simplest kind: it writes all of the body before it reads. What it is refused it must
/// still be able to read then.
pub(crate) fn put(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head(address, "PUT", path, headers).as_bytes()).unwrap();
    stream.write_all(body).expect("the body is taken, wanted or not");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the connection ends in good order");
    read_answer("PUT", &answer)
}

/// A request's head.
pub(crate) fn head(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if headers.iter().all(|(name, _)| *name != "host") {
        request += &format!("host: {address}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request + "\r\n"
}

/// Reads what came until the connection ended.
pub(crate) fn read_answer(method: &str, bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|at| at == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in lines.filter_map(header) {
        // A header that is there twice is two lines.
        headers.entry(name).and_modify(|known| *known += &format!("\n{value}")).or_insert(value);
    }
    let body = bytes[end + 4..].to_vec();
    let announced = headers.get("content-length").and_then(|length| length.parse().ok());
    let whole = method == "HEAD" || announced.is_none_or(|length: usize| length == body.len());
    Answer { status, headers, body, whole }
}

/// Sends bytes, and reads until the other side closes.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other side may have heard enough before the end.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}
