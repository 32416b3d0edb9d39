//! What an operator can set about a bucket for blobs.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use object_store::{
    BackoffConfig, ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use serde::{Deserialize, Deserializer, de::Error as _};

/// Until a connection is there.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// One request, with its bytes: 8 MiB at a megabit a second take as long.
pub(super) const REQUEST_WITHIN: Duration = Duration::from_secs(70);
/// A request that failed is sent again for so long, and not more often than so.
const RETRY_FOR: Duration = Duration::from_secs(10);
const RETRIES: usize = 5;

/// The `[storage.bucket]` section: where blobs lie instead of in the data directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// The bucket, on a server that speaks S3. It has to exist.
    pub name: String,
    /// The server, as a URL. Without this line it is AWS's of the region.
    #[serde(default, deserialize_with = "endpoint")]
    pub endpoint: Option<String>,
    /// Where in the bucket. Each node needs a prefix of its own.
    #[serde(default, deserialize_with = "prefix")]
    pub prefix: String,
    /// What the server calls its region.
    #[serde(default = "region")]
    pub region: String,
    /// A file with the access key, as JSON: `access_key_id`, `secret_access_key` and perhaps `session_token`. Without this
    /// line it is in the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    pub key_file: Option<PathBuf>,
    /// How much is read back and verified in an hour, in MiB: many providers charge for it. None where this is 0.
    #[serde(default = "scrub_mib_per_hour")]
    pub scrub_mib_per_hour: u64,
}

/// An access key for the bucket.
#[derive(Deserialize)]
struct AccessKey {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl BucketConfig {
    /// The client. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// Says which line or variable is wrong or missing.
    pub(in crate::store) fn client(&self) -> anyhow::Result<AmazonS3> {
        let key = self.access_key()?;
        let retry = RetryConfig {
            backoff: BackoffConfig { max_backoff: Duration::from_secs(3), ..BackoffConfig::default() },
            max_retries: RETRIES,
            retry_timeout: RETRY_FOR,
        };
        let options = ClientOptions::new()
            .with_connect_timeout(CONNECT_WITHIN)
            .with_timeout(REQUEST_WITHIN)
            .with_allow_http(
                self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")),
            );
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.name)
            .with_region(&self.region)
            .with_access_key_id(key.access_key_id)
            .with_secret_access_key(key.secret_access_key)
            .with_retry(retry)
            .with_client_options(options)
            // Which not all servers have; one by one is what all have.
            .with_disable_bulk_delete(true);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(token) = key.session_token {
            builder = builder.with_token(token);
        }
        builder.build().context("storage.bucket")
    }

    fn access_key(&self) -> anyhow::Result<AccessKey> {
        if let Some(path) = &self.key_file {
            let text = runtime::read_secret_file(path).context("storage.bucket.key_file")?;
            return serde_json::from_str(&text).with_context(|| {
                format!(
                    "storage.bucket.key_file: {} is no JSON with access_key_id and secret_access_key",
                    path.display()
                )
            });
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(AccessKey {
                access_key_id,
                secret_access_key,
                session_token: variable("AWS_SESSION_TOKEN"),
            }),
            _ => bail!(
                "there is no access key for the bucket {:?}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file \
                 in storage.bucket.key_file",
                self.name
            ),
        }
    }
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = url::Url::parse(&text).ok();
    let lawful = parsed.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if !lawful {
        return Err(D::Error::custom(format!("{text:?} is no endpoint; \"https://s3.example.com\" is one")));
    }
    Ok(Some(text.trim_end_matches('/').to_owned()))
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Path::parse(&text)
        .map_err(|error| D::Error::custom(format!("{text:?} is no prefix; \"nodes/one\" is one: {error}")))?;
    Ok(text)
}

fn region() -> String {
    "us-east-1".to_owned()
}

/// A gigabyte an hour: some two dollars a day where reading back is charged for.
const fn scrub_mib_per_hour() -> u64 {
    1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_bucket_is_refused_and_the_reason_said() {
        let check = |text: &str, expect: &str| {
            let said = toml_like(text).map(drop).unwrap_err();
            assert!(said.contains(expect), "{text}: {said}");
        };
        check(r#"{}"#, "name");
        check(r#"{"name":"a","endpoint":"s3.example.com"}"#, "https://s3.example.com");
        check(r#"{"name":"a","endpoint":"https://key:secret@s3.example.com"}"#, "no endpoint");
        check(r#"{"name":"a","prefix":"a//b"}"#, "no prefix");
        check(r#"{"name":"a","secret":"b"}"#, "unknown field");
        assert_eq!(
            toml_like(r#"{"name":"a","endpoint":"http://h:1/"}"#).unwrap().endpoint.unwrap(),
            "http://h:1"
        );
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        let mut config = toml_like(r#"{"name":"a"}"#).unwrap();
        config.key_file = Some(path.clone());
        let said = |config: &BucketConfig| format!("{:#}", config.access_key().map(drop).unwrap_err());
        assert!(said(&config).contains("no key at"), "{}", said(&config));
        std::fs::write(&path, r#"{"access_key_id":"a","secret_access_key":"b"}"#).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(said(&config).contains("chmod 600"), "{}", said(&config));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(config.access_key().unwrap().access_key_id, "a");
        std::fs::write(&path, "a:b").unwrap();
        assert!(said(&config).contains("secret_access_key"), "{}", said(&config));
        assert!(!said(&config).contains("a:b"));
    }

    fn toml_like(text: &str) -> Result<BucketConfig, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}
