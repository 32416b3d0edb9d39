//! Buckets as websites: an index document, an error document and redirects, for anybody, as far as the bucket's policy
//! lets the public read.
//!
//! A site answers at a host of its own below `storage.website_domains`; the S3 protocol is not spoken there.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::{
    Body, S3Error, S3ErrorCode, S3Result,
    dto::{
        ETagCondition, HeadObjectInput, Range, Redirect, RoutingRule, Timestamp, TimestampFormat,
        WebsiteConfiguration,
    },
    s3_error,
};

use super::{
    Door,
    access::{Caller, Wanted},
    error, settings,
};

/// S3's bound on rules.
const MAX_RULES: usize = 50;
/// In a path, all but what needs no escape there (RFC 3986, 3.3).
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What a bucket without a website answers.
pub(super) fn absent() -> S3Error {
    s3_error!(NoSuchWebsiteConfiguration, "The specified bucket does not have a website configuration")
}

/// Refuses a configuration that says too little or contradicts itself.
pub(super) fn check(configuration: &WebsiteConfiguration) -> S3Result<()> {
    let invalid = |what: &str| s3_error!(InvalidArgument, "{what}");
    let WebsiteConfiguration { error_document, index_document, redirect_all_requests_to, routing_rules } =
        configuration;
    if let Some(all) = redirect_all_requests_to {
        if error_document.is_some() || index_document.is_some() || routing_rules.is_some() {
            return Err(invalid(
                "RedirectAllRequestsTo cannot be provided in conjunction with other settings.",
            ));
        }
        return if is_host(&all.host_name) { Ok(()) } else { Err(invalid("The host is none.")) };
    }
    let index = index_document.as_ref().ok_or_else(|| {
        invalid("A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty")
    })?;
    if index.suffix.is_empty() || index.suffix.contains('/') {
        return Err(invalid("The IndexDocument Suffix is not well formed"));
    }
    if error_document.as_ref().is_some_and(|document| document.key.is_empty()) {
        return Err(invalid("The ErrorDocument Key is not well formed"));
    }
    let rules = routing_rules.as_deref().unwrap_or_default();
    if rules.len() > MAX_RULES {
        return Err(invalid("There are more than 50 routing rules"));
    }
    for RoutingRule { condition, redirect } in rules {
        let empty = |condition: &s3s::dto::Condition| {
            condition.key_prefix_equals.is_none() && condition.http_error_code_returned_equals.is_none()
        };
        if condition.as_ref().is_some_and(empty) {
            return Err(invalid("A Condition must have a KeyPrefixEquals or a HttpErrorCodeReturnedEquals"));
        }
        let Redirect { host_name, http_redirect_code, replace_key_prefix_with, replace_key_with, .. } =
            redirect;
        if replace_key_prefix_with.is_some() && replace_key_with.is_some() {
            return Err(invalid("You can only define ReplaceKeyPrefix or ReplaceKey but not both."));
        }
        if host_name.as_ref().is_some_and(|host| !is_host(host)) {
            return Err(invalid("The host is none."));
        }
        if http_redirect_code.as_ref().is_some_and(|code| redirect_status(code).is_none()) {
            return Err(invalid(
                "The provided HTTP redirect code is not valid. Valid codes are 3XX except 300.",
            ));
        }
    }
    Ok(())
}

fn is_host(name: &str) -> bool {
    let lawful = |letter: u8| letter.is_ascii_alphanumeric() || b"-.:[]".contains(&letter);
    !name.is_empty() && name.len() <= 255 && name.bytes().all(lawful)
}

fn redirect_status(code: &str) -> Option<StatusCode> {
    code.parse().ok().filter(|status: &StatusCode| (301..=399).contains(&status.as_u16()))
}

/// The bucket that a host is the website of.
pub(super) fn bucket_of(host: &str, domains: &[String]) -> Option<String> {
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
    domains.iter().find_map(|domain| {
        let bucket = host.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        (!bucket.is_empty()).then(|| bucket.to_owned())
    })
}

impl Door {
    /// Answers as a bucket's website.
    pub(super) async fn site(&self, request: &Request<Incoming>, bucket: &str) -> Response<Body> {
        let mut response = match self.visit(request, bucket).await {
            Ok(response) => response,
            Err(error) => said(&error),
        };
        if request.method() == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn visit(&self, request: &Request<Incoming>, bucket: &str) -> S3Result<Response<Body>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(s3_error!(MethodNotAllowed, "A website is read with GET and HEAD"));
        }
        let row = self.objects.meta().bucket(bucket).await.map_err(error::meta)?;
        let site: WebsiteConfiguration = settings::document(&row, settings::WEBSITE)?.ok_or_else(absent)?;
        let path = percent_decode_str(request.uri().path().trim_start_matches('/')).decode_utf8();
        let path = path.map_err(|_| s3_error!(InvalidURI, "The path is no UTF-8"))?;
        if let Some(all) = &site.redirect_all_requests_to {
            let scheme = all.protocol.as_ref().map(s3s::dto::Protocol::as_str);
            return redirect(StatusCode::MOVED_PERMANENTLY, scheme, Some(&all.host_name), &path);
        }
        let suffix = site.index_document.as_ref().map_or("", |index| index.suffix.as_str());
        let rules = site.routing_rules.as_deref().unwrap_or_default();
        if let Some(rule) = rules.iter().find(|rule| applies(rule, &path, None)) {
            return follow(rule, &path);
        }
        let is_folder = path.is_empty() || path.ends_with('/');
        let key = if is_folder { format!("{path}{suffix}") } else { path.clone().into_owned() };
        let error = match self.page(bucket, &key, request.headers()).await {
            Ok(page) => return Ok(page),
            Err(error) => error,
        };
        let status = error.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if !status.is_client_error() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(error);
        }
        if *error.code() == S3ErrorCode::NoSuchKey && !is_folder {
            let index = format!("{path}/{suffix}");
            if self.page(bucket, &index, &HeaderMap::new()).await.is_ok() {
                return redirect(StatusCode::FOUND, None, None, &format!("{path}/"));
            }
        }
        if let Some(rule) = rules.iter().find(|rule| applies(rule, &path, Some(status))) {
            return follow(rule, &path);
        }
        let Some(document) = &site.error_document else { return Err(error) };
        let mut page = self.page(bucket, &document.key, &HeaderMap::new()).await.map_err(|_| error)?;
        if page.status() == StatusCode::OK {
            *page.status_mut() = status;
        }
        Ok(page)
    }

    /// An object as a visitor sees it.
    async fn page(&self, bucket: &str, key: &str, headers: &HeaderMap) -> S3Result<Response<Body>> {
        self.may(&Caller::default(), &Wanted::object("GetObject", bucket, key)).await?;
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let condition =
            |name| text(name).and_then(|text| ETagCondition::parse_http_header(text.as_bytes()).ok());
        let since = |name| text(name).and_then(|text| Timestamp::parse(TimestampFormat::HttpDate, text).ok());
        let input = HeadObjectInput {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            range: text(header::RANGE).and_then(|range| Range::parse(range).ok()),
            if_match: condition(header::IF_MATCH),
            if_none_match: condition(header::IF_NONE_MATCH),
            if_modified_since: since(header::IF_MODIFIED_SINCE),
            if_unmodified_since: since(header::IF_UNMODIFIED_SINCE),
            ..Default::default()
        };
        let (head, opened, selection) = self.look(input).await?;
        if let Some(location) = head.website_redirect_location {
            return moved(StatusCode::MOVED_PERMANENTLY, &location);
        }
        let mut response = Response::new(Body::from(self.sent(&opened, &selection).await?));
        if head.content_range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        let mut modified = Vec::new();
        if let Some(time) = &head.last_modified {
            let _ = time.format(TimestampFormat::HttpDate, &mut modified);
        }
        let fields = [
            (header::ACCEPT_RANGES, head.accept_ranges),
            (header::CACHE_CONTROL, head.cache_control),
            (header::CONTENT_DISPOSITION, head.content_disposition),
            (header::CONTENT_ENCODING, head.content_encoding),
            (header::CONTENT_LANGUAGE, head.content_language),
            (header::CONTENT_LENGTH, head.content_length.map(|length| length.to_string())),
            (header::CONTENT_RANGE, head.content_range),
            (header::CONTENT_TYPE, head.content_type),
            (header::ETAG, head.e_tag.map(|etag| format!("\"{}\"", etag.value()))),
            (header::LAST_MODIFIED, String::from_utf8(modified).ok().filter(|text| !text.is_empty())),
        ];
        for (name, value) in fields {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }
}

fn applies(rule: &RoutingRule, path: &str, status: Option<StatusCode>) -> bool {
    let Some(condition) = &rule.condition else { return status.is_none() };
    let code = condition.http_error_code_returned_equals.as_deref();
    let prefix = condition.key_prefix_equals.as_deref().unwrap_or_default();
    code == status.as_ref().map(StatusCode::as_str) && path.starts_with(prefix)
}

fn follow(rule: &RoutingRule, path: &str) -> S3Result<Response<Body>> {
    let Redirect { host_name, http_redirect_code, protocol, replace_key_prefix_with, replace_key_with } =
        &rule.redirect;
    let matched = rule.condition.as_ref().and_then(|condition| condition.key_prefix_equals.as_deref());
    let key = match (replace_key_with, replace_key_prefix_with) {
        (Some(key), _) => key.clone(),
        (None, Some(prefix)) => {
            format!("{prefix}{}", path.strip_prefix(matched.unwrap_or_default()).unwrap_or(path))
        }
        (None, None) => path.to_owned(),
    };
    let status = http_redirect_code.as_deref().and_then(redirect_status);
    let scheme = protocol.as_ref().map(s3s::dto::Protocol::as_str);
    redirect(status.unwrap_or(StatusCode::MOVED_PERMANENTLY), scheme, host_name.as_deref(), &key)
}

/// Where nothing is said of the scheme or the host, the visitor's own stay, whoever stands between.
fn redirect(
    status: StatusCode,
    scheme: Option<&str>,
    host: Option<&str>,
    key: &str,
) -> S3Result<Response<Body>> {
    let path = utf8_percent_encode(key.trim_start_matches('/'), IN_PATH);
    let location = match (scheme, host) {
        (Some(scheme), Some(host)) => format!("{scheme}://{host}/{path}"),
        (None, Some(host)) => format!("//{host}/{path}"),
        (_, None) => format!("/{path}"),
    };
    moved(status, &location)
}

fn moved(status: StatusCode, location: &str) -> S3Result<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let location = HeaderValue::from_str(location).map_err(|error| s3_error!(error, InternalError))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// An error as a page, for people. What it names is S3's own, and nothing that a visitor sent.
fn said(error: &S3Error) -> Response<Body> {
    let status = error.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (code, message) = (error.code().as_str(), error.message().unwrap_or_default());
    let text = if status == StatusCode::NOT_MODIFIED {
        String::new()
    } else {
        format!(
            "<!doctype html>\n<title>{status}</title>\n<h1>{status}</h1>\n<ul>\n<li>Code: {code}</li>\n\
             <li>Message: {message}</li>\n</ul>\n"
        )
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Some(code) = HeaderValue::from_str(code).ok().filter(|_| status != StatusCode::NOT_MODIFIED) {
        headers.insert("x-amz-error-code", code);
    }
    headers.extend(error.headers().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_below_the_domain_is_a_bucket() {
        let domains = ["web.test".to_owned()];
        let check = |host: &str, expect: Option<&str>| {
            assert_eq!(bucket_of(host, &domains).as_deref(), expect, "{host}");
        };
        check("site.web.test:9000", Some("site"));
        check("a.b.WEB.test", Some("a.b"));
        check("web.test", None);
        check("siteweb.test", None);
        check("site.web.test.other", None);
    }

    #[test]
    fn a_redirect_says_no_more_than_it_was_told() {
        let check = |scheme, host, key: &str, expect: &str| {
            let response = redirect(StatusCode::FOUND, scheme, host, key).unwrap();
            assert_eq!(response.headers()[header::LOCATION], expect);
        };
        check(None, None, "a b/ü\r\n?", "/a%20b/%C3%BC%0D%0A%3F");
        check(None, None, "//evil.example/", "/evil.example/");
        check(None, Some("other.example"), "k", "//other.example/k");
        check(Some("https"), Some("other.example"), "k", "https://other.example/k");
    }
}
