//! A directory as a page.

use std::fmt::Write as _;

use http::{Response, header};

use super::{Body, Refusal, Target, headers, named, request::Asked, whole};
use crate::ipfs::{Ipfs, reading::Resolved};

/// Entries that a page shows.
const MAX_SHOWN: usize = 10_000;
/// Changes with the page's form, so that browsers ask again.
const FORM: &str = "1";

pub(super) async fn answer(
    ipfs: &Ipfs,
    target: &Target,
    asked: &Asked,
    resolved: &Resolved,
) -> Result<Response<Body>, Refusal> {
    let cid = resolved.cid;
    let etag = format!("\"DirIndex-{FORM}_CID-{}\"", named(&cid));
    if asked.has(&etag) {
        return Ok(super::with_status(http::StatusCode::NOT_MODIFIED));
    }
    let entries = ipfs.list(cid).await?;
    let mut page = String::new();
    let title = text(&target.shown);
    let _ = write!(
        page,
        "<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{cid}</p><table>"
    );
    for (name, child, bytes) in entries.iter().take(MAX_SHOWN) {
        let name = String::from_utf8_lossy(name);
        let (link, name) = (headers::escaped(&name), text(&name));
        let _ = write!(page, "<tr><td><a href=\"./{link}\">{name}</a><td>{bytes}<td>{child}");
    }
    let _ = write!(page, "</table>");
    if entries.len() > MAX_SHOWN {
        let _ = write!(page, "<p>and {} more", entries.len() - MAX_SHOWN);
    }
    let mut response = whole(page.into());
    let into = response.headers_mut();
    headers::of_content(into, target, &resolved.roots, &etag);
    headers::put(into, header::CONTENT_TYPE, "text/html; charset=utf-8");
    headers::put(into, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    headers::put(into, header::VARY, "Accept");
    // The page is this node's and not the directory's: it may look different tomorrow.
    headers::put(into, header::CACHE_CONTROL, "public, max-age=604800, stale-while-revalidate=2678400");
    Ok(response)
}

/// Text that is nothing else on a page.
fn text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}
