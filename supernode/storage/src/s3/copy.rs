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
use shared::storage::seal::Sealing;

use super::{
    Door,
    access::{Caller, Wanted},
    acl,
    attributes::{self, Attributes, headers},
    body::{self, Claims},
    customer::{self, Said},
    error, locks, multipart, read, timestamp, write,
};
use crate::{
    meta::{ObjectRow, PartRow},
    objects::{NewObject, Opened},
};

impl Door {
    async fn open_source(
        &self,
        caller: &Caller,
        source: &CopySource,
        customer: Option<&Said>,
        conditions: [Option<&ETagCondition>; 2],
        times: [Option<&Timestamp>; 2],
    ) -> S3Result<(Opened, ObjectRow, Attributes)> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(s3_error!(NotImplemented, "Access points are not implemented"));
        };
        self.may(caller, &Wanted::object("GetObject", bucket, key).version(version_id.as_deref())).await?;
        let mut opened = self.open(bucket, key, version_id.as_deref()).await?;
        customer::check(&opened.2, customer)?;
        if let Some(said) = customer {
            opened.0.unlock(&said.key);
        }
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
        let caller = self.caller(request.credentials.as_ref())?;
        let input = request.input;
        let insists = customer::insists(input.server_side_encryption.as_ref())?;
        let customer = customer::said_key!(input)?;
        let sealing = self.objects.sealing(insists || customer.is_some());
        let source_key = customer::said_source_key!(input)?;
        let (opened, row, old) = self
            .open_source(
                &caller,
                &input.copy_source,
                source_key.as_ref(),
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
            && customer.is_none()
            && source_key.is_none()
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
        attributes.customer = customer.as_ref().map(Said::mark);
        let algorithm = input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_lowercase());
        let known = algorithm.as_ref().is_none_or(|algorithm| old.checksums.contains_key(algorithm));
        // What is sealed otherwise, or wants another checksum, has to go through our hands.
        let unsealed = insists && opened.sealing() == Sealing::Plain;
        let rewritten = if customer.is_some() || source_key.is_some() || !known || unsealed {
            write::length_within(i64::try_from(row.bytes).ok())?;
            let bytes = self.objects.read(&opened, 0..row.bytes).map(|piece| piece.map_err(Into::into));
            let (bytes, outcome) =
                body::inspect_plain(bytes.boxed(), Claims { algorithm, ..Default::default() })?;
            let key = customer.as_ref().map(|said| &said.key);
            let written = self.objects.write(bytes, sealing, key).await.map_err(error::write)?;
            let digests = outcome.take()?;
            attributes.set_checksum(digests.checksum, "FULL_OBJECT");
            Some((written, hex::encode(customer::etag(customer.as_ref(), digests.md5))))
        } else {
            None
        };
        let (written, etag, parts) = match rewritten {
            Some((written, etag)) => (Some(written), etag, None),
            None => (None, row.etag.clone(), row.parts),
        };
        let new = NewObject {
            etag: etag.clone(),
            parts,
            attributes: attributes.encode()?,
            tags,
            retention,
            legal_hold,
            acl: acl::of_write(&bucket, acl::asked_acl!(input))?,
        };
        let condition = crate::meta::Condition::Whatever;
        let copied = match written {
            Some(written) => self.objects.put(&input.bucket, &input.key, written, new, condition).await,
            None => self.objects.copy(&opened, &input.bucket, &input.key, new, condition).await,
        };
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
                e_tag: Some(write::etag(&etag)),
                last_modified: Some(timestamp(runtime::unix_now().0)),
            }),
            copy_source_version_id: source_version,
            version_id: write::shown(version),
            server_side_encryption: input.server_side_encryption,
            sse_customer_algorithm: Said::algorithm(customer.as_ref()),
            sse_customer_key_md5: Said::md5(customer.as_ref()),
            ..Default::default()
        }))
    }

    pub(super) async fn copy_part(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let caller = self.caller(request.credentials.as_ref())?;
        let input = request.input;
        let customer = customer::said_key!(input)?;
        let source_key = customer::said_source_key!(input)?;
        let number = multipart::part_number(input.part_number)?;
        let (opened, row, _) = self
            .open_source(
                &caller,
                &input.copy_source,
                source_key.as_ref(),
                [input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref()],
                [
                    input.copy_source_if_modified_since.as_ref(),
                    input.copy_source_if_unmodified_since.as_ref(),
                ],
            )
            .await?;
        let upload = self.objects.upload(&input.bucket, &input.key, &input.upload_id).await;
        let mut upload = upload.map_err(error::write)?;
        let begun = Attributes::decode(&upload.attributes)?;
        customer::check(&begun, customer.as_ref())?;
        if let Some(said) = &customer {
            upload.unlock(&said.key);
        }
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
        let claims = Claims { algorithm: begun.checksum_algorithm, ..Default::default() };
        let (bytes, outcome) = body::inspect_plain(bytes.boxed(), claims)?;
        let written = self.objects.write_part(&upload, bytes).await.map_err(error::write)?;
        let mut digests = outcome.take()?;
        digests.md5 = customer::etag(customer.as_ref(), digests.md5);
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
            sse_customer_algorithm: Said::algorithm(customer.as_ref()),
            sse_customer_key_md5: Said::md5(customer.as_ref()),
            ..Default::default()
        }))
    }
}
