//! `CopyObject` and `UploadPartCopy`.

use futures::StreamExt as _;
use s3s::{
    S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETagCondition,
        Timestamp, UploadPartCopyInput, UploadPartCopyOutput,
    },
    s3_error,
};

use super::{
    Door,
    attributes::{self, Attributes, headers},
    body::{self, Claims},
    error, locks, multipart, read, timestamp, write,
};
use crate::{
    meta::{ObjectRow, PartRow},
    objects::{NewObject, Opened},
};

impl Door {
    async fn open_source(
        &self,
        account: Option<&str>,
        source: &CopySource,
        conditions: [Option<&ETagCondition>; 2],
        times: [Option<&Timestamp>; 2],
    ) -> S3Result<(Opened, ObjectRow, Attributes)> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(s3_error!(NotImplemented, "Access points are not implemented"));
        };
        self.may(account, "GetObject", Some(bucket), Some(key)).await?;
        let opened = self.open(bucket, key, version_id.as_deref()).await?;
        let conditions = read::Conditions {
            if_match: conditions[0],
            if_none_match: conditions[1],
            if_modified_since: times[0],
            if_unmodified_since: times[1],
        };
        let modified = opened.0.found.row.modified;
        read::check(&conditions, &opened.1.etag, modified, S3ErrorCode::PreconditionFailed)?;
        Ok(opened)
    }

    pub(super) async fn copy(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let account = self.account(&request).ok();
        let input = request.input;
        let customer_key =
            input.sse_customer_algorithm.is_some() || input.copy_source_sse_customer_algorithm.is_some();
        write::encryption(input.server_side_encryption.as_ref(), customer_key)?;
        let (opened, row, old) = self
            .open_source(
                account.as_deref(),
                &input.copy_source,
                [input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref()],
                [
                    input.copy_source_if_modified_since.as_ref(),
                    input.copy_source_if_unmodified_since.as_ref(),
                ],
            )
            .await?;
        let replace = |directive: Option<&str>| match directive {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(_) => Err(s3_error!(InvalidArgument, "Unknown directive")),
        };
        let new_headers = replace(input.metadata_directive.as_ref().map(|directive| directive.as_str()))?;
        let new_tags = replace(input.tagging_directive.as_ref().map(|directive| directive.as_str()))?;
        if let CopySource::Bucket { bucket, key, version_id: None } = &input.copy_source
            && (**bucket == *input.bucket && **key == *input.key)
            && !new_headers
            && input.storage_class.is_none()
            && input.website_redirect_location.is_none()
        {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing \
                 the object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let mut attributes = if new_headers { headers!(input) } else { old.clone() };
        attributes.checksums.clone_from(&old.checksums);
        attributes.checksum_type.clone_from(&old.checksum_type);
        let tags = if new_tags {
            attributes::tags(input.tagging.as_deref())?
        } else {
            opened.found.row.tags.clone()
        };
        let bucket = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let (retention, legal_hold) = locks::of_write(
            &bucket,
            input.object_lock_mode.as_ref(),
            input.object_lock_retain_until_date.as_ref(),
            input.object_lock_legal_hold_status.as_ref(),
        )?;
        let new = NewObject {
            etag: row.etag.clone(),
            parts: row.parts,
            attributes: attributes.encode()?,
            tags,
            retention,
            legal_hold,
        };
        let condition = crate::meta::Condition::Whatever;
        let copied = self.objects.copy(&opened, &input.bucket, &input.key, new, condition).await;
        let version = copied.map_err(error::write)?;
        let checksum = attributes.checksum();
        let source_version = write::shown(opened.found.version);
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                checksum_crc32: checksum.checksum_crc32,
                checksum_crc32c: checksum.checksum_crc32c,
                checksum_crc64nvme: checksum.checksum_crc64nvme,
                checksum_sha1: checksum.checksum_sha1,
                checksum_sha256: checksum.checksum_sha256,
                checksum_type: checksum.checksum_type,
                e_tag: Some(write::etag(&row.etag)),
                last_modified: Some(timestamp(runtime::unix_now().0)),
            }),
            copy_source_version_id: source_version,
            version_id: write::shown(version),
            server_side_encryption: input.server_side_encryption,
            ..Default::default()
        }))
    }

    pub(super) async fn copy_part(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let account = self.account(&request).ok();
        let input = request.input;
        let customer_key =
            input.sse_customer_algorithm.is_some() || input.copy_source_sse_customer_algorithm.is_some();
        write::encryption(None, customer_key)?;
        let number = multipart::part_number(input.part_number)?;
        let (opened, row, _) = self
            .open_source(
                account.as_deref(),
                &input.copy_source,
                [input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref()],
                [
                    input.copy_source_if_modified_since.as_ref(),
                    input.copy_source_if_unmodified_since.as_ref(),
                ],
            )
            .await?;
        let upload = self.objects.upload(&input.bucket, &input.key, &input.upload_id).await;
        let upload = upload.map_err(error::write)?;
        let range = match input.copy_source_range.as_deref() {
            None => 0..row.bytes,
            Some(text) => {
                let invalid = || {
                    s3_error!(
                        InvalidArgument,
                        "The x-amz-copy-source-range value must be of the form bytes=first-last"
                    )
                };
                let (first, last) =
                    text.strip_prefix("bytes=").and_then(|r| r.split_once('-')).ok_or_else(invalid)?;
                let first: u64 = first.parse().map_err(|_| invalid())?;
                let last: u64 = last.parse().map_err(|_| invalid())?;
                if last < first || last >= row.bytes {
                    return Err(s3_error!(InvalidArgument, "Range specified is not valid for source object"));
                }
                first..last + 1
            }
        };
        write::length_within(i64::try_from(range.end - range.start).ok())?;
        let bytes = self.objects.read(&opened, range).map(|piece| piece.map_err(Into::into));
        let algorithm = Attributes::decode(&upload.attributes)?.checksum_algorithm;
        let claims = Claims { algorithm, ..Default::default() };
        let (bytes, outcome) = body::inspect_plain(bytes.boxed(), claims)?;
        let written = self.objects.write_part(&upload, bytes).await.map_err(error::write)?;
        let digests = outcome.take()?;
        let part = multipart::part_row(&digests);
        let place = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let entered: PartRow = part;
        self.objects.put_part(place, number, written, entered).await.map_err(error::write)?;
        let checksum = digests.checksum;
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                checksum_crc32: checksum.checksum_crc32,
                checksum_crc32c: checksum.checksum_crc32c,
                checksum_crc64nvme: checksum.checksum_crc64nvme,
                checksum_sha1: checksum.checksum_sha1,
                checksum_sha256: checksum.checksum_sha256,
                e_tag: Some(write::etag(&hex::encode(digests.md5))),
                last_modified: Some(timestamp(runtime::unix_now().0)),
            }),
            copy_source_version_id: write::shown(opened.found.version),
            ..Default::default()
        }))
    }
}
