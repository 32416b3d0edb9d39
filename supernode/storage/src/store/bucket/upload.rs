//! Uploading a blob that lies in a local file: in one request, or a long one in parts.

use std::{fs::File, io, os::unix::fs::FileExt as _, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{MultipartId, ObjectStoreExt as _, path::Path};

use super::{ANSWER_WITHIN, Bucket, object_bytes};
use crate::store::{Held, StoreError, editions::Edition};

/// What one request carries. All parts but the last are as long: some servers want that, and S3 5 MiB at least.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// Of one blob on their way at a time, so that a distant server is kept busy.
const PARTS_AT_ONCE: usize = 3;
/// Of all blobs together: 128 MiB.
pub(super) const PARTS_IN_MEMORY: usize = 16;
/// One part, with whatever object_store sends again.
const PART_WITHIN: Duration = Duration::from_secs(90);

/// Objects to be deleted, more than which nothing is uploaded: each upload that fails adds one, for as long as a bucket is
/// away. They take some 10 MB of the index.
pub(in crate::store) const GONE_MAX: u64 = if cfg!(test) { 40 } else { 100_000 };

/// Uploads it under a new name. Where that fails, whatever may be there is deleted later.
pub(super) async fn upload(bucket: &Bucket, file: &File, held: Held) -> Result<Edition, StoreError> {
    bucket.claim().await?;
    if bucket.index.gone_count()? >= GONE_MAX {
        return Err(StoreError::Busy);
    }
    let edition = bucket.new_edition();
    let path = bucket.blob_path(held.root, edition);
    let bytes = object_bytes(held.shape);
    let uploaded = if bytes <= PART_BYTES {
        whole(bucket, file, &path, bytes).await
    } else {
        in_parts(bucket, file, held, edition, bytes).await
    };
    if let Err(error) = uploaded {
        bucket.index.upload_failed(held.root, edition)?;
        return Err(error);
    }
    Ok(edition)
}

async fn whole(bucket: &Bucket, file: &File, path: &Path, bytes: u64) -> Result<(), StoreError> {
    let _permit = bucket.uploading.acquire().await.map_err(|_| StoreError::Closed)?;
    let payload = part(file, 0, bytes)?;
    bucket.within(PART_WITHIN, bucket.objects.put(path, payload.into())).await?;
    Ok(())
}

async fn in_parts(
    bucket: &Bucket,
    file: &File,
    held: Held,
    edition: Edition,
    bytes: u64,
) -> Result<(), StoreError> {
    let path = &bucket.blob_path(held.root, edition);
    let id: &MultipartId = &bucket.within(ANSWER_WITHIN, bucket.objects.create_multipart(path)).await?;
    // Known before the first part is sent: whoever is killed leaves no parts that nobody finds and somebody pays for.
    bucket.index.uploading(held.root, edition, id)?;
    let numbers = 0..usize::try_from(bytes.div_ceil(PART_BYTES)).map_err(|_| StoreError::TooLong)?;
    let parts = futures::stream::iter(numbers).map(async |number| {
        let _permit = bucket.uploading.acquire().await.map_err(|_| StoreError::Closed)?;
        let from = number as u64 * PART_BYTES;
        let payload = part(file, from, PART_BYTES.min(bytes - from))?;
        let put = bucket.objects.put_part(path, id, number, payload.into());
        Ok::<_, StoreError>(bucket.within(PART_WITHIN, put).await?)
    });
    let parts = parts.buffered(PARTS_AT_ONCE).try_collect::<Vec<_>>().await?;
    bucket.within(PART_WITHIN, bucket.objects.complete_multipart(path, id, parts)).await?;
    Ok(())
}

fn part(file: &File, from: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut part = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_exact_at(&mut part, from)?;
    Ok(part)
}
