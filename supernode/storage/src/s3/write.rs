//! `PutObject`, `DeleteObject`, `DeleteObjects`.

use http::Method;
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        Checksum, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        DeletedObject, ETag, ETagCondition, Error, PutObjectInput, PutObjectOutput,
    },
    s3_error,
};

use super::{
    Door,
    access::Wanted,
    acl,
    attributes::{self, headers},
    body::{self, Claims},
    customer::{self, Said},
    error, locks, version,
};
use crate::{meta::Condition, objects::NewObject};

/// What S3 takes in one request.
pub(super) const MAX_PUT_BYTES: i64 = 5 << 30;
/// What `DeleteObjects` takes.
const MAX_DELETES: usize = 1000;

/// The conditions of a write.
pub(super) fn condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::Whatever),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (Some(ETagCondition::Any), None) => Ok(Condition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Etag(vec![etag.value().to_owned()])),
        _ => Err(s3_error!(
            NotImplemented,
            "A header you provided implies functionality that is not implemented"
        )),
    }
}

pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

pub(super) fn length_within(length: Option<i64>) -> S3Result<()> {
    if length.is_some_and(|length| length > MAX_PUT_BYTES) {
        return Err(s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
    }
    Ok(())
}

impl Door {
    pub(super) async fn put(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        if request.method == Method::POST {
            self.may_post(&request).await?;
        }
        let algorithm = body::algorithm(request.input.checksum_algorithm.as_ref(), &request.headers);
        let trailers = request.trailing_headers.take();
        let input = request.input;
        let insists = customer::insists(input.server_side_encryption.as_ref())?;
        let customer = customer::said_key!(input)?;
        let sealing = self.objects.sealing(insists || customer.is_some());
        length_within(input.content_length)?;
        let condition = condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let mut attributes = headers!(input);
        attributes.customer = customer.as_ref().map(Said::mark);
        let tags = attributes::tags(input.tagging.as_deref())?;
        let bucket = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let lock = locks::of_write(
            &bucket,
            input.object_lock_mode.as_ref(),
            input.object_lock_retain_until_date.as_ref(),
            input.object_lock_legal_hold_status.as_ref(),
        )?;
        let acl = acl::of_write(&bucket, acl::asked_acl!(input))?;
        attributes.encode()?;
        // A condition that fails already shall not cost the client its whole upload; it is asked again with the commit.
        if condition == Condition::Absent
            && self.objects.meta().object(&input.bucket, &input.key, None).await.is_ok()
        {
            return Err(error::meta(crate::meta::MetaError::Precondition));
        }
        let claims = Claims {
            content_length: input.content_length,
            content_md5: input.content_md5,
            checksum: attributes::said_checksum!(input),
            algorithm,
            trailers,
        };
        let (bytes, outcome) = body::inspect(input.body, claims)?;
        let key = customer.as_ref().map(|said| &said.key);
        let written = self.objects.write(bytes, sealing, key).await.map_err(error::write)?;
        let digests = outcome.take()?;
        self.meters.received(written.1.plain_bytes);
        attributes.set_checksum(digests.checksum, "FULL_OBJECT");
        let new = NewObject {
            etag: hex::encode(customer::etag(customer.as_ref(), digests.md5)),
            parts: None,
            attributes: attributes.encode()?,
            tags,
            retention: lock.0,
            legal_hold: lock.1,
            acl,
        };
        let tag = etag(&new.etag);
        let written = self.objects.put(&input.bucket, &input.key, written, new, condition).await;
        let version = written.map_err(error::write)?;
        let Checksum {
            checksum_crc32,
            checksum_crc32c,
            checksum_crc64nvme,
            checksum_sha1,
            checksum_sha256,
            checksum_type,
        } = attributes.checksum();
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(tag),
            version_id: shown(version),
            checksum_crc32,
            checksum_crc32c,
            checksum_crc64nvme,
            checksum_sha1,
            checksum_sha256,
            checksum_type,
            server_side_encryption: input.server_side_encryption,
            sse_customer_algorithm: Said::algorithm(customer.as_ref()),
            sse_customer_key_md5: Said::md5(customer.as_ref()),
            ..Default::default()
        }))
    }

    /// Whether a form, which s3s held against its policy, may write its key.
    async fn may_post(&self, request: &S3Request<PutObjectInput>) -> S3Result<()> {
        let PutObjectInput { bucket, key, .. } = &request.input;
        let caller = self.caller(request.credentials.as_ref())?;
        self.may(&caller, &Wanted::object("PostObject", bucket, key)).await?;
        // It stands for the file's name, which s3s does not say.
        if key.contains("${filename}") {
            return Err(s3_error!(
                NotImplemented,
                "A form's key is not made of the file's name here; name it"
            ));
        }
        Ok(())
    }

    pub(super) async fn delete(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
            return Err(s3_error!(NotImplemented, "These conditions are for directory buckets"));
        }
        let version = version(input.version_id.as_deref())?;
        let condition = condition(input.if_match.as_ref(), None)?;
        let bypass = input.bypass_governance_retention == Some(true);
        let now = runtime::unix_now().0;
        let meta = self.objects.meta();
        let deleted = meta.delete_object(&input.bucket, &input.key, version, condition, bypass, now).await;
        let deleted = deleted.map_err(error::meta)?;
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: deleted.marker.then_some(true),
            version_id: deleted.version.map(|version| version.to_string()),
            ..Default::default()
        }))
    }

    pub(super) async fn delete_many(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let caller = self.caller(request.credentials.as_ref())?;
        let caller = &caller;
        let input = request.input;
        if input.delete.objects.is_empty() || input.delete.objects.len() > MAX_DELETES {
            return Err(s3_error!(MalformedXML, "One to 1000 objects can be deleted at a time"));
        }
        self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let bypass = input.bypass_governance_retention == Some(true);
        let quiet = input.delete.quiet == Some(true);
        let now = runtime::unix_now().0;
        // Side by side, so that they share their commits; answered in order.
        let deletions = input.delete.objects.into_iter().map(|object| {
            let bucket = &input.bucket;
            async move {
                let done = async {
                    self.may(caller, &Wanted::object("DeleteObject", bucket, &object.key)).await?;
                    let version = version(object.version_id.as_deref())?;
                    let etag = object.e_tag.clone().map(ETagCondition::ETag);
                    let condition = condition(etag.as_ref(), None)?;
                    let meta = self.objects.meta();
                    let deleted =
                        meta.delete_object(bucket, &object.key, version, condition, bypass, now).await;
                    deleted.map_err(error::meta)
                };
                (done.await, object)
            }
        });
        let mut output = DeleteObjectsOutput::default();
        let (mut gone, mut failed) = (Vec::new(), Vec::new());
        for (done, object) in futures::future::join_all(deletions).await {
            match done {
                Ok(_) if quiet => {}
                Ok(deleted) => {
                    let id = deleted.version.map(|version| version.to_string());
                    gone.push(DeletedObject {
                        key: Some(object.key),
                        delete_marker: deleted.marker.then_some(true),
                        delete_marker_version_id: id.filter(|_| deleted.marker),
                        version_id: object.version_id,
                    });
                }
                Err(error) => failed.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: object.version_id,
                }),
            }
        }
        output.deleted = Some(gone);
        output.errors = Some(failed);
        Ok(S3Response::new(output))
    }
}

/// A version's name where the bucket keeps versions.
pub(super) fn shown(version: Option<crate::meta::VersionId>) -> Option<String> {
    version.map(|version| version.to_string())
}
