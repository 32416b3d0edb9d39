//! Uploads in parts.

use s3s::{
    S3Request, S3Response, S3Result,
    crypto::{Checksum as _, Md5},
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, Checksum, ChecksumAlgorithm, ChecksumType,
        CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, ListPartsInput, ListPartsOutput, Part,
        StorageClass, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use super::{
    Door,
    attributes::{self, Attributes, headers},
    body::{self, Claims, Digests},
    error, locks, owner, timestamp, write,
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
        write::encryption(input.server_side_encryption.as_ref(), input.sse_customer_algorithm.is_some())?;
        let mut attributes = headers!(input);
        attributes.checksum_algorithm =
            input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_uppercase());
        attributes.checksum_type = input.checksum_type.as_ref().map(|kind| kind.as_str().to_owned());
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
            ..Default::default()
        };
        let upload = self.objects.begin_upload(&input.bucket, &input.key, new).await;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.map_err(error::write)?),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            server_side_encryption: input.server_side_encryption,
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
        write::encryption(None, input.sse_customer_algorithm.is_some())?;
        write::length_within(input.content_length)?;
        let number = part_number(input.part_number)?;
        let upload = self.objects.upload(&input.bucket, &input.key, &input.upload_id).await;
        let upload = upload.map_err(error::write)?;
        let algorithm = match named {
            Some(named) => Some(named),
            None => Attributes::decode(&upload.attributes)?.checksum_algorithm,
        };
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
        let digests = outcome.take()?;
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
        let input = request.input;
        let condition = write::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let upload = self.objects.upload(&input.bucket, &input.key, &input.upload_id).await;
        let upload = upload.map_err(error::write)?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        if named.is_empty() || named.len() > usize::from(MAX_PARTS) {
            return Err(s3_error!(MalformedXML, "The upload must have 1 to 10000 parts"));
        }
        let uploaded = self.objects.meta().parts(&input.upload_id, 0, usize::from(MAX_PARTS)).await;
        let uploaded = uploaded.map_err(error::meta)?.0;
        let parts = chosen(&named, uploaded)?;
        let total: u64 = parts.iter().map(|(_, part)| part.bytes).sum();
        if input.mpu_object_size.is_some_and(|said| u64::try_from(said) != Ok(total)) {
            return Err(s3_error!(InvalidRequest, "The provided x-amz-mp-object-size does not match"));
        }
        let mut attributes = Attributes::decode(&upload.attributes)?;
        let full = attributes.checksum_type.take().is_some_and(|kind| kind == "FULL_OBJECT");
        if let Some(algorithm) = attributes.checksum_algorithm.take() {
            // Where the client gave one over the whole, and asked for that kind, it is kept as it said it: each part
            // was checked by itself. Otherwise it is the one over the parts' own.
            let mut whole = Checksum {
                checksum_crc32: input.checksum_crc32,
                checksum_crc32c: input.checksum_crc32c,
                checksum_crc64nvme: input.checksum_crc64nvme,
                ..Default::default()
            };
            if full {
                let [crc32, crc32c, crc64, ..] = body::fields(&mut whole);
                for (name, value) in [crc32, crc32c, crc64] {
                    if let Some(value) = value.take() {
                        attributes.checksums.insert(name.to_owned(), value);
                        attributes.checksum_type = Some("FULL_OBJECT".to_owned());
                    }
                }
            } else if let Some(checksum) = composite(&algorithm.to_lowercase(), &parts) {
                attributes.checksums.insert(algorithm.to_lowercase(), checksum);
                attributes.checksum_type = Some("COMPOSITE".to_owned());
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
fn chosen(named: &[CompletedPart], uploaded: Vec<(u16, PartRow)>) -> S3Result<Vec<(u16, PartRow)>> {
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

/// The checksum over the parts' checksums, as S3 writes it.
fn composite(name: &str, parts: &[(u16, PartRow)]) -> Option<String> {
    let mut bytes = Vec::new();
    for (_, part) in parts {
        bytes.extend(body::base64(part.checksums.get(name)?)?);
    }
    let digest = match name {
        "crc32" => s3s::crypto::Crc32::checksum(&bytes).to_vec(),
        "crc32c" => s3s::crypto::Crc32c::checksum(&bytes).to_vec(),
        "crc64nvme" => s3s::crypto::Crc64Nvme::checksum(&bytes).to_vec(),
        "sha1" => s3s::crypto::Sha1::checksum(&bytes).to_vec(),
        "sha256" => s3s::crypto::Sha256::checksum(&bytes).to_vec(),
        _ => return None,
    };
    Some(format!("{}-{}", multibase::Base::Base64Pad.encode(digest), parts.len()))
}
