//! What is kept with an object beside its bytes: its headers, its user metadata, its checksums. Sealed with it.

use std::collections::BTreeMap;

use s3s::{
    S3Result,
    dto::{Checksum, ChecksumType, Metadata, StorageClass},
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::{body, error};

/// What S3 allows user metadata, names and values together.
const MAX_METADATA_BYTES: usize = 2048;
/// What all of it may be, encoded. Headers beyond this no server would take either.
const MAX_BYTES: usize = 12 * 1024;

/// The attributes of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attributes {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    /// In seconds of unix time.
    pub(super) expires: Option<u64>,
    pub(super) redirect: Option<String>,
    pub(super) storage_class: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    /// By the names that headers have for them.
    pub(super) checksums: BTreeMap<String, String>,
    pub(super) checksum_type: Option<String>,
    /// Of an upload in parts: the algorithm it was begun with.
    pub(super) checksum_algorithm: Option<String>,
}

/// The headers that `PutObject`, `CopyObject` and `CreateMultipartUpload` have in common, as attributes.
macro_rules! headers {
    ($input:expr) => {{
        let input = &$input;
        $crate::s3::attributes::Attributes {
            content_type: input.content_type.clone(),
            cache_control: input.cache_control.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: input.content_encoding.as_deref().and_then($crate::s3::attributes::encoding),
            content_language: input.content_language.clone(),
            expires: input.expires.as_ref().map($crate::s3::unix),
            redirect: input.website_redirect_location.clone(),
            storage_class: $crate::s3::attributes::storage_class(input.storage_class.as_ref())?,
            metadata: $crate::s3::attributes::metadata(input.metadata.as_ref())?,
            ..Default::default()
        }
    }};
}
pub(super) use headers;

/// The checksums that a client says of what it sends; several operations carry the same members.
macro_rules! said_checksum {
    ($input:expr) => {
        s3s::dto::Checksum {
            checksum_crc32: $input.checksum_crc32,
            checksum_crc32c: $input.checksum_crc32c,
            checksum_crc64nvme: $input.checksum_crc64nvme,
            checksum_sha1: $input.checksum_sha1,
            checksum_sha256: $input.checksum_sha256,
            checksum_type: None,
        }
    };
}
pub(super) use said_checksum;

/// `aws-chunked` is about the transfer, not about the object.
pub(super) fn encoding(said: &str) -> Option<String> {
    let rest: Vec<_> = said.split(',').map(str::trim).filter(|name| *name != "aws-chunked").collect();
    (!rest.is_empty() && !rest.iter().all(|name| name.is_empty())).then(|| rest.join(","))
}

/// There is one class here; S3's cheaper one is the same.
pub(super) fn storage_class(class: Option<&StorageClass>) -> S3Result<Option<String>> {
    match class.map(StorageClass::as_str) {
        None | Some("STANDARD") => Ok(None),
        Some("REDUCED_REDUNDANCY") => Ok(Some("REDUCED_REDUNDANCY".into())),
        Some(_) => Err(s3_error!(InvalidStorageClass, "The storage class you specified is not valid")),
    }
}

pub(super) fn metadata(given: Option<&Metadata>) -> S3Result<BTreeMap<String, String>> {
    let given = given.into_iter().flatten();
    let metadata: BTreeMap<_, _> = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(s3_error!(
            MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size"
        ));
    }
    Ok(metadata)
}

impl Attributes {
    pub(super) fn encode(&self) -> S3Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self).map_err(|error| s3_error!(error, InternalError))?;
        if bytes.len() > MAX_BYTES {
            return Err(s3_error!(MetadataTooLarge, "Your request header section exceeds the maximum"));
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> S3Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| s3_error!(error, InternalError))
    }

    pub(super) fn set_checksum(&mut self, mut checksum: Checksum, kind: &'static str) {
        for (name, value) in body::fields(&mut checksum) {
            if let Some(value) = value.take() {
                self.checksums.insert(name.to_owned(), value);
                self.checksum_type = Some(kind.to_owned());
            }
        }
    }

    pub(super) fn checksum(&self) -> Checksum {
        let mut checksum = checksum_of(&self.checksums);
        checksum.checksum_type = self.checksum_type.clone().map(ChecksumType::from);
        checksum
    }

    pub(super) fn metadata_map(&self) -> Option<Metadata> {
        let pairs = self.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
        (!self.metadata.is_empty()).then(|| pairs.collect())
    }
}

/// Checksums by their names.
pub(super) fn checksum_of(checksums: &BTreeMap<String, String>) -> Checksum {
    let mut checksum = Checksum::default();
    for (name, slot) in body::fields(&mut checksum) {
        *slot = checksums.get(name).cloned();
    }
    checksum
}

/// The tags of an `x-amz-tagging` header.
pub(super) fn tags(header: Option<&str>) -> S3Result<Vec<(String, String)>> {
    let pairs = url::form_urlencoded::parse(header.unwrap_or_default().as_bytes());
    checked_tags(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

/// Tags within S3's bounds.
pub(super) fn checked_tags(tags: Vec<(String, String)>) -> S3Result<Vec<(String, String)>> {
    if tags.len() > 10 {
        return Err(error::custom(
            "BadRequest",
            http::StatusCode::BAD_REQUEST,
            "Object tags cannot be greater than 10",
        ));
    }
    let mut names = std::collections::BTreeSet::new();
    for (name, value) in &tags {
        if name.is_empty() || name.chars().count() > 128 || value.chars().count() > 256 {
            return Err(s3_error!(InvalidTag, "The tag provided was not a valid tag."));
        }
        if !names.insert(name) {
            return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}
