//! Uploads in parts.

use s3s::{
    S3Request, S3Response, S3Result,
    crypto::{Checksum as _, Md5},
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
        CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, ListPartsInput, ListPartsOutput, Part,
        StorageClass, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use super::{
    Door, acl,
    attributes::{self, Attributes, headers},
    body::{self, Claims, Digests},
    customer::{self, Said},
    error, locks, owner, timestamp, whole, write,
};
use crate::{
    meta::{MetaError, PartRow},
    objects::NewObject,
};

/// S3's least length of a part that is not the last.
const MIN_PART_BYTES: u64 = 5 << 20;
const MAX_PARTS: u16 = 10_000;

/// A part's number.
pub(super) fn part_number(number: i32) -> S3Result<u16> {
    let number = u16::try_from(number).ok().filter(|number| (1..=MAX_PARTS).contains(number));
    number.ok_or_else(|| {
        s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")
    })
}

/// A part as its body turned out to be; where it lies is filled in when it is entered.
pub(super) fn part_row(digests: &Digests) -> PartRow {
    let mut checksum = digests.checksum.clone();
    let checksums = body::fields(&mut checksum)
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.take()?)))
        .collect();
    PartRow {
        bytes: 0,
        salt: [0; 16],
        segments: Vec::new(),
        md5: digests.md5,
        modified: runtime::unix_now().0,
        checksums,
    }
}

impl Door {
    pub(super) async fn begin_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let insists = customer::insists(input.server_side_encryption.as_ref())?;
        let customer = customer::said_key!(input)?;
        let sealing = self.objects.sealing(insists || customer.is_some());
        let mut attributes = headers!(input);
        attributes.customer = customer.as_ref().map(Said::mark);
        let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
        let asked = whole::asked(input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str), kind)?;
        let (algorithm, kind) = asked.unzip();
        attributes.checksum_algorithm.clone_from(&algorithm);
        attributes.checksum_type = kind.map(str::to_owned);
        let bucket = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let (retention, legal_hold) = locks::of_write(
            &bucket,
            input.object_lock_mode.as_ref(),
            input.object_lock_retain_until_date.as_ref(),
            input.object_lock_legal_hold_status.as_ref(),
        )?;
        let new = NewObject {
            attributes: attributes.encode()?,
            tags: attributes::tags(input.tagging.as_deref())?,
            retention,
            legal_hold,
            acl: acl::of_write(&bucket, acl::asked_acl!(input))?,
            ..Default::default()
        };
        let upload = self.objects.begin_upload(&input.bucket, &input.key, sealing, new).await;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.map_err(error::write)?),
            checksum_algorithm: algorithm.map(ChecksumAlgorithm::from),
            checksum_type: kind.map(ChecksumType::from_static),
            server_side_encryption: input.server_side_encryption,
            sse_customer_algorithm: Said::algorithm(customer.as_ref()),
            sse_customer_key_md5: Said::md5(customer.as_ref()),
            ..Default::default()
        }))
    }

    pub(super) async fn take_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let named = body::algorithm(request.input.checksum_algorithm.as_ref(), &request.headers);
        let trailers = request.trailing_headers.take();
        let input = request.input;
        let customer = customer::said_key!(input)?;
        write::length_within(input.content_length)?;
        let number = part_number(input.part_number)?;
        let upload = self.objects.upload(&input.bucket, &input.key, &input.upload_id).await;
        let mut upload = upload.map_err(error::write)?;
        let begun = Attributes::decode(&upload.attributes)?;
        customer::check(&begun, customer.as_ref())?;
        if let Some(said) = &customer {
            upload.unlock(&said.key);
        }
        let algorithm = whole::of_part(named, begun.checksum_algorithm)?;
        let claims = Claims {
            content_length: input.content_length,
            content_md5: input.content_md5,
            checksum: attributes::said_checksum!(input),
            algorithm,
            trailers,
        };
        let (bytes, outcome) = body::inspect(input.body, claims)?;
        let written = self.objects.write_part(&upload, bytes).await.map_err(error::write)?;
        self.meters.received(written.plain_bytes);
        let mut digests = outcome.take()?;
        digests.md5 = customer::etag(customer.as_ref(), digests.md5);
        let place = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let entered = self.objects.put_part(place, number, written, part_row(&digests)).await;
        entered.map_err(error::write)?;
        let checksum = digests.checksum;
        Ok(S3Response::new(UploadPartOutput {
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            e_tag: Some(write::etag(&hex::encode(digests.md5))),
            sse_customer_algorithm: Said::algorithm(customer.as_ref()),
            sse_customer_key_md5: Said::md5(customer.as_ref()),
            ..Default::default()
        }))
    }

    pub(super) async fn list_parts_of(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let upload = self.objects.upload(&input.bucket, &input.key, &input.upload_id).await;
        let upload = upload.map_err(error::write)?;
        let bucket = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let after = input.part_number_marker.unwrap_or(0);
        let max_parts = input.max_parts.unwrap_or(1000).clamp(0, 1000);
        let limit = usize::try_from(max_parts).unwrap_or(0);
        let marker = u16::try_from(after).unwrap_or(u16::MAX);
        let parts = self.objects.meta().parts(&input.upload_id, marker, limit).await;
        let (parts, more) = parts.map_err(error::meta)?;
        let attributes = Attributes::decode(&upload.attributes)?;
        let last = parts.last().map(|(number, _)| i32::from(*number));
        let parts = parts.into_iter().map(|(number, part)| {
            let checksum = attributes::checksum_of(&part.checksums);
            Part {
                checksum_crc32: checksum.checksum_crc32,
                checksum_crc32c: checksum.checksum_crc32c,
                checksum_crc64nvme: checksum.checksum_crc64nvme,
                checksum_sha1: checksum.checksum_sha1,
                checksum_sha256: checksum.checksum_sha256,
                e_tag: Some(write::etag(&hex::encode(part.md5))),
                last_modified: Some(timestamp(part.modified)),
                part_number: Some(i32::from(number)),
                size: i64::try_from(part.bytes).ok(),
            }
        });
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: attributes.checksum_algorithm.clone().map(ChecksumAlgorithm::from),
            checksum_type: attributes.checksum_type.clone().map(ChecksumType::from),
            is_truncated: Some(more),
            key: Some(input.key),
            max_parts: Some(max_parts),
            next_part_number_marker: last.or(Some(0)),
            owner: Some(owner(&bucket.account)),
            part_number_marker: Some(after),
            parts: Some(parts.collect()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(input.upload_id),
            ..Default::default()
        }))
    }

    pub(super) async fn complete(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let mut input = request.input;
        let condition = write::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let upload = self.objects.upload(&input.bucket, &input.key, &input.upload_id).await;
        let upload = upload.map_err(error::write)?;
        let named = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
        if named.is_empty() || named.len() > usize::from(MAX_PARTS) {
            return Err(s3_error!(MalformedXML, "The upload must have 1 to 10000 parts"));
        }
        let uploaded = self.objects.meta().parts(&input.upload_id, 0, usize::from(MAX_PARTS)).await;
        let uploaded = uploaded.map_err(error::meta)?.0;
        let parts = chosen(named, uploaded)?;
        let total: u64 = parts.iter().map(|(_, part)| part.bytes).sum();
        if input.mpu_object_size.is_some_and(|said| u64::try_from(said) != Ok(total)) {
            return Err(s3_error!(InvalidRequest, "The provided x-amz-mp-object-size does not match"));
        }
        let mut attributes = Attributes::decode(&upload.attributes)?;
        let kind = attributes.checksum_type.take();
        if input.checksum_type.as_ref().is_some_and(|said| Some(said.as_str()) != kind.as_deref()) {
            return Err(s3_error!(
                InvalidRequest,
                "The checksum type of the upload is another than the one that completes it"
            ));
        }
        if let (Some(algorithm), Some(kind)) = (attributes.checksum_algorithm.take(), kind) {
            let mut said = attributes::said_checksum!(input);
            if let Some(checksum) = whole::of_parts(&algorithm, &kind, &parts)? {
                whole::agree(&mut said, &algorithm, &checksum)?;
                attributes.checksums.insert(algorithm.to_lowercase(), checksum);
                attributes.checksum_type = Some(kind);
            }
        }
        let mut md5 = Md5::new();
        for (_, part) in &parts {
            md5.update(&part.md5);
        }
        let md5: [u8; 16] = md5.finalize();
        let count = u16::try_from(parts.len()).unwrap_or(MAX_PARTS);
        let new = NewObject {
            etag: format!("{}-{count}", hex::encode(md5)),
            parts: Some(count),
            attributes: attributes.encode()?,
            tags: upload.row.tags.clone(),
            retention: upload.row.retention,
            legal_hold: upload.row.legal_hold,
            acl: upload.row.acl.clone(),
        };
        let tag = write::etag(&new.etag);
        let place = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let completed = self.objects.complete_upload(place, &upload, &parts, new, condition).await;
        let version = completed.map_err(error::write)?;
        let checksum = attributes.checksum();
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(tag),
            version_id: write::shown(version),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            checksum_type: checksum.checksum_type,
            ..Default::default()
        }))
    }

    pub(super) async fn abort(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        let meta = self.objects.meta();
        meta.abort_upload(&input.bucket, &input.key, &input.upload_id).await.map_err(error::meta)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

/// The parts that a client names, in its order, each as it was uploaded.
fn chosen(named: Vec<CompletedPart>, uploaded: Vec<(u16, PartRow)>) -> S3Result<Vec<(u16, PartRow)>> {
    let mut uploaded: std::collections::BTreeMap<_, _> = uploaded.into_iter().collect();
    let mut parts: Vec<(u16, PartRow)> = Vec::with_capacity(named.len());
    for part in named {
        let number = part_number(part.part_number.unwrap_or(0))?;
        if parts.last().is_some_and(|(last, _)| *last >= number) {
            return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order."));
        }
        let missing = || error::meta(MetaError::InvalidPart(number));
        let row = uploaded.remove(&number).ok_or_else(missing)?;
        if part.e_tag.as_ref().is_none_or(|etag| etag.value() != hex::encode(row.md5)) {
            return Err(missing());
        }
        let mut said = attributes::said_checksum!(part);
        let differs = |(name, said): (&str, &mut Option<String>)| {
            said.take().is_some_and(|said| row.checksums.get(name) != Some(&said))
        };
        if body::fields(&mut said).into_iter().any(differs) {
            return Err(missing());
        }
        parts.push((number, row));
    }
    let short = parts.iter().rev().skip(1).find(|(_, part)| part.bytes < MIN_PART_BYTES);
    if short.is_some() {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed object size."
        ));
    }
    Ok(parts)
}
