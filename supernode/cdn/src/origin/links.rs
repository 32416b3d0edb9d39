//! Which paths of its own site a document links to.
//!
//! A scan for the attributes and functions that name addresses, not a parser: it must never miss what a
//! plain page uses, and may find too much, which costs a request. What scripts fetch it cannot see; a
//! publisher lists that in `/.well-known/blackhole.json`.

use std::collections::BTreeSet;

use shared::cdn::manifest::SitePath;
use url::Url;

/// Scanned of a document. A longer page is data, not a page.
pub(super) const SCAN_BYTES: u64 = 4 * 1024 * 1024;
/// Links kept of one document.
const LINKS: usize = 10_000;
/// Attributes whose value is an address.
const ATTRIBUTES: [&str; 7] = ["src", "href", "poster", "data", "data-src", "action", "content"];
/// Attributes whose value is several, each with a size.
const SETS: [&str; 3] = ["srcset", "imagesrcset", "data-srcset"];

/// The paths that an HTML page at `base` links to.
pub(super) fn of_html(text: &str, base: &Url) -> BTreeSet<SitePath> {
    let mut links = Links { base: base.clone(), found: BTreeSet::new() };
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = tag_end(rest);
        let tag = &rest[..end];
        let name = tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
        for (attribute, value) in attributes(tag) {
            if name.eq_ignore_ascii_case("base") && attribute == "href" {
                if let Ok(base) = base.join(&value) {
                    links.base = base;
                }
            } else if attribute == "content" && !name.eq_ignore_ascii_case("meta") {
                // Only a meta tag's content may be an address.
            } else if attribute == "content" && !value.contains('/') {
                // And only if it looks like one.
            } else if ATTRIBUTES.contains(&attribute.as_str()) {
                links.add(&value);
            } else if SETS.contains(&attribute.as_str()) {
                value
                    .split(',')
                    .filter_map(|one| one.split_whitespace().next())
                    .for_each(|one| links.add(one));
            } else if attribute == "style" {
                links.css(&value);
            }
        }
        rest = &rest[end..];
        if name.eq_ignore_ascii_case("style") {
            let style = rest.find("</").map_or(rest, |end| &rest[..end]);
            links.css(style);
        }
    }
    links.found
}

/// The paths that a style sheet at `base` links to.
pub(super) fn of_css(text: &str, base: &Url) -> BTreeSet<SitePath> {
    let mut links = Links { base: base.clone(), found: BTreeSet::new() };
    links.css(text);
    links.found
}

struct Links {
    base: Url,
    found: BTreeSet<SitePath>,
}

impl Links {
    /// Keeps an address of our own site. One with a query is another resource than its path alone.
    fn add(&mut self, link: &str) {
        let Ok(url) = self.base.join(link.trim()) else { return };
        if url.origin() == self.base.origin()
            && url.query().is_none()
            && self.found.len() < LINKS
            && let Ok(path) = url.path().parse()
        {
            self.found.insert(path);
        }
    }

    fn css(&mut self, text: &str) {
        for part in text.split("url(").skip(1) {
            let inner = part.split(')').next().unwrap_or("");
            self.add(inner.trim().trim_matches(['"', '\'']));
        }
        for part in text.split("@import").skip(1) {
            let quoted = part.trim_start();
            if let Some(quote) = quoted.chars().next().filter(|c| matches!(c, '"' | '\'')) {
                self.add(quoted[1..].split(quote).next().unwrap_or(""));
            }
        }
    }
}

/// Where the tag ends: at the first `>` outside quotes.
fn tag_end(tag: &str) -> usize {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    // A quote that is never closed: an apostrophe in text that looked like a tag. Take the next `>`.
    tag.find('>').unwrap_or(tag.len())
}

/// The attributes with a value, names in lower case, character references of `&` undone.
fn attributes(tag: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = tag;
    while let Some(at) = rest.find('=') {
        let name = rest[..at].trim_end().rsplit(|c: char| c.is_whitespace() || c == '/').next().unwrap_or("");
        let value = rest[at + 1..].trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let inner = &value[1..];
                let end = inner.find(quote).unwrap_or(inner.len());
                (&inner[..end], inner.get(end + 1..).unwrap_or(""))
            }
            _ => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
        };
        found.push((name.to_ascii_lowercase(), value.replace("&amp;", "&")));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(found: BTreeSet<SitePath>) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_page_names_its_assets_in_many_ways() {
        let page = r#"<!doctype html><link rel=stylesheet href=/a.css><IMG SRC = 'b c.png' srcset="c.png 1x, /d.png 2x">
            <a href="https://elsewhere.example/x">away</a><a href="page/">in</a> it's <video poster='p.jpg' ></video>
            <style>@import "e.css"; body{background:url( "f.webp" )}</style><i style="background:url(g.svg)"></i>
            <script src="h.js?v=1"></script><script type=module src=./i.mjs></script><a href="mailto:a@b">
            <meta property="og:image" content="/og.png"><meta name=viewport content="width=1"><object data=j.pdf>"#;
        let base = Url::parse("http://site.example/dir/").unwrap();
        let expect = [
            "/a.css",
            "/d.png",
            "/dir/b%20c.png",
            "/dir/c.png",
            "/dir/e.css",
            "/dir/f.webp",
            "/dir/g.svg",
            "/dir/i.mjs",
            "/dir/j.pdf",
            "/dir/p.jpg",
            "/dir/page/",
            "/og.png",
        ];
        assert_eq!(paths(of_html(page, &base)), expect);
    }

    #[test]
    fn style_sheets_name_fonts_and_pictures() {
        let css = "@import url(x.css);@font-face{src:url('../f.woff2') format('woff2'),url(data:font/x)}";
        let base = Url::parse("http://site.example/css/main.css").unwrap();
        assert_eq!(paths(of_css(css, &base)), ["/css/x.css", "/f.woff2"]);
    }

    #[test]
    fn garbage_is_scanned_without_harm() {
        let base = Url::parse("http://site.example/").unwrap();
        for text in
            ["<", "<a href=", "<a href=\"", "<style>", "url(", "@import \"", "<é=ü>", "<a b='>", "=\"é"]
        {
            of_html(text, &base);
            of_css(text, &base);
        }
    }
}
