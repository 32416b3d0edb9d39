//! `GetObject`, `HeadObject`, `GetObjectAttributes`.

use std::{
    ops::Range,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        self, Checksum, ETagCondition, GetObjectAttributesInput, GetObjectAttributesOutput,
        GetObjectAttributesParts, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
        ObjectLockLegalHoldStatus, ObjectLockMode, ObjectPart, StreamingBlob, Timestamp,
    },
    s3_error,
    stream::{ByteStream, RemainingLength},
};

use super::{
    Door,
    attributes::Attributes,
    customer::{self, Said},
    error, timestamp, unix, version, write,
};
use crate::{
    meta::{LockMode, MetaError, ObjectRow},
    objects::{Opened, WriteError},
    store,
};

/// The conditions of a read (RFC 9110, 13.2.2).
pub(super) struct Conditions<'a> {
    pub(super) if_match: Option<&'a ETagCondition>,
    pub(super) if_none_match: Option<&'a ETagCondition>,
    pub(super) if_modified_since: Option<&'a Timestamp>,
    pub(super) if_unmodified_since: Option<&'a Timestamp>,
}

/// Whether an object is as a reader wants it. `not_modified` is what answers one who has it already.
pub(super) fn check(
    conditions: &Conditions<'_>,
    etag: &str,
    modified: u64,
    not_modified: S3ErrorCode,
) -> S3Result<()> {
    let matches = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(other) => other.value() == etag,
    };
    let failed =
        || s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold");
    match (conditions.if_match, conditions.if_unmodified_since) {
        (Some(condition), _) if !matches(condition) => return Err(failed()),
        (None, Some(since)) if modified > unix(since) => return Err(failed()),
        _ => {}
    }
    let had = match (conditions.if_none_match, conditions.if_modified_since) {
        (Some(condition), _) => matches(condition),
        (None, Some(since)) => modified <= unix(since),
        (None, None) => false,
    };
    if had { Err(S3Error::new(not_modified)) } else { Ok(()) }
}

/// A body whose length is known, where s3s wants one that may be shared between threads.
struct Plain {
    bytes: Mutex<store::ByteStream>,
    left: u64,
}

impl Stream for Plain {
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = {
            let bytes = self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
            bytes.as_mut().poll_next(context)
        };
        next.map(|next| {
            next.map(|piece| {
                let piece =
                    piece.inspect_err(|error| tracing::warn!(%error, "an object could not be read"))?;
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(piece)
            })
        })
    }
}

impl ByteStream for Plain {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}

/// What part of an object is asked for.
pub(super) struct Selection {
    range: Range<u64>,
    /// Said where it is not the whole.
    content_range: Option<String>,
    parts_count: Option<i32>,
}

fn select(opened: &Opened, range: Option<dto::Range>, part: Option<i32>, bytes: u64) -> S3Result<Selection> {
    let unsatisfiable = || {
        let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
        let mut headers = http::HeaderMap::new();
        if let Ok(value) = format!("bytes */{bytes}").parse() {
            headers.insert(http::header::CONTENT_RANGE, value);
        }
        error.set_headers(headers);
        error
    };
    let (range, parts_count) = match (range, part) {
        (Some(_), Some(_)) => {
            return Err(s3_error!(InvalidRequest, "Cannot specify both Range header and partNumber"));
        }
        (None, None) => return Ok(Selection { range: 0..bytes, content_range: None, parts_count: None }),
        (Some(range), None) => (range.check(bytes).map_err(|_| unsatisfiable())?, None),
        (None, Some(part)) => {
            let uploaded_in_parts = opened.found.row.object.as_ref().and_then(|object| object.parts);
            let number = usize::try_from(part).ok().and_then(|part| part.checked_sub(1));
            let number = number.ok_or_else(|| s3_error!(InvalidArgument, "Part numbers begin with 1"))?;
            let mut start = 0;
            let mut lengths = opened.part_bytes();
            for length in lengths.by_ref().take(number) {
                start += length;
            }
            let length = lengths.next();
            let length = length.ok_or_else(|| {
                let status = http::StatusCode::RANGE_NOT_SATISFIABLE;
                error::custom("InvalidPartNumber", status, "The requested partnumber is not satisfiable")
            })?;
            (start..start + length, uploaded_in_parts.map(i32::from))
        }
    };
    let content_range =
        (!range.is_empty()).then(|| format!("bytes {}-{}/{bytes}", range.start, range.end - 1));
    Ok(Selection { range, content_range, parts_count })
}

impl Door {
    /// Opens an object, and says of a deleted one what S3 says.
    pub(super) async fn open(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> S3Result<(Opened, ObjectRow, Attributes)> {
        let version = version(version_id)?;
        let opened = self.objects.open(bucket, key, version).await.map_err(|error| match error {
            WriteError::Meta(MetaError::DeleteMarker { version: marker }) => {
                let code =
                    if version.is_some() { S3ErrorCode::MethodNotAllowed } else { S3ErrorCode::NoSuchKey };
                let mut error = S3Error::with_message(code, "The object was deleted");
                let mut headers = http::HeaderMap::new();
                headers.insert("x-amz-delete-marker", http::HeaderValue::from_static("true"));
                if let Ok(value) = marker.to_string().parse() {
                    headers.insert("x-amz-version-id", value);
                }
                error.set_headers(headers);
                error
            }
            error => error::write(error),
        })?;
        let row = opened.found.row.object.clone().ok_or_else(|| s3_error!(NoSuchKey))?;
        let attributes = Attributes::decode(&opened.attributes)?;
        Ok((opened, row, attributes))
    }

    pub(super) async fn get(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let head = HeadObjectInput {
            bucket: input.bucket,
            key: input.key,
            version_id: input.version_id,
            range: input.range,
            part_number: input.part_number,
            checksum_mode: input.checksum_mode,
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
            sse_customer_algorithm: input.sse_customer_algorithm,
            sse_customer_key: input.sse_customer_key,
            sse_customer_key_md5: input.sse_customer_key_md5,
            ..Default::default()
        };
        let (head, opened, selection) = self.look(head).await?;
        let body = self.sent(&opened, &selection).await?;
        let partial = head.content_range.is_some();
        let mut response = S3Response::new(GetObjectOutput {
            accept_ranges: head.accept_ranges,
            body: Some(body),
            cache_control: head.cache_control,
            checksum_crc32: head.checksum_crc32,
            checksum_crc32c: head.checksum_crc32c,
            checksum_crc64nvme: head.checksum_crc64nvme,
            checksum_sha1: head.checksum_sha1,
            checksum_sha256: head.checksum_sha256,
            checksum_type: head.checksum_type,
            content_disposition: head.content_disposition,
            content_encoding: head.content_encoding,
            content_language: head.content_language,
            content_length: head.content_length,
            content_range: head.content_range,
            content_type: head.content_type,
            e_tag: head.e_tag,
            expires: head.expires,
            last_modified: head.last_modified,
            metadata: head.metadata,
            object_lock_legal_hold_status: head.object_lock_legal_hold_status,
            object_lock_mode: head.object_lock_mode,
            object_lock_retain_until_date: head.object_lock_retain_until_date,
            parts_count: head.parts_count,
            sse_customer_algorithm: head.sse_customer_algorithm,
            sse_customer_key_md5: head.sse_customer_key_md5,
            storage_class: head.storage_class,
            tag_count: (!opened.found.row.tags.is_empty())
                .then(|| i32::try_from(opened.found.row.tags.len()).unwrap_or(i32::MAX)),
            version_id: head.version_id,
            website_redirect_location: head.website_redirect_location,
            ..Default::default()
        });
        response.status = partial.then_some(http::StatusCode::PARTIAL_CONTENT);
        Ok(response)
    }

    pub(super) async fn head(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let (output, _, _) = self.look(request.input).await?;
        let partial = output.content_range.is_some();
        let mut response = S3Response::new(output);
        response.status = partial.then_some(http::StatusCode::PARTIAL_CONTENT);
        Ok(response)
    }

    /// A selection's bytes, counted as they leave. The first of them are there: what cannot be read is refused in time.
    pub(super) async fn sent(&self, opened: &Opened, selection: &Selection) -> S3Result<StreamingBlob> {
        let left = selection.range.end - selection.range.start;
        let bytes = self.objects.read_begun(opened, selection.range.clone()).await.map_err(error::write)?;
        Ok(StreamingBlob::new(Plain { bytes: Mutex::new(self.meters.sending(bytes)), left }))
    }

    /// An object's head, and what part of it is asked for.
    pub(super) async fn look(
        &self,
        input: HeadObjectInput,
    ) -> S3Result<(HeadObjectOutput, Opened, Selection)> {
        let customer = customer::said_key!(input)?;
        let (mut opened, row, attributes) =
            self.open(&input.bucket, &input.key, input.version_id.as_deref()).await?;
        customer::check(&attributes, customer.as_ref())?;
        if let Some(said) = &customer {
            opened.unlock(&said.key);
        }
        let conditions = Conditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        let version = &opened.found.row;
        check(&conditions, &row.etag, version.modified, S3ErrorCode::NotModified)?;
        let selection = select(&opened, input.range, input.part_number, row.bytes)?;
        // A checksum is of the whole; with a part of it, it would be taken for the part's.
        let whole = selection.content_range.is_none();
        let wanted = whole && input.checksum_mode.as_ref().is_some_and(|mode| mode.as_str() == "ENABLED");
        let checksum = if wanted { attributes.checksum() } else { Checksum::default() };
        let length = selection.range.end - selection.range.start;
        let output = HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: attributes.cache_control.clone(),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            checksum_type: checksum.checksum_type,
            content_disposition: attributes.content_disposition.clone(),
            content_encoding: attributes.content_encoding.clone(),
            content_language: attributes.content_language.clone(),
            content_length: Some(i64::try_from(length).unwrap_or(i64::MAX)),
            content_range: selection.content_range.clone(),
            content_type: Some(
                attributes.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned()),
            ),
            e_tag: Some(write::etag(&row.etag)),
            expires: attributes.expires.map(timestamp),
            last_modified: Some(timestamp(version.modified)),
            metadata: attributes.metadata_map(),
            object_lock_legal_hold_status: version
                .legal_hold
                .then(|| ObjectLockLegalHoldStatus::from_static(ObjectLockLegalHoldStatus::ON)),
            object_lock_mode: version.retention.map(|retention| {
                ObjectLockMode::from_static(match retention.mode {
                    LockMode::Governance => ObjectLockMode::GOVERNANCE,
                    LockMode::Compliance => ObjectLockMode::COMPLIANCE,
                })
            }),
            object_lock_retain_until_date: version.retention.map(|retention| timestamp(retention.until)),
            parts_count: selection.parts_count,
            sse_customer_algorithm: Said::algorithm(customer.as_ref()),
            sse_customer_key_md5: Said::md5(customer.as_ref()),
            storage_class: attributes.storage_class.clone().map(Into::into),
            version_id: write::shown(opened.found.version),
            website_redirect_location: attributes.redirect.clone(),
            ..Default::default()
        };
        Ok((output, opened, selection))
    }

    pub(super) async fn attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let input = request.input;
        let (opened, row, attributes) =
            self.open(&input.bucket, &input.key, input.version_id.as_deref()).await?;
        customer::check(&attributes, customer::said_key!(input)?.as_ref())?;
        // Clients write them into one header, with commas, which s3s leaves as it is.
        let wants = |name: &str| {
            let said = input.object_attributes.iter().flat_map(|wanted| wanted.as_str().split(','));
            said.map(str::trim).any(|wanted| wanted == name)
        };
        let mut output = GetObjectAttributesOutput {
            last_modified: Some(timestamp(opened.found.row.modified)),
            version_id: write::shown(opened.found.version),
            ..Default::default()
        };
        if wants("ETag") {
            output.e_tag = Some(write::etag(&row.etag));
        }
        if wants("ObjectSize") {
            output.object_size = i64::try_from(row.bytes).ok();
        }
        if wants("StorageClass") {
            output.storage_class =
                Some(attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned()).into());
        }
        if wants("Checksum") && !attributes.checksums.is_empty() {
            output.checksum = Some(attributes.checksum());
        }
        if wants("ObjectParts")
            && let Some(parts) = row.parts
        {
            let after = input.part_number_marker.unwrap_or(0).max(0);
            let limit = input.max_parts.unwrap_or(1000).clamp(0, 1000);
            let numbered = (1_i32..).zip(opened.part_bytes());
            let mut page: Vec<_> = numbered
                .filter(|(number, _)| *number > after)
                .take(usize::try_from(limit).unwrap_or(0) + 1)
                .map(|(number, bytes)| ObjectPart {
                    part_number: Some(number),
                    size: i64::try_from(bytes).ok(),
                    ..Default::default()
                })
                .collect();
            let truncated = page.len() > usize::try_from(limit).unwrap_or(0);
            page.truncate(usize::try_from(limit).unwrap_or(0));
            output.object_parts = Some(GetObjectAttributesParts {
                is_truncated: Some(truncated),
                max_parts: Some(limit),
                next_part_number_marker: page.last().and_then(|part| part.part_number),
                part_number_marker: Some(after),
                total_parts_count: Some(i32::from(parts)),
                parts: Some(page),
            });
        }
        Ok(S3Response::new(output))
    }
}
