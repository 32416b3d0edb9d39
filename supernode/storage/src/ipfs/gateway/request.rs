//! What a request asks for.

use std::borrow::Cow;

use http::{HeaderMap, Request, header};
use percent_encoding::percent_decode_str;
use shared::storage::ipfs::{EntityBytes, Scope};

use super::Refusal;

/// The form in which it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As a file, a page or a list.
    Shown,
    /// One block.
    Block,
    /// Blocks in a row.
    Car,
    /// A signed name record.
    NameRecord,
    /// Something that others have.
    Other,
}

/// Which blocks a CAR has, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CarForm {
    pub(super) scope: Scope,
    pub(super) bytes: Option<EntityBytes>,
    pub(super) repeats: bool,
}

/// A request, read.
pub(super) struct Asked {
    /// The path, its escapes undone.
    pub(super) path: String,
    /// The path and query as they came.
    pub(super) raw_path: String,
    pub(super) query: String,
    pub(super) format: Format,
    /// The format was said in `Accept` alone, by this name.
    pub(super) negotiated: Option<&'static str>,
    pub(super) car: CarForm,
    pub(super) filename: Option<String>,
    pub(super) download: bool,
    pub(super) headers: HeaderMap,
}

impl Asked {
    pub(super) fn read<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let raw_path = request.uri().path().to_owned();
        let path = percent_decode_str(&raw_path).decode_utf8();
        let path = path.map_err(|_| Refusal::bad("the path is no text"))?.into_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let get = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
        };
        let accepts = accepts(request.headers());
        let accepted =
            accepts.iter().find_map(|(kind, parameters)| Some((named(kind)?, parameters.as_slice())));
        let (format, negotiated) = match (get("format"), accepted) {
            (Some(said), _) => (format_of(&said), None),
            (None, Some((name, _))) => (format_of(name), Some(name)),
            (None, None) => (Format::Shown, None),
        };
        // Parameters count only of the kind that is answered.
        let parameters =
            accepted.filter(|(name, _)| *name == "car").map_or(&[][..], |(_, parameters)| parameters);
        let parameter = |name: &str| {
            parameters.iter().find(|(key, _)| key == name).map(|(_, value)| Cow::Borrowed(value.as_str()))
        };
        let car = CarForm::read(
            get("dag-scope"),
            get("entity-bytes"),
            [("car-version", "version"), ("car-order", "order"), ("car-dups", "dups")]
                .map(|(key, parameter_key)| get(key).or_else(|| parameter(parameter_key))),
        )?;
        Ok(Self {
            format,
            negotiated,
            car,
            filename: get("filename").map(Cow::into_owned),
            download: get("download").as_deref() == Some("true"),
            headers: request.headers().clone(),
            path,
            raw_path,
            query,
        })
    }

    /// Namespace, root, and what is below; nothing where not even a slash stands behind the root.
    pub(super) fn content_path(&self) -> Option<(&str, &str, Option<&str>)> {
        let rest = self.path.strip_prefix('/')?;
        let (namespace, rest) = rest.split_once('/')?;
        let (root, below) = match rest.split_once('/') {
            Some((root, below)) => (root, Some(below)),
            None => (rest, None),
        };
        (matches!(namespace, "ipfs" | "ipns") && !root.is_empty()).then_some((namespace, root, below))
    }

    /// Where `/ipfs/?uri=ipfs://CID/a` leads.
    pub(super) fn uri_location(&self) -> Result<Option<String>, Refusal> {
        if !matches!(self.path.as_str(), "/ipfs/" | "/ipns/") {
            return Ok(None);
        }
        let uri = url::form_urlencoded::parse(self.query.as_bytes()).find(|(key, _)| key == "uri");
        let Some((_, uri)) = uri else { return Ok(None) };
        for scheme in ["ipfs", "ipns"] {
            if let Some(rest) = uri.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) {
                return Ok(Some(format!("/{scheme}/{rest}")));
            }
        }
        Err(Refusal::bad("uri is of ipfs:// or ipns://"))
    }

    pub(super) fn registers_a_service_worker(&self) -> bool {
        self.headers.get("service-worker").is_some_and(|value| value == "script")
    }

    /// Whether the browser has it already.
    pub(super) fn has(&self, etag: &str) -> bool {
        let known =
            self.headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        known
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|known| known == "*" || known.trim_start_matches("W/") == etag.trim_start_matches("W/"))
    }

    /// Whether only what is here at once is wanted.
    pub(super) fn only_if_cached(&self) -> bool {
        let said = self.headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
        said.is_some_and(|said| said.split(',').any(|word| word.trim() == "only-if-cached"))
    }
}

impl CarForm {
    fn read(
        scope: Option<Cow<'_, str>>,
        bytes: Option<Cow<'_, str>>,
        [version, order, dups]: [Option<Cow<'_, str>>; 3],
    ) -> Result<Self, Refusal> {
        let scope = match scope.as_deref() {
            None | Some("all") => Scope::All,
            Some("entity") => Scope::Entity,
            Some("block") => Scope::Block,
            Some(_) => return Err(Refusal::bad("dag-scope is block, entity or all")),
        };
        let bytes = bytes.map(|bytes| {
            EntityBytes::parse(&bytes).ok_or_else(|| Refusal::bad("entity-bytes is from:to, to may be *"))
        });
        if version.is_some_and(|version| version != "1") {
            return Err(Refusal::bad("of CAR there is version 1"));
        }
        if !matches!(order.as_deref(), None | Some("dfs" | "unk" | "")) {
            return Err(Refusal::bad("the order is dfs"));
        }
        let repeats = match dups.as_deref() {
            None | Some("n" | "") => false,
            Some("y") => true,
            Some(_) => return Err(Refusal::bad("dups is y or n")),
        };
        Ok(Self { scope, bytes: bytes.transpose()?, repeats })
    }
}

/// A media type and its parameters.
type Accepted = (String, Vec<(String, String)>);

/// What `Accept` names, the most wanted first.
fn accepts(headers: &HeaderMap) -> Vec<Accepted> {
    // More than any client says.
    const MAX_ACCEPTED: usize = 32;
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut found: Vec<(u16, Accepted)> = Vec::new();
    for one in lines.flat_map(|line| line.split(',')).take(MAX_ACCEPTED) {
        let mut parts = one.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let pairs = parts.filter_map(|part| part.split_once('='));
        let parameters: Vec<_> = pairs
            .map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
            .collect();
        let weight = parameters.iter().find(|(key, _)| key == "q").and_then(|(_, q)| q.parse::<f32>().ok());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1,000")]
        let weight = (weight.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16;
        if weight > 0 {
            found.push((weight, (kind, parameters)));
        }
    }
    found.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    found.into_iter().map(|(_, accepted)| accepted).collect()
}

/// The name in a URL of a media type that asks for a format. Others are what browsers send.
fn named(kind: &str) -> Option<&'static str> {
    match kind {
        "application/vnd.ipld.raw" => Some("raw"),
        "application/vnd.ipld.car" => Some("car"),
        "application/vnd.ipfs.ipns-record" => Some("ipns-record"),
        "application/x-tar" => Some("tar"),
        "application/vnd.ipld.dag-json" => Some("dag-json"),
        "application/vnd.ipld.dag-cbor" => Some("dag-cbor"),
        _ => None,
    }
}

fn format_of(name: &str) -> Format {
    match name {
        "raw" => Format::Block,
        "car" => Format::Car,
        "ipns-record" => Format::NameRecord,
        _ => Format::Other,
    }
}
