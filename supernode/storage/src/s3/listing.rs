//! `ListObjects`, `ListObjectsV2`, `ListObjectVersions`, `ListMultipartUploads`.

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        CommonPrefix, DeleteMarkerEntry, EncodingType, ListMultipartUploadsInput, ListMultipartUploadsOutput,
        ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput,
        ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, Object, ObjectStorageClass, ObjectVersion,
        ObjectVersionStorageClass, StorageClass,
    },
    s3_error,
};

use super::{Door, error, owner, timestamp, write};
use crate::meta::{Listed, ListingRequest};

/// What S3 lists at a time, however much is asked for.
const PAGE: i32 = 1000;

/// How many a page may have.
fn limit(asked: Option<i32>) -> S3Result<(i32, usize)> {
    let asked = asked.unwrap_or(PAGE);
    let limit = usize::try_from(asked.min(PAGE)).map_err(|_| {
        s3_error!(InvalidArgument, "Argument max-keys must be an integer between 0 and 2147483647")
    })?;
    Ok((asked.min(PAGE), limit))
}

/// How names are written into an answer.
#[derive(Clone, Copy)]
struct Names {
    encoded: bool,
}

impl Names {
    fn new(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self { encoded: false }),
            Some("url") => Ok(Self { encoded: true }),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    fn write(self, name: &str) -> String {
        if !self.encoded {
            return name.to_owned();
        }
        let mut out = String::with_capacity(name.len());
        for byte in name.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                    out.push(char::from(byte));
                }
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }

    fn some(self, name: Option<String>) -> Option<String> {
        name.map(|name| self.write(&name))
    }

    fn prefixes(self, prefixes: Vec<String>) -> Option<Vec<CommonPrefix>> {
        let written = prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(self.write(&prefix)) });
        Some(written.collect())
    }
}

fn object(listed: Listed, names: Names, account: Option<&str>) -> Object {
    let row = listed.row.object;
    Object {
        key: Some(names.write(&listed.key)),
        e_tag: row.as_ref().map(|row| write::etag(&row.etag)),
        size: row.and_then(|row| i64::try_from(row.bytes).ok()),
        last_modified: Some(timestamp(listed.row.modified)),
        owner: account.map(owner),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    }
}

impl Door {
    pub(super) async fn list_v1(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let names = Names::new(input.encoding_type.as_ref())?;
        let (max_keys, limit) = limit(input.max_keys)?;
        let bucket = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let listing = ListingRequest {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone().filter(|marker| !marker.is_empty()),
            after_within: None,
            limit,
        };
        let page = self.objects.meta().list(&input.bucket, listing).await.map_err(error::meta)?;
        // S3 says it only where folding makes it differ from the last key.
        let folded = input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty());
        let next = page.next.as_ref().filter(|_| folded).map(|next| next.0.clone());
        let contents = page.entries.into_iter().map(|listed| object(listed, names, Some(&bucket.account)));
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(names.write(&input.prefix.unwrap_or_default())),
            marker: Some(names.write(&input.marker.unwrap_or_default())),
            max_keys: Some(max_keys),
            is_truncated: Some(page.next.is_some()),
            contents: Some(contents.collect()),
            common_prefixes: names.prefixes(page.prefixes),
            delimiter: names.some(input.delimiter),
            next_marker: names.some(next),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    pub(super) async fn list_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let names = Names::new(input.encoding_type.as_ref())?;
        let (max_keys, limit) = limit(input.max_keys)?;
        let bucket = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let token = input.continuation_token.as_deref().map(token_read).transpose()?;
        let listing = ListingRequest {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: token.or_else(|| input.start_after.clone().filter(|after| !after.is_empty())),
            after_within: None,
            limit,
        };
        let page = self.objects.meta().list(&input.bucket, listing).await.map_err(error::meta)?;
        let account = (input.fetch_owner == Some(true)).then_some(bucket.account.as_str());
        let count = page.entries.len() + page.prefixes.len();
        let contents = page.entries.into_iter().map(|listed| object(listed, names, account));
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(names.write(&input.prefix.unwrap_or_default())),
            max_keys: Some(max_keys),
            key_count: i32::try_from(count).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|(key, _)| token_written(&key)),
            continuation_token: input.continuation_token,
            contents: Some(contents.collect()),
            common_prefixes: names.prefixes(page.prefixes),
            delimiter: names.some(input.delimiter),
            start_after: names.some(input.start_after),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    pub(super) async fn list_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = request.input;
        let names = Names::new(input.encoding_type.as_ref())?;
        let (max_keys, limit) = limit(input.max_keys)?;
        let bucket = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        if input.version_id_marker.is_some() && input.key_marker.is_none() {
            return Err(s3_error!(
                InvalidArgument,
                "A version-id marker cannot be specified without a key marker."
            ));
        }
        let listing = ListingRequest {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.key_marker.clone().filter(|marker| !marker.is_empty()),
            after_within: input.version_id_marker.clone().filter(|marker| !marker.is_empty()),
            limit,
        };
        let page = self.objects.meta().list_versions(&input.bucket, listing).await.map_err(error::meta)?;
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        for listed in page.entries {
            let key = Some(names.write(&listed.key));
            let version_id = Some(listed.version.to_string());
            let (is_latest, owner) = (Some(listed.newest), Some(owner(&bucket.account)));
            let last_modified = Some(timestamp(listed.row.modified));
            match listed.row.object {
                Some(row) => versions.push(ObjectVersion {
                    e_tag: Some(write::etag(&row.etag)),
                    is_latest,
                    key,
                    last_modified,
                    owner,
                    size: i64::try_from(row.bytes).ok(),
                    storage_class: Some(ObjectVersionStorageClass::from_static(
                        ObjectVersionStorageClass::STANDARD,
                    )),
                    version_id,
                    ..Default::default()
                }),
                None => {
                    markers.push(DeleteMarkerEntry { is_latest, key, last_modified, owner, version_id });
                }
            }
        }
        let (next_key, next_version) = page.next.clone().unzip();
        Ok(S3Response::new(ListObjectVersionsOutput {
            common_prefixes: names.prefixes(page.prefixes),
            delete_markers: Some(markers),
            delimiter: names.some(input.delimiter),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            key_marker: Some(names.write(&input.key_marker.unwrap_or_default())),
            max_keys: Some(max_keys),
            name: Some(input.bucket),
            next_key_marker: names.some(next_key),
            next_version_id_marker: next_version.flatten(),
            prefix: Some(names.write(&input.prefix.unwrap_or_default())),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            versions: Some(versions),
            ..Default::default()
        }))
    }

    pub(super) async fn list_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        let names = Names::new(input.encoding_type.as_ref())?;
        let (max_uploads, limit) = limit(input.max_uploads)?;
        let bucket = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let listing = ListingRequest {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.key_marker.clone().filter(|marker| !marker.is_empty()),
            after_within: input.upload_id_marker.clone().filter(|marker| !marker.is_empty()),
            limit,
        };
        let page = self.objects.meta().list_uploads(&input.bucket, listing).await.map_err(error::meta)?;
        let uploads = page.entries.into_iter().map(|(key, upload, row)| MultipartUpload {
            initiated: Some(timestamp(row.begun)),
            key: Some(names.write(&key)),
            owner: Some(owner(&bucket.account)),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(upload),
            ..Default::default()
        });
        let (next_key, next_upload) = page.next.clone().unzip();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            common_prefixes: names.prefixes(page.prefixes),
            delimiter: names.some(input.delimiter),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            key_marker: Some(names.write(&input.key_marker.unwrap_or_default())),
            max_uploads: Some(max_uploads),
            next_key_marker: names.some(next_key),
            next_upload_id_marker: next_upload.flatten(),
            prefix: names.some(input.prefix),
            upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
            uploads: Some(uploads.collect()),
            ..Default::default()
        }))
    }
}

/// A continuation token is the last name, so that any node can go on.
fn token_written(name: &str) -> String {
    multibase::Base::Base64Url.encode(name)
}

fn token_read(token: &str) -> S3Result<String> {
    let name = multibase::Base::Base64Url.decode(token).ok().and_then(|name| String::from_utf8(name).ok());
    name.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}
