//! Files and directories as browsers want them, and single blocks.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use percent_encoding::percent_decode_str;
use shared::storage::ipfs::{
    Cid, ContentPath, EntityBytes, Entry, PathError, Piece, Scope, Walk,
    redirects::{FILE_NAME, MAX_FILE_BYTES, Redirects},
};
use tokio::sync::mpsc;

use super::{Body, Refusal, Target, headers, listing, named, redirect, request::Asked, whole, with_status};
use crate::ipfs::{
    Ipfs,
    reading::{ReadError, Resolved},
};

/// Pieces between the disk and the client.
const PIECES: usize = 2;
/// Bytes that say what a file without a telling name is.
const SNIFFED_BYTES: usize = 512;
/// What a directory shows instead of its list.
const INDEX: &[u8] = b"index.html";

/// One block as it is.
pub(super) async fn block(ipfs: &Ipfs, target: &Target, asked: &Asked) -> Result<Response<Body>, Refusal> {
    if asked.only_if_cached() && !ipfs.has(&target.path.root).await? {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "not here"));
    }
    let resolved = ipfs.follow(target.path.clone()).await?;
    let cid = resolved.cid;
    let block = ipfs.block(&cid).await?.ok_or(ReadError::Absent(cid))?;
    let etag = format!("\"{}.raw\"", named(&cid));
    let length = block.len() as u64;
    let mut response = if asked.has(&etag) {
        with_status(StatusCode::NOT_MODIFIED)
    } else {
        match range(asked, length)? {
            None => whole(block),
            Some(range) => {
                let from = usize::try_from(range.start).unwrap_or(usize::MAX).min(block.len());
                let to = usize::try_from(range.end).unwrap_or(usize::MAX).min(block.len());
                partial(whole(block.slice(from..to)), &range, length)
            }
        }
    };
    let into = response.headers_mut();
    headers::of_content(into, target, &resolved.roots, &etag);
    headers::of_binary(into, asked, "application/vnd.ipld.raw", &format!("{}.bin", named(&cid)));
    Ok(response)
}

/// A file, a page, a list, or where to go.
pub(super) async fn shown(
    ipfs: &Arc<Ipfs>,
    target: Target,
    asked: &Asked,
) -> Result<Response<Body>, Refusal> {
    if asked.only_if_cached() && !ipfs.has(&target.path.root).await? {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "not here"));
    }
    let resolved = match ipfs.follow(target.path.clone()).await {
        Err(ReadError::Path(error @ (PathError::NoLink(_) | PathError::NotADirectory(_)))) if target.site => {
            return redirected(ipfs, target, asked, error).await;
        }
        resolved => resolved?,
    };
    show(ipfs, target, asked, resolved, StatusCode::OK).await
}

async fn show(
    ipfs: &Arc<Ipfs>,
    target: Target,
    asked: &Asked,
    resolved: Resolved,
    status: StatusCode,
) -> Result<Response<Body>, Refusal> {
    let cid = resolved.cid;
    let block = ipfs.block(&cid).await?.ok_or(ReadError::Absent(cid))?;
    let entry = Entry::parse(&cid, &block);
    match entry.map_err(|error| Refusal::new(StatusCode::NOT_FOUND, format!("{cid}: {error}")))? {
        Entry::Raw => {
            let bytes = block.len() as u64;
            file(ipfs, &target, asked, &resolved, bytes, status).await
        }
        Entry::File(found) => file(ipfs, &target, asked, &resolved, found.bytes, status).await,
        Entry::Symlink(to) => {
            let mut response = whole(to.into());
            headers::of_content(
                response.headers_mut(),
                &target,
                &resolved.roots,
                &format!("\"{}\"", named(&cid)),
            );
            headers::put(response.headers_mut(), header::CONTENT_TYPE, "inode/symlink");
            headers::put(response.headers_mut(), header::X_CONTENT_TYPE_OPTIONS, "nosniff");
            Ok(response)
        }
        Entry::Directory(_) | Entry::Shard(_) => {
            if !asked.path.ends_with('/') {
                let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
                let location = format!("{}/{query}", headers::escaped(&asked.path));
                // Two slashes at the start would be another host.
                let location = format!("/{}", location.trim_start_matches('/'));
                return Ok(redirect(StatusCode::MOVED_PERMANENTLY, &location));
            }
            let index = ContentPath { root: cid, names: vec![INDEX.to_vec()] };
            match ipfs.follow(index).await {
                Ok(found) => {
                    let block = ipfs.block(&found.cid).await?.ok_or(ReadError::Absent(found.cid))?;
                    let bytes = match Entry::parse(&found.cid, &block) {
                        Ok(Entry::Raw) => block.len() as u64,
                        Ok(Entry::File(file)) => file.bytes,
                        _ => return Err(Refusal::new(StatusCode::NOT_FOUND, "index.html is no file")),
                    };
                    let roots = [resolved.roots, vec![found.cid]].concat();
                    let found = Resolved { roots, ..found };
                    file(ipfs, &target, asked, &found, bytes, status).await
                }
                Err(ReadError::Path(PathError::NoLink(_))) => {
                    listing::answer(ipfs, &target, asked, &resolved).await
                }
                Err(error) => Err(error.into()),
            }
        }
    }
}

async fn file(
    ipfs: &Arc<Ipfs>,
    target: &Target,
    asked: &Asked,
    resolved: &Resolved,
    bytes: u64,
    status: StatusCode,
) -> Result<Response<Body>, Refusal> {
    let cid = resolved.cid;
    let etag = format!("\"{}\"", named(&cid));
    if asked.has(&etag) && status == StatusCode::OK {
        let mut response = with_status(StatusCode::NOT_MODIFIED);
        headers::of_content(response.headers_mut(), target, &resolved.roots, &etag);
        return Ok(response);
    }
    let range = if status == StatusCode::OK { range(asked, bytes)? } else { None };
    let wanted = range.clone().unwrap_or(0..bytes);
    let length = wanted.end - wanted.start;
    let mut response =
        if length == 0 { whole(Bytes::new()) } else { Response::new(body(ipfs, cid, wanted).await?) };
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if let Some(range) = &range {
        response = partial(response, range, bytes);
    }
    let into = response.headers_mut();
    headers::of_content(into, target, &resolved.roots, &etag);
    headers::put(into, header::ACCEPT_RANGES, "bytes");
    headers::put(into, header::VARY, "Accept");
    let last = target.path.names.last().map(|name| String::from_utf8_lossy(name).into_owned());
    let name = asked.filename.clone().or_else(|| if asked.path.ends_with('/') { None } else { last });
    headers::put(into, header::CONTENT_TYPE, &kind(ipfs, cid, name.as_deref(), bytes).await?);
    // What the name says is what it is, for browsers too.
    headers::put(into, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if asked.download || asked.filename.is_some() {
        let how = if asked.download { "attachment" } else { "inline" };
        let name = name.unwrap_or_else(|| named(&cid));
        headers::put(into, header::CONTENT_DISPOSITION, &headers::disposition(how, &name));
    }
    Ok(response)
}

/// What kind of file it is: by its name, or else by how it begins.
async fn kind(ipfs: &Ipfs, cid: Cid, name: Option<&str>, bytes: u64) -> Result<String, Refusal> {
    let guessed = name.and_then(|name| mime_guess::from_path(name).first_raw());
    if let Some(guessed) = guessed {
        let text = guessed.starts_with("text/") || guessed == "application/javascript";
        return Ok(if text { format!("{guessed}; charset=utf-8") } else { guessed.to_owned() });
    }
    let start = read(ipfs, cid, 0..bytes.min(SNIFFED_BYTES as u64)).await?;
    let start = &start[..start.len().min(SNIFFED_BYTES)];
    // A letter may be cut at the end.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Ok("application/octet-stream".to_owned()),
    };
    if text.contains('\0') {
        return Ok("application/octet-stream".to_owned());
    }
    let lower = text.trim_start().to_ascii_lowercase();
    let html = lower.starts_with("<!doctype html") || lower.starts_with("<html");
    Ok(if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" }.to_owned())
}

/// The bytes of a file that the caller knows to be short.
async fn read(ipfs: &Ipfs, cid: Cid, range: Range<u64>) -> Result<Vec<u8>, Refusal> {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let mut found = Vec::new();
    let sending = async {
        let sent = send(ipfs, cid, range, &sender).await;
        drop(sender);
        sent
    };
    let taking = async {
        while let Some(piece) = pieces.recv().await {
            found.extend_from_slice(&piece.unwrap_or_default());
        }
    };
    tokio::join!(sending, taking).0?;
    Ok(found)
}

/// An answer's bytes, once the first of them are there: until then the answer may still be that they are not.
async fn body(ipfs: &Arc<Ipfs>, cid: Cid, range: Range<u64>) -> Result<Body, Refusal> {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let ipfs = Arc::clone(ipfs);
    tokio::spawn(async move {
        if let Err(error) = send(&ipfs, cid, range, &sender).await {
            // After the first, the client sees that less comes than was announced.
            let _ = sender.send(Err(error)).await;
        }
    });
    let first = pieces.recv().await.transpose()?;
    let rest = futures::stream::poll_fn(move |context| pieces.poll_recv(context));
    let stream = futures::stream::iter(first.map(Ok)).chain(rest);
    let stream =
        stream.map(|piece| piece.map(Frame::data).map_err(|error| io::Error::other(error.to_string())));
    Ok(BodyExt::boxed(StreamBody::new(stream)))
}

async fn send(
    ipfs: &Ipfs,
    cid: Cid,
    range: Range<u64>,
    sender: &mpsc::Sender<anyhow::Result<Bytes>>,
) -> anyhow::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mut walk = Walk::new(cid, Scope::Entity, Some(EntityBytes::of(&range)), false);
    while let Some(visit) = walk.next_visit() {
        let block = ipfs.block(&visit.cid).await?;
        let block = block.ok_or_else(|| anyhow::anyhow!("{} is not here", visit.cid))?;
        let piece = match walk.handle_block(&block)? {
            Piece::OfBlock(range) => block.slice(range),
            Piece::Inline(inline) => inline.into(),
            Piece::Nothing => continue,
        };
        sender.send(Ok(piece)).await?;
    }
    Ok(())
}

/// The one range that is asked for; nothing where all is wanted, or what is said is no single range.
fn range(asked: &Asked, bytes: u64) -> Result<Option<Range<u64>>, Refusal> {
    let Some(said) = asked.headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    // A condition that is not understood means all of it.
    let Some(range) = said.strip_prefix("bytes=").filter(|_| !asked.headers.contains_key(header::IF_RANGE))
    else {
        return Ok(None);
    };
    let Some((from, to)) = range.split_once('-').filter(|_| !range.contains(',')) else { return Ok(None) };
    let parsed = match (from.trim(), to.trim()) {
        ("", last) => last.parse::<u64>().ok().map(|last| bytes.saturating_sub(last)..bytes),
        (from, "") => from.parse().ok().map(|from| from..bytes),
        (from, to) => match (from.parse::<u64>(), to.parse::<u64>()) {
            (Ok(from), Ok(to)) if from <= to => Some(from..to.saturating_add(1).min(bytes)),
            _ => None,
        },
    };
    match parsed {
        Some(range) if range.start >= bytes || range.is_empty() => {
            Err(Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("there are {bytes} bytes")))
        }
        parsed => Ok(parsed),
    }
}

fn partial(mut response: Response<Body>, range: &Range<u64>, bytes: u64) -> Response<Body> {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let said = format!("bytes {}-{}/{bytes}", range.start, range.end.saturating_sub(1));
    headers::put(response.headers_mut(), header::CONTENT_RANGE, &said);
    response
}

/// What a site's `_redirects` says of a path that it has not got.
async fn redirected(
    ipfs: &Arc<Ipfs>,
    target: Target,
    asked: &Asked,
    missing: PathError,
) -> Result<Response<Body>, Refusal> {
    let root = target.path.root;
    let rules = match ipfs.follow(ContentPath { root, names: vec![FILE_NAME.into()] }).await {
        Err(ReadError::Path(_)) => return Err(ReadError::Path(missing).into()),
        found => rules(ipfs, found?.cid).await?,
    };
    // As it came: what a rule takes over into another path is escaped there already.
    let Some(rule) = rules.find(&asked.raw_path) else { return Err(ReadError::Path(missing).into()) };
    let status = StatusCode::from_u16(rule.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_redirection() {
        let location =
            if rule.to.starts_with('/') { format!("/{}", rule.to.trim_start_matches('/')) } else { rule.to };
        return Ok(redirect(status, &location));
    }
    let path = rule.to.split(['?', '#']).next().unwrap_or_default();
    let path = percent_decode_str(path).decode_utf8().map_err(|_| Refusal::bad("the path is no text"))?;
    let path = ContentPath::parse(&format!("{root}{path}")).map_err(ReadError::from)?;
    let resolved = ipfs.follow(path.clone()).await?;
    show(ipfs, Target { path, ..target }, asked, resolved, status).await
}

async fn rules(ipfs: &Ipfs, cid: Cid) -> Result<Redirects, Refusal> {
    let wrong = |why: String| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why);
    let block = ipfs.block(&cid).await?.ok_or(ReadError::Absent(cid))?;
    let bytes = match Entry::parse(&cid, &block) {
        Ok(Entry::Raw) => block.len() as u64,
        Ok(Entry::File(file)) => file.bytes,
        _ => return Err(wrong("_redirects is no file".to_owned())),
    };
    if bytes > MAX_FILE_BYTES {
        return Err(wrong(format!("_redirects is longer than {MAX_FILE_BYTES} bytes")));
    }
    let file = read(ipfs, cid, 0..bytes).await?;
    Redirects::parse(&file).map_err(|error| wrong(error.to_string()))
}
