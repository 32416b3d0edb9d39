//! CORS: what a browser may do with a bucket from a page of another origin.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use s3s::dto::{CORSConfiguration, CORSRule};

/// Whether a text is as a pattern with at most one `*` has it.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((front, back)) => {
            text.len() >= front.len() + back.len() && text.starts_with(front) && text.ends_with(back)
        }
    }
}

fn rule<'a>(
    configuration: &'a CORSConfiguration,
    origin: &str,
    method: &str,
    headers: &[String],
) -> Option<&'a CORSRule> {
    configuration.cors_rules.iter().find(|rule| {
        let allowed = rule.allowed_headers.as_deref().unwrap_or_default();
        rule.allowed_origins.iter().any(|pattern| matches(pattern, origin))
            && rule.allowed_methods.iter().any(|allowed| allowed == method)
            && headers
                .iter()
                .all(|name| allowed.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), name)))
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The answer to a preflight.
pub(super) fn preflight(
    configuration: Option<&CORSConfiguration>,
    headers: &HeaderMap,
) -> Response<s3s::Body> {
    let mut response = Response::new(s3s::Body::empty());
    *response.status_mut() = StatusCode::FORBIDDEN;
    let (Some(origin), Some(method)) =
        (text(headers, &header::ORIGIN), text(headers, &header::ACCESS_CONTROL_REQUEST_METHOD))
    else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let asked = text(headers, &header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let names: Vec<String> = asked
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    let found = configuration.and_then(|configuration| rule(configuration, origin, method, &names));
    let Some(rule) = found else { return response };
    *response.status_mut() = StatusCode::OK;
    let answer = response.headers_mut();
    allow(answer, rule, origin);
    if !names.is_empty() {
        set(answer, header::ACCESS_CONTROL_ALLOW_HEADERS, &names.join(", "));
    }
    response
}

/// Says on an answer what the page may see of it.
pub(super) fn decorate(
    configuration: &CORSConfiguration,
    origin: &str,
    method: &Method,
    answer: &mut HeaderMap,
) {
    if let Some(rule) = rule(configuration, origin, method.as_str(), &[]) {
        allow(answer, rule, origin);
    }
}

fn allow(answer: &mut HeaderMap, rule: &CORSRule, origin: &str) {
    let anybody = rule.allowed_origins.iter().any(|pattern| pattern == "*");
    set(answer, header::ACCESS_CONTROL_ALLOW_ORIGIN, if anybody { "*" } else { origin });
    if !anybody {
        set(answer, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    }
    set(answer, header::ACCESS_CONTROL_ALLOW_METHODS, &rule.allowed_methods.join(", "));
    if let Some(exposed) = rule.expose_headers.as_ref().filter(|exposed| !exposed.is_empty()) {
        set(answer, header::ACCESS_CONTROL_EXPOSE_HEADERS, &exposed.join(", "));
    }
    if let Some(age) = rule.max_age_seconds {
        set(answer, header::ACCESS_CONTROL_MAX_AGE, &age.to_string());
    }
    set(answer, header::VARY, "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
}
