//! A publisher's web server, honest or not, that counts what it is asked for.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// How a path misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Announces more than it sends, and has no ETag to go on by.
    BreaksOff,
    /// Breaks off, and answers the rest's range with everything.
    IgnoresRange,
    /// Breaks off, and answers the rest's range with another whole length.
    ChangesLength,
    /// Serves a page where something else belongs.
    WrongType,
    Endless,
    RedirectsInCircles,
    RedirectsElsewhere,
    /// Sends a little and then nothing.
    Stalls,
    /// Says nothing at all.
    Silent,
    /// Sets a cookie.
    Personal,
    Compressed,
}

#[derive(Clone)]
struct File {
    bytes: Vec<u8>,
    content_type: &'static str,
    manner: Manner,
}

/// What was asked of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) requests: u64,
    pub(crate) body_bytes: u64,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    counts: BTreeMap<String, Count>,
}

/// Serves until the process ends.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Origin {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let serving = origin.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let origin = serving.clone();
                thread::spawn(move || origin.serve(&stream));
            }
        });
        origin
    }

    pub(crate) fn put(&self, path: &str, content_type: &'static str, bytes: &[u8], manner: Manner) {
        let file = File { bytes: bytes.to_vec(), content_type, manner };
        self.state.lock().unwrap().files.insert(path.to_owned(), file);
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, Count> {
        self.state.lock().unwrap().counts.clone()
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let request = lines.next()?;
        let mut words = request.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.split('?').next()?.to_owned());
        let headers: BTreeMap<String, String> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            })
            .collect();
        let file = self.state.lock().unwrap().files.get(&path).cloned();
        let sent = self.answer(stream, &method, &path, &headers, file.as_ref()).unwrap_or(0);
        let mut state = self.state.lock().unwrap();
        let count = state.counts.entry(path).or_default();
        count.requests += 1;
        count.body_bytes += sent;
        Some(())
    }

    fn answer(
        &self,
        mut stream: &TcpStream,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        file: Option<&File>,
    ) -> std::io::Result<u64> {
        let Some(file) = file else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
            return Ok(0);
        };
        let (bytes, kind) = (&file.bytes, file.content_type);
        let etag =
            format!("\"{:x}-{}\"", bytes.len(), bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        let head = |status: &str, length: usize, more: &str| {
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: \
                 close\r\n{more}\r\n"
            )
        };
        let with_etag = format!("etag: {etag}\r\n");
        if file.manner != Manner::Silent && headers.get("if-none-match") == Some(&etag) {
            stream.write_all(head("304 Not Modified", 0, &with_etag).as_bytes())?;
            return Ok(0);
        }
        let ranged = headers.contains_key("range");
        let half = bytes.len() / 2;
        let (head, body) = match file.manner {
            Manner::Honest => (head("200 OK", bytes.len(), &with_etag), &bytes[..]),
            Manner::BreaksOff => (head("200 OK", bytes.len() + 1000, ""), &bytes[..]),
            Manner::ChangesLength if ranged => {
                let range = format!("content-range: bytes {half}-{}/{}\r\n", bytes.len(), bytes.len() + 1);
                (head("206 Partial Content", bytes.len() + 1 - half, &range), &bytes[half..])
            }
            Manner::IgnoresRange if ranged => (head("200 OK", bytes.len(), &with_etag), &bytes[..]),
            Manner::IgnoresRange | Manner::ChangesLength => {
                (head("200 OK", bytes.len(), &with_etag), &bytes[..half])
            }
            Manner::WrongType => {
                let page =
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n".to_owned();
                (page, &bytes[..])
            }
            Manner::RedirectsInCircles => {
                (head("302 Found", 0, &format!("location: {path}?again\r\n")), &bytes[..0])
            }
            Manner::RedirectsElsewhere => {
                (head("302 Found", 0, "location: http://127.0.0.1:1/\r\n"), &bytes[..0])
            }
            Manner::Stalls => (head("200 OK", bytes.len(), &with_etag), &bytes[..half]),
            Manner::Silent => (String::new(), &bytes[..0]),
            Manner::Personal => (head("200 OK", bytes.len(), "set-cookie: who=you\r\n"), &bytes[..]),
            Manner::Compressed => (head("200 OK", bytes.len(), "content-encoding: gzip\r\n"), &bytes[..]),
            Manner::Endless => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n").as_bytes())?;
                // Ends when the other side has had enough.
                loop {
                    stream.write_all(&[0x42; 65_536])?;
                }
            }
        };
        stream.write_all(head.as_bytes())?;
        if method == "HEAD" {
            return Ok(0);
        }
        stream.write_all(body)?;
        if matches!(file.manner, Manner::Stalls | Manner::Silent) {
            thread::sleep(Duration::from_secs(20));
        }
        Ok(body.len() as u64)
    }
}
