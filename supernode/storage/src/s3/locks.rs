//! Object lock: what keeps a version, set with it or later.

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        GetObjectLegalHoldInput, GetObjectLegalHoldOutput, GetObjectRetentionInput, GetObjectRetentionOutput,
        ObjectLockConfiguration, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode,
        ObjectLockRetention, ObjectLockRetentionMode, PutObjectLegalHoldInput, PutObjectLegalHoldOutput,
        PutObjectRetentionInput, PutObjectRetentionOutput, Timestamp,
    },
    s3_error,
};

use super::{Door, error, settings, timestamp, unix, version};
use crate::meta::{BucketRow, LockMode, MetaError, Retention};

const DAY_SECONDS: u64 = 86_400;
const NO_LOCK: &str = "Bucket is missing Object Lock Configuration";

fn mode(name: &str) -> S3Result<LockMode> {
    match name {
        "GOVERNANCE" => Ok(LockMode::Governance),
        "COMPLIANCE" => Ok(LockMode::Compliance),
        _ => Err(s3_error!(MalformedXML, "Unknown wormMode directive")),
    }
}

/// How a version that is being written is locked: as its request says, or as its bucket does by default.
pub(super) fn of_write(
    bucket: &BucketRow,
    asked: Option<&ObjectLockMode>,
    until: Option<&Timestamp>,
    hold: Option<&ObjectLockLegalHoldStatus>,
) -> S3Result<(Option<Retention>, bool)> {
    let legal_hold = hold.is_some_and(|hold| hold.as_str() == ObjectLockLegalHoldStatus::ON);
    if !bucket.lock {
        if asked.is_some() || until.is_some() || hold.is_some() {
            return Err(s3_error!(InvalidRequest, "{NO_LOCK}"));
        }
        return Ok((None, false));
    }
    let now = runtime::unix_now().0;
    match (asked, until) {
        (Some(asked), Some(until)) => {
            let until = unix(until);
            if until <= now {
                return Err(s3_error!(InvalidArgument, "The retain until date must be in the future!"));
            }
            Ok((Some(Retention { mode: mode(asked.as_str())?, until }), legal_hold))
        }
        (None, None) => Ok((by_default(bucket, now)?, legal_hold)),
        _ => Err(s3_error!(
            InvalidArgument,
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied"
        )),
    }
}

fn by_default(bucket: &BucketRow, now: u64) -> S3Result<Option<Retention>> {
    let Some(document) = bucket.documents.get(settings::LOCK) else { return Ok(None) };
    let configuration: ObjectLockConfiguration =
        serde_json::from_str(document).map_err(|error| s3_error!(error, InternalError))?;
    let Some(rule) = configuration.rule.and_then(|rule| rule.default_retention) else { return Ok(None) };
    let Some(named) = rule.mode else { return Ok(None) };
    let days = match (rule.days, rule.years) {
        (Some(days), _) => u64::try_from(days).unwrap_or(0),
        (None, Some(years)) => u64::try_from(years).unwrap_or(0) * 365,
        (None, None) => return Ok(None),
    };
    Ok(Some(Retention { mode: mode(named.as_str())?, until: now + days * DAY_SECONDS }))
}

impl Door {
    pub(super) async fn put_retention(
        &self,
        request: S3Request<PutObjectRetentionInput>,
    ) -> S3Result<S3Response<PutObjectRetentionOutput>> {
        let input = request.input;
        let asked = input.retention.unwrap_or_default();
        let now = runtime::unix_now().0;
        let new = match (asked.mode, asked.retain_until_date) {
            (None, None) => None,
            (Some(named), Some(until)) => {
                let until = unix(&until);
                if until <= now {
                    return Err(s3_error!(InvalidArgument, "The retain until date must be in the future!"));
                }
                Some(Retention { mode: mode(named.as_str())?, until })
            }
            _ => return Err(s3_error!(MalformedXML)),
        };
        let bypass = input.bypass_governance_retention == Some(true);
        let version = version(input.version_id.as_deref())?;
        let meta = self.objects.meta();
        let changed = meta.change_object(&input.bucket, &input.key, version, move |bucket, row| {
            if !bucket.lock {
                return Err(MetaError::State(NO_LOCK));
            }
            if let Some(old) = row.retention.filter(|old| old.until > now) {
                let longer = new.is_some_and(|new| new.until >= old.until && new.mode == old.mode);
                let stricter = new.is_some_and(|new| {
                    new.until >= old.until
                        && old.mode == LockMode::Governance
                        && new.mode == LockMode::Compliance
                });
                let may = longer || stricter || (bypass && old.mode == LockMode::Governance);
                if !may {
                    return Err(MetaError::Locked);
                }
            }
            row.retention = new;
            Ok(())
        });
        changed.await.map_err(error::meta)?;
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    pub(super) async fn get_retention(
        &self,
        request: S3Request<GetObjectRetentionInput>,
    ) -> S3Result<S3Response<GetObjectRetentionOutput>> {
        let input = request.input;
        let (opened, _, _) = self.open(&input.bucket, &input.key, input.version_id.as_deref()).await?;
        if !opened.found.bucket.lock {
            return Err(s3_error!(InvalidRequest, "{NO_LOCK}"));
        }
        let retention = opened.found.row.retention.ok_or_else(|| {
            s3_error!(
                NoSuchObjectLockConfiguration,
                "The specified object does not have a ObjectLock configuration"
            )
        })?;
        let named = match retention.mode {
            LockMode::Governance => ObjectLockRetentionMode::GOVERNANCE,
            LockMode::Compliance => ObjectLockRetentionMode::COMPLIANCE,
        };
        Ok(S3Response::new(GetObjectRetentionOutput {
            retention: Some(ObjectLockRetention {
                mode: Some(ObjectLockRetentionMode::from_static(named)),
                retain_until_date: Some(timestamp(retention.until)),
            }),
        }))
    }

    pub(super) async fn put_legal_hold(
        &self,
        request: S3Request<PutObjectLegalHoldInput>,
    ) -> S3Result<S3Response<PutObjectLegalHoldOutput>> {
        let input = request.input;
        let status = input.legal_hold.and_then(|hold| hold.status).ok_or_else(|| s3_error!(MalformedXML))?;
        let on = match status.as_str() {
            "ON" => true,
            "OFF" => false,
            _ => return Err(s3_error!(MalformedXML)),
        };
        let version = version(input.version_id.as_deref())?;
        let meta = self.objects.meta();
        let changed = meta.change_object(&input.bucket, &input.key, version, move |bucket, row| {
            if !bucket.lock {
                return Err(MetaError::State(NO_LOCK));
            }
            row.legal_hold = on;
            Ok(())
        });
        changed.await.map_err(error::meta)?;
        Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
    }

    pub(super) async fn get_legal_hold(
        &self,
        request: S3Request<GetObjectLegalHoldInput>,
    ) -> S3Result<S3Response<GetObjectLegalHoldOutput>> {
        let input = request.input;
        let (opened, _, _) = self.open(&input.bucket, &input.key, input.version_id.as_deref()).await?;
        if !opened.found.bucket.lock {
            return Err(s3_error!(InvalidRequest, "{NO_LOCK}"));
        }
        let status = if opened.found.row.legal_hold {
            ObjectLockLegalHoldStatus::ON
        } else {
            ObjectLockLegalHoldStatus::OFF
        };
        Ok(S3Response::new(GetObjectLegalHoldOutput {
            legal_hold: Some(ObjectLockLegalHold {
                status: Some(ObjectLockLegalHoldStatus::from_static(status)),
            }),
        }))
    }
}
