//! Listings, in order of the keys' bytes, with keys of one folder folded together.

use redb::ReadTransaction;

use super::{BUCKETS, Meta, MetaError, UPLOADS, UploadRow, VERSIONS, VersionId, VersionRow, buckets, rows};

/// What is to be listed.
#[derive(Clone, Debug, Default)]
pub struct ListingRequest {
    /// Keys begin with this.
    pub prefix: String,
    /// Keys that have this after the prefix are folded into what ends with it.
    pub delimiter: Option<String>,
    /// Where to go on: after this key or folded prefix.
    pub after: Option<String>,
    /// Where to go on within that key: after this version, or this upload.
    pub after_within: Option<String>,
    /// Entries and folded prefixes together.
    pub limit: usize,
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// What was found.
    pub entries: Vec<T>,
    /// The folded prefixes.
    pub prefixes: Vec<String>,
    /// Where the next page goes on, where there is one.
    pub next: Option<(String, Option<String>)>,
    more: bool,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), prefixes: Vec::new(), next: None, more: false }
    }
}

/// A version in a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The object's key.
    pub key: String,
    /// The version's name.
    pub version: VersionId,
    /// What is said of it.
    pub row: VersionRow,
    /// Whether it is the newest.
    pub newest: bool,
}

/// What to do with a key.
enum Fold {
    Single,
    Into(String),
}

impl ListingRequest {
    fn fold(&self, key: &str) -> Fold {
        let Some(delimiter) = self.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()) else {
            return Fold::Single;
        };
        match key[self.prefix.len()..].find(delimiter) {
            Some(at) => Fold::Into(key[..self.prefix.len() + at + delimiter.len()].to_owned()),
            None => Fold::Single,
        }
    }

    /// The first key to look at.
    fn start(&self) -> Vec<u8> {
        let prefix = self.prefix.as_bytes();
        let Some(after) = &self.after else { return prefix.to_vec() };
        // Where a page ended with a folded prefix, all that was folded into it is done.
        let folded = after.starts_with(&self.prefix)
            && matches!(self.fold(after), Fold::Into(folded) if folded == *after);
        let after = if folded { after_all(after) } else { after.as_bytes().to_vec() };
        after.max(prefix.to_vec())
    }
}

/// The first byte string after all that begin with `prefix`, which is UTF-8 and not empty.
fn after_all(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        // No byte of UTF-8 is 255.
        *last += 1;
    }
    bytes
}

impl Meta {
    /// The newest versions of a bucket's objects, without those that were deleted.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`].
    pub async fn list(&self, bucket: &str, request: ListingRequest) -> Result<Listing<Listed>, MetaError> {
        self.list_rows(bucket, request, false).await
    }

    /// All versions of a bucket's objects, and all delete markers.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`].
    pub async fn list_versions(
        &self,
        bucket: &str,
        request: ListingRequest,
    ) -> Result<Listing<Listed>, MetaError> {
        self.list_rows(bucket, request, true).await
    }

    async fn list_rows(
        &self,
        bucket: &str,
        request: ListingRequest,
        all: bool,
    ) -> Result<Listing<Listed>, MetaError> {
        let bucket = bucket.to_owned();
        self.read(move |read: &ReadTransaction| {
            let id = buckets::find(&read.open_table(BUCKETS)?, &bucket)?.id;
            let table = read.open_table(VERSIONS)?;
            let mut page = Listing::default();
            let (mut from, mut within) = (request.start(), 0);
            // The key whose newest version was passed.
            let mut passed = None;
            if let Some(after) = &request.after
                && from == after.as_bytes()
            {
                passed = Some(after.clone());
                within = match request.after_within.as_deref().map(str::parse::<VersionId>) {
                    // A `null` version's place is not in its name; S3 clients go on by the key alone there.
                    Some(Ok(VersionId::Own { sequence, .. })) => (u64::MAX - sequence).saturating_add(1),
                    _ => u64::MAX,
                };
            }
            'seek: loop {
                for row in table.range((id, from.as_slice(), within)..(id + 1, &b""[..], 0))? {
                    let (place, row) = row?;
                    let (_, key, inverse) = place.value();
                    let Ok(key) = std::str::from_utf8(key) else { continue };
                    if !key.starts_with(&request.prefix) {
                        break 'seek;
                    }
                    let newest = passed.as_deref() != Some(key);
                    if newest {
                        passed = Some(key.to_owned());
                    }
                    if !newest && !all {
                        // A key with many versions is left at once.
                        (from, within) = (key.as_bytes().to_vec(), u64::MAX);
                        continue 'seek;
                    }
                    let row: VersionRow = rows::read(row.value())?;
                    if !all && row.object.is_none() {
                        continue;
                    }
                    if page.is_full(&request) {
                        page.truncate();
                        break 'seek;
                    }
                    match request.fold(key) {
                        Fold::Into(prefix) => {
                            (from, within) = (after_all(&prefix), 0);
                            page.next = Some((prefix.clone(), None));
                            page.prefixes.push(prefix);
                            continue 'seek;
                        }
                        Fold::Single => {
                            let version = row.id(u64::MAX - inverse);
                            let within = all.then(|| version.to_string());
                            page.next = Some((key.to_owned(), within));
                            page.entries.push(Listed { key: key.to_owned(), version, row, newest });
                        }
                    }
                }
                break;
            }
            page.end();
            Ok(page)
        })
        .await
    }

    /// A bucket's uploads in parts, by key.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`].
    pub async fn list_uploads(
        &self,
        bucket: &str,
        request: ListingRequest,
    ) -> Result<Listing<(String, String, UploadRow)>, MetaError> {
        let bucket = bucket.to_owned();
        self.read(move |read: &ReadTransaction| {
            let id = buckets::find(&read.open_table(BUCKETS)?, &bucket)?.id;
            let table = read.open_table(UPLOADS)?;
            let mut page = Listing::default();
            let mut from = request.start();
            'seek: loop {
                for row in table.range((id, from.as_slice(), "")..(id + 1, &b""[..], ""))? {
                    let (place, row) = row?;
                    let (_, key, upload) = place.value();
                    let Ok(key) = std::str::from_utf8(key) else { continue };
                    if !key.starts_with(&request.prefix) {
                        break 'seek;
                    }
                    if request.after.as_deref() == Some(key) {
                        let behind = request.after_within.as_deref().is_some_and(|after| upload > after);
                        if !behind {
                            continue;
                        }
                    }
                    if page.is_full(&request) {
                        page.truncate();
                        break 'seek;
                    }
                    match request.fold(key) {
                        Fold::Into(prefix) => {
                            from = after_all(&prefix);
                            page.next = Some((prefix.clone(), None));
                            page.prefixes.push(prefix);
                            continue 'seek;
                        }
                        Fold::Single => {
                            page.next = Some((key.to_owned(), Some(upload.to_owned())));
                            page.entries.push((key.to_owned(), upload.to_owned(), rows::read(row.value())?));
                        }
                    }
                }
                break;
            }
            page.end();
            Ok(page)
        })
        .await
    }
}

impl<T> Listing<T> {
    fn is_full(&self, request: &ListingRequest) -> bool {
        self.entries.len() + self.prefixes.len() >= request.limit
    }

    /// There is more than the page holds; `next` says after what.
    fn truncate(&mut self) {
        self.more = true;
    }

    fn end(&mut self) {
        if !self.more {
            self.next = None;
        }
    }
}
