//! Lifecycle: objects, old versions and uploads that end by themselves.

use s3s::{
    S3Result,
    dto::{BucketLifecycleConfiguration, LifecycleRule, Tag},
    s3_error,
};

use super::{Door, settings, unix};
use crate::meta::{Condition, Listed, ListingRequest, MetaError, VersionRow};

const DAY_SECONDS: u64 = 86_400;
const PAGE: usize = 1000;

/// Refuses what nothing here would act upon.
pub(super) fn check(configuration: &BucketLifecycleConfiguration) -> S3Result<()> {
    for rule in &configuration.rules {
        if rule.transitions.is_some() || rule.noncurrent_version_transitions.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "There is one storage class, so nothing can move to another"
            ));
        }
        if !matches!(rule.status.as_str(), "Enabled" | "Disabled") {
            return Err(s3_error!(MalformedXML));
        }
        let acts = rule.expiration.is_some()
            || rule.noncurrent_version_expiration.is_some()
            || rule.abort_incomplete_multipart_upload.is_some();
        if !acts {
            return Err(s3_error!(InvalidRequest, "At least one action needs to be specified in a rule"));
        }
        let days = [
            rule.expiration.as_ref().and_then(|expiration| expiration.days),
            rule.noncurrent_version_expiration.as_ref().and_then(|expiration| expiration.noncurrent_days),
            rule.abort_incomplete_multipart_upload.as_ref().and_then(|abort| abort.days_after_initiation),
        ];
        if days.into_iter().flatten().any(|days| days <= 0) {
            return Err(s3_error!(InvalidArgument, "'Days' must be a positive integer"));
        }
    }
    Ok(())
}

/// The end of something that began at `since` and lasts so many days: S3 rounds up to midnight.
fn due(since: u64, days: i32) -> u64 {
    let days = u64::try_from(days).unwrap_or(0);
    (since + days * DAY_SECONDS).next_multiple_of(DAY_SECONDS)
}

fn has(tags: &[(String, String)], wanted: &Tag) -> bool {
    tags.iter().any(|(name, value)| {
        wanted.key.as_deref() == Some(name.as_str()) && wanted.value.as_deref().unwrap_or("") == value
    })
}

/// Whether a rule is about an object.
fn concerns(rule: &LifecycleRule, key: &str, row: &VersionRow) -> bool {
    let bytes = row.object.as_ref().map_or(0, |object| i64::try_from(object.bytes).unwrap_or(i64::MAX));
    let mut prefix = rule.prefix.as_deref().unwrap_or("");
    let (mut tags, mut above, mut below) = (Vec::new(), None, None);
    if let Some(filter) = &rule.filter {
        prefix = filter.prefix.as_deref().unwrap_or(prefix);
        tags.extend(&filter.tag);
        (above, below) = (filter.object_size_greater_than, filter.object_size_less_than);
        if let Some(and) = &filter.and {
            prefix = and.prefix.as_deref().unwrap_or(prefix);
            tags.extend(and.tags.iter().flatten());
            above = and.object_size_greater_than.or(above);
            below = and.object_size_less_than.or(below);
        }
    }
    key.starts_with(prefix)
        && tags.iter().all(|tag| has(&row.tags, tag))
        && above.is_none_or(|above| bytes > above)
        && below.is_none_or(|below| bytes < below)
}

/// Whether a rule ends the newest version now.
fn ends(rule: &LifecycleRule, listed: &Listed, now: u64) -> bool {
    let Some(expiration) = &rule.expiration else { return false };
    let by_age = expiration.days.is_some_and(|days| due(listed.row.modified, days) <= now);
    let by_date = expiration.date.as_ref().is_some_and(|date| unix(date) <= now);
    listed.row.object.is_some() && (by_age || by_date)
}

impl Door {
    /// Ends what every bucket's rules end by now.
    pub(super) async fn apply_lifecycles(&self, now: u64) -> Result<(), MetaError> {
        for (name, row) in self.objects.meta().buckets().await? {
            let Ok(Some(configuration)) = settings::document(&row, settings::LIFECYCLE) else { continue };
            let configuration: BucketLifecycleConfiguration = configuration;
            let rules: Vec<_> =
                configuration.rules.iter().filter(|rule| rule.status.as_str() == "Enabled").collect();
            self.apply(&name, &rules, now).await?;
            self.end_uploads(&name, &rules, now).await?;
        }
        Ok(())
    }

    async fn apply(&self, bucket: &str, rules: &[&LifecycleRule], now: u64) -> Result<(), MetaError> {
        let meta = self.objects.meta();
        let mut request = ListingRequest { limit: PAGE, ..Default::default() };
        // When the version before was written, which made the next one old; and how many old ones there were.
        let mut newer: Option<(String, u64, i32)> = None;
        loop {
            let page = meta.list_versions(bucket, request.clone()).await?;
            for listed in &page.entries {
                let before = newer.take().filter(|(key, ..)| *key == listed.key && !listed.newest);
                let old = before.as_ref().map_or(0, |(_, _, old)| *old);
                let mut concerned = rules.iter().filter(|rule| concerns(rule, &listed.key, &listed.row));
                if listed.newest {
                    if concerned.any(|rule| ends(rule, listed, now)) {
                        let done =
                            meta.delete_object(bucket, &listed.key, None, Condition::Whatever, false, now);
                        locked_is_fine(done.await)?;
                    }
                } else if let Some((_, since, _)) = &before {
                    let ended = concerned.any(|rule| {
                        rule.noncurrent_version_expiration.as_ref().is_some_and(|expiration| {
                            expiration.noncurrent_days.is_some_and(|days| due(*since, days) <= now)
                                && expiration.newer_noncurrent_versions.is_none_or(|kept| old >= kept)
                        })
                    });
                    if ended {
                        let version = Some(listed.version);
                        let done =
                            meta.delete_object(bucket, &listed.key, version, Condition::Whatever, false, now);
                        locked_is_fine(done.await)?;
                    }
                }
                let old = if listed.newest { 0 } else { old + 1 };
                newer = Some((listed.key.clone(), listed.row.modified, old));
            }
            let Some((key, within)) = page.next else { return Ok(()) };
            (request.after, request.after_within) = (Some(key), within);
        }
    }

    async fn end_uploads(&self, bucket: &str, rules: &[&LifecycleRule], now: u64) -> Result<(), MetaError> {
        let meta = self.objects.meta();
        let mut request = ListingRequest { limit: PAGE, ..Default::default() };
        loop {
            let page = meta.list_uploads(bucket, request.clone()).await?;
            for (key, upload, row) in &page.entries {
                let ended = rules.iter().any(|rule| {
                    let prefix = rule.filter.as_ref().and_then(|filter| filter.prefix.as_deref());
                    let days = rule.abort_incomplete_multipart_upload.as_ref();
                    key.starts_with(prefix.or(rule.prefix.as_deref()).unwrap_or(""))
                        && days
                            .and_then(|abort| abort.days_after_initiation)
                            .is_some_and(|days| due(row.begun, days) <= now)
                });
                if ended {
                    match meta.abort_upload(bucket, key, upload).await {
                        Err(MetaError::NoSuchUpload) => {}
                        done => done?,
                    }
                }
            }
            let Some((key, within)) = page.next else { return Ok(()) };
            (request.after, request.after_within) = (Some(key), within);
        }
    }
}

/// What is kept by a lock is kept.
fn locked_is_fine<T>(done: Result<T, MetaError>) -> Result<(), MetaError> {
    match done {
        Err(MetaError::Locked) => Ok(()),
        done => done.map(drop),
    }
}
