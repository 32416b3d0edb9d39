//! What is set about a bucket or an object's tags: kept as it came, and acted upon where that is done.

use s3s::{
    S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        self, BucketVersioningStatus, CORSConfiguration, ObjectLockConfiguration, ObjectLockEnabled,
        PolicyStatus, PublicAccessBlockConfiguration, Tag, Tagging,
    },
    s3_error,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Door, attributes, error, lifecycle, policy, version, website, write};
use crate::meta::{BucketRow, MetaError, Versioning};

pub(super) const CORS: &str = "cors";
pub(super) const LIFECYCLE: &str = "lifecycle";
pub(super) const LOCK: &str = "object-lock";
pub(super) const POLICY: &str = "policy";
pub(super) const WEBSITE: &str = "website";
const PUBLIC_ACCESS: &str = "public-access-block";
const TAGGING: &str = "tagging";
/// S3's bound on the tags of a bucket.
const MAX_BUCKET_TAGS: usize = 50;
/// S3's bound on rules.
const MAX_RULES: usize = 100;

/// What a bucket keeps under a name.
pub(super) fn document<T: DeserializeOwned>(row: &BucketRow, name: &str) -> S3Result<Option<T>> {
    let text = row.documents.get(name);
    text.map(|text| serde_json::from_str(text).map_err(|error| s3_error!(error, InternalError))).transpose()
}

/// What keeps the public out, whatever the policy says. Nothing unless it was set.
pub(super) fn public_access(row: &BucketRow) -> S3Result<PublicAccessBlockConfiguration> {
    Ok(document(row, PUBLIC_ACCESS)?.unwrap_or_default())
}

fn tags_of(tagging: Tagging) -> Vec<(String, String)> {
    let pair = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
    tagging.tag_set.into_iter().map(pair).collect()
}

fn tag_set(tags: Vec<(String, String)>) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect()
}

impl Door {
    async fn keep<T: Serialize>(&self, bucket: &str, name: &'static str, value: &T) -> S3Result<()> {
        let text = serde_json::to_string(value).map_err(|error| s3_error!(error, InternalError))?;
        self.keep_text(bucket, name, text).await
    }

    pub(super) async fn keep_text(&self, bucket: &str, name: &'static str, text: String) -> S3Result<()> {
        let meta = self.objects.meta();
        let kept = meta.change_bucket(bucket, move |row| {
            row.documents.insert(name.to_owned(), text);
            Ok(())
        });
        kept.await.map_err(error::meta)
    }

    pub(super) async fn drop_document(&self, bucket: &str, name: &'static str) -> S3Result<()> {
        let meta = self.objects.meta();
        let dropped = meta.change_bucket(bucket, move |row| {
            row.documents.remove(name);
            Ok(())
        });
        dropped.await.map_err(error::meta)
    }

    async fn kept<T: DeserializeOwned>(
        &self,
        bucket: &str,
        name: &'static str,
        absent: S3ErrorCode,
    ) -> S3Result<T> {
        let row = self.objects.meta().bucket(bucket).await.map_err(error::meta)?;
        document(&row, name)?.ok_or_else(|| absent.into())
    }

    pub(super) async fn put_versioning(
        &self,
        request: S3Request<dto::PutBucketVersioningInput>,
    ) -> S3Result<S3Response<dto::PutBucketVersioningOutput>> {
        let input = request.input;
        let status = input.versioning_configuration.status;
        let versioning = match status.as_ref().map(BucketVersioningStatus::as_str) {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            _ => return Err(s3_error!(MalformedXML)),
        };
        let changed = self.objects.meta().change_bucket(&input.bucket, move |row| {
            if row.lock && versioning != Versioning::Enabled {
                return Err(MetaError::State("A bucket with object lock keeps its versions"));
            }
            row.versioning = versioning;
            Ok(())
        });
        changed.await.map_err(|error| match error {
            MetaError::State(what) => s3_error!(InvalidBucketState, "{what}"),
            error => error::meta(error),
        })?;
        Ok(S3Response::new(dto::PutBucketVersioningOutput::default()))
    }

    pub(super) async fn get_versioning(
        &self,
        request: S3Request<dto::GetBucketVersioningInput>,
    ) -> S3Result<S3Response<dto::GetBucketVersioningOutput>> {
        let row = self.objects.meta().bucket(&request.input.bucket).await.map_err(error::meta)?;
        let status = match row.versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        Ok(S3Response::new(dto::GetBucketVersioningOutput {
            status: status.map(BucketVersioningStatus::from_static),
            ..Default::default()
        }))
    }

    pub(super) async fn put_tags(
        &self,
        request: S3Request<dto::PutObjectTaggingInput>,
    ) -> S3Result<S3Response<dto::PutObjectTaggingOutput>> {
        let input = request.input;
        let tags = attributes::checked_tags(tags_of(input.tagging))?;
        let version = version(input.version_id.as_deref())?;
        let changed = self.objects.meta().change_object(&input.bucket, &input.key, version, |_, row| {
            row.tags = tags;
            Ok(())
        });
        let version_id = write::shown(changed.await.map_err(error::meta)?);
        Ok(S3Response::new(dto::PutObjectTaggingOutput { version_id }))
    }

    pub(super) async fn get_tags(
        &self,
        request: S3Request<dto::GetObjectTaggingInput>,
    ) -> S3Result<S3Response<dto::GetObjectTaggingOutput>> {
        let input = request.input;
        let (opened, _, _) = self.open(&input.bucket, &input.key, input.version_id.as_deref()).await?;
        let version_id = write::shown(opened.found.version);
        let tag_set = tag_set(opened.found.row.tags.clone());
        Ok(S3Response::new(dto::GetObjectTaggingOutput { tag_set, version_id }))
    }

    pub(super) async fn delete_tags(
        &self,
        request: S3Request<dto::DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectTaggingOutput>> {
        let input = request.input;
        let version = version(input.version_id.as_deref())?;
        let changed = self.objects.meta().change_object(&input.bucket, &input.key, version, |_, row| {
            row.tags.clear();
            Ok(())
        });
        let version_id = write::shown(changed.await.map_err(error::meta)?);
        Ok(S3Response::new(dto::DeleteObjectTaggingOutput { version_id }))
    }

    pub(super) async fn put_bucket_tags(
        &self,
        request: S3Request<dto::PutBucketTaggingInput>,
    ) -> S3Result<S3Response<dto::PutBucketTaggingOutput>> {
        let input = request.input;
        let tags = tags_of(input.tagging);
        if tags.len() > MAX_BUCKET_TAGS {
            return Err(error::custom(
                "BadRequest",
                http::StatusCode::BAD_REQUEST,
                "Bucket tag count cannot be greater than 50",
            ));
        }
        self.keep(&input.bucket, TAGGING, &tags).await?;
        Ok(S3Response::new(dto::PutBucketTaggingOutput::default()))
    }

    pub(super) async fn get_bucket_tags(
        &self,
        request: S3Request<dto::GetBucketTaggingInput>,
    ) -> S3Result<S3Response<dto::GetBucketTaggingOutput>> {
        let tags = self.kept(&request.input.bucket, TAGGING, S3ErrorCode::NoSuchTagSet).await?;
        Ok(S3Response::new(dto::GetBucketTaggingOutput { tag_set: tag_set(tags) }))
    }

    pub(super) async fn delete_bucket_tags(
        &self,
        request: S3Request<dto::DeleteBucketTaggingInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketTaggingOutput>> {
        self.drop_document(&request.input.bucket, TAGGING).await?;
        Ok(S3Response::new(dto::DeleteBucketTaggingOutput::default()))
    }

    pub(super) async fn put_cors(
        &self,
        request: S3Request<dto::PutBucketCorsInput>,
    ) -> S3Result<S3Response<dto::PutBucketCorsOutput>> {
        let input = request.input;
        let rules = &input.cors_configuration.cors_rules;
        let methods = ["GET", "PUT", "POST", "DELETE", "HEAD"];
        if rules.is_empty() || rules.len() > MAX_RULES {
            return Err(s3_error!(MalformedXML));
        }
        for method in rules.iter().flat_map(|rule| &rule.allowed_methods) {
            if !methods.contains(&method.as_str()) {
                return Err(s3_error!(InvalidRequest, "Found unsupported HTTP method in CORS config."));
            }
        }
        self.keep(&input.bucket, CORS, &input.cors_configuration).await?;
        Ok(S3Response::new(dto::PutBucketCorsOutput::default()))
    }

    pub(super) async fn get_cors(
        &self,
        request: S3Request<dto::GetBucketCorsInput>,
    ) -> S3Result<S3Response<dto::GetBucketCorsOutput>> {
        let absent = S3ErrorCode::NoSuchCORSConfiguration;
        let kept: CORSConfiguration = self.kept(&request.input.bucket, CORS, absent).await?;
        Ok(S3Response::new(dto::GetBucketCorsOutput { cors_rules: Some(kept.cors_rules) }))
    }

    pub(super) async fn delete_cors(
        &self,
        request: S3Request<dto::DeleteBucketCorsInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketCorsOutput>> {
        self.drop_document(&request.input.bucket, CORS).await?;
        Ok(S3Response::new(dto::DeleteBucketCorsOutput::default()))
    }

    pub(super) async fn put_policy(
        &self,
        request: S3Request<dto::PutBucketPolicyInput>,
    ) -> S3Result<S3Response<dto::PutBucketPolicyOutput>> {
        let input = request.input;
        if input.policy.len() > policy::MAX_POLICY_BYTES {
            return Err(s3_error!(MalformedPolicy, "Policies must not exceed 20 KiB"));
        }
        let read = policy::Policy::read(&input.policy, &input.bucket);
        let read = read.map_err(|what| s3_error!(MalformedPolicy, "{what}"))?;
        let row = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        if read.is_public() && public_access(&row)?.block_public_policy == Some(true) {
            return Err(s3_error!(AccessDenied, "public policies are prevented by BlockPublicPolicy"));
        }
        self.keep_text(&input.bucket, POLICY, input.policy).await?;
        Ok(S3Response::new(dto::PutBucketPolicyOutput::default()))
    }

    async fn policy_of(&self, bucket: &str) -> S3Result<String> {
        let row = self.objects.meta().bucket(bucket).await.map_err(error::meta)?;
        row.documents.get(POLICY).cloned().ok_or_else(|| S3ErrorCode::NoSuchBucketPolicy.into())
    }

    pub(super) async fn get_policy(
        &self,
        request: S3Request<dto::GetBucketPolicyInput>,
    ) -> S3Result<S3Response<dto::GetBucketPolicyOutput>> {
        let policy = Some(self.policy_of(&request.input.bucket).await?);
        Ok(S3Response::new(dto::GetBucketPolicyOutput { policy }))
    }

    pub(super) async fn get_policy_status(
        &self,
        request: S3Request<dto::GetBucketPolicyStatusInput>,
    ) -> S3Result<S3Response<dto::GetBucketPolicyStatusOutput>> {
        let bucket = request.input.bucket;
        let text = self.policy_of(&bucket).await?;
        let is_public = policy::Policy::read(&text, &bucket).is_ok_and(|policy| policy.is_public());
        let policy_status = Some(PolicyStatus { is_public: Some(is_public) });
        Ok(S3Response::new(dto::GetBucketPolicyStatusOutput { policy_status }))
    }

    pub(super) async fn delete_policy(
        &self,
        request: S3Request<dto::DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketPolicyOutput>> {
        self.drop_document(&request.input.bucket, POLICY).await?;
        Ok(S3Response::new(dto::DeleteBucketPolicyOutput::default()))
    }

    pub(super) async fn put_public_access(
        &self,
        request: S3Request<dto::PutPublicAccessBlockInput>,
    ) -> S3Result<S3Response<dto::PutPublicAccessBlockOutput>> {
        let input = request.input;
        self.keep(&input.bucket, PUBLIC_ACCESS, &input.public_access_block_configuration).await?;
        Ok(S3Response::new(dto::PutPublicAccessBlockOutput::default()))
    }

    pub(super) async fn get_public_access(
        &self,
        request: S3Request<dto::GetPublicAccessBlockInput>,
    ) -> S3Result<S3Response<dto::GetPublicAccessBlockOutput>> {
        let row = self.objects.meta().bucket(&request.input.bucket).await.map_err(error::meta)?;
        let kept: Option<PublicAccessBlockConfiguration> = document(&row, PUBLIC_ACCESS)?;
        let public_access_block_configuration = Some(kept.ok_or_else(|| {
            error::custom(
                "NoSuchPublicAccessBlockConfiguration",
                http::StatusCode::NOT_FOUND,
                "The public access block configuration was not found",
            )
        })?);
        Ok(S3Response::new(dto::GetPublicAccessBlockOutput { public_access_block_configuration }))
    }

    pub(super) async fn delete_public_access(
        &self,
        request: S3Request<dto::DeletePublicAccessBlockInput>,
    ) -> S3Result<S3Response<dto::DeletePublicAccessBlockOutput>> {
        self.drop_document(&request.input.bucket, PUBLIC_ACCESS).await?;
        Ok(S3Response::new(dto::DeletePublicAccessBlockOutput::default()))
    }

    pub(super) async fn put_lifecycle(
        &self,
        request: S3Request<dto::PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<dto::PutBucketLifecycleConfigurationOutput>> {
        let input = request.input;
        let configuration = input.lifecycle_configuration.ok_or_else(|| s3_error!(MalformedXML))?;
        if configuration.rules.is_empty() || configuration.rules.len() > 10 * MAX_RULES {
            return Err(s3_error!(MalformedXML));
        }
        lifecycle::check(&configuration)?;
        self.keep(&input.bucket, LIFECYCLE, &configuration).await?;
        Ok(S3Response::new(dto::PutBucketLifecycleConfigurationOutput::default()))
    }

    pub(super) async fn get_lifecycle(
        &self,
        request: S3Request<dto::GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLifecycleConfigurationOutput>> {
        let absent = S3ErrorCode::NoSuchLifecycleConfiguration;
        let kept: dto::BucketLifecycleConfiguration =
            self.kept(&request.input.bucket, LIFECYCLE, absent).await?;
        Ok(S3Response::new(dto::GetBucketLifecycleConfigurationOutput {
            rules: Some(kept.rules),
            ..Default::default()
        }))
    }

    pub(super) async fn delete_lifecycle(
        &self,
        request: S3Request<dto::DeleteBucketLifecycleInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketLifecycleOutput>> {
        self.drop_document(&request.input.bucket, LIFECYCLE).await?;
        Ok(S3Response::new(dto::DeleteBucketLifecycleOutput::default()))
    }

    pub(super) async fn put_website(
        &self,
        request: S3Request<dto::PutBucketWebsiteInput>,
    ) -> S3Result<S3Response<dto::PutBucketWebsiteOutput>> {
        let input = request.input;
        website::check(&input.website_configuration)?;
        self.keep(&input.bucket, WEBSITE, &input.website_configuration).await?;
        Ok(S3Response::new(dto::PutBucketWebsiteOutput::default()))
    }

    pub(super) async fn get_website(
        &self,
        request: S3Request<dto::GetBucketWebsiteInput>,
    ) -> S3Result<S3Response<dto::GetBucketWebsiteOutput>> {
        let row = self.objects.meta().bucket(&request.input.bucket).await.map_err(error::meta)?;
        let kept: Option<dto::WebsiteConfiguration> = document(&row, WEBSITE)?;
        let dto::WebsiteConfiguration {
            error_document,
            index_document,
            redirect_all_requests_to,
            routing_rules,
        } = kept.ok_or_else(website::absent)?;
        Ok(S3Response::new(dto::GetBucketWebsiteOutput {
            error_document,
            index_document,
            redirect_all_requests_to,
            routing_rules,
        }))
    }

    pub(super) async fn delete_website(
        &self,
        request: S3Request<dto::DeleteBucketWebsiteInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketWebsiteOutput>> {
        self.drop_document(&request.input.bucket, WEBSITE).await?;
        Ok(S3Response::new(dto::DeleteBucketWebsiteOutput::default()))
    }

    pub(super) async fn put_lock(
        &self,
        request: S3Request<dto::PutObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<dto::PutObjectLockConfigurationOutput>> {
        let input = request.input;
        let configuration = input.object_lock_configuration.ok_or_else(|| s3_error!(MalformedXML))?;
        if let Some(default) = configuration.rule.as_ref().and_then(|rule| rule.default_retention.as_ref()) {
            let one = default.days.is_some() != default.years.is_some();
            let positive = default.days.or(default.years).is_some_and(|length| length > 0);
            let mode = default.mode.as_ref().map(dto::ObjectLockRetentionMode::as_str);
            if !one || !matches!(mode, Some("GOVERNANCE" | "COMPLIANCE")) {
                return Err(s3_error!(MalformedXML));
            }
            if !positive {
                return Err(s3_error!(InvalidArgument, "Default retention period must be positive"));
            }
        }
        let text = serde_json::to_string(&configuration).map_err(|error| s3_error!(error, InternalError))?;
        let changed = self.objects.meta().change_bucket(&input.bucket, move |row| {
            if row.versioning != Versioning::Enabled {
                return Err(MetaError::State("Versioning must be 'Enabled' on the bucket"));
            }
            row.lock = true;
            row.documents.insert(LOCK.to_owned(), text);
            Ok(())
        });
        changed.await.map_err(|error| match error {
            MetaError::State(what) => s3_error!(InvalidBucketState, "{what}"),
            error => error::meta(error),
        })?;
        Ok(S3Response::new(dto::PutObjectLockConfigurationOutput::default()))
    }

    pub(super) async fn get_lock(
        &self,
        request: S3Request<dto::GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<dto::GetObjectLockConfigurationOutput>> {
        let row = self.objects.meta().bucket(&request.input.bucket).await.map_err(error::meta)?;
        if !row.lock {
            return Err(s3_error!(
                ObjectLockConfigurationNotFoundError,
                "Object Lock configuration does not exist for this bucket"
            ));
        }
        let kept = document(&row, LOCK)?.unwrap_or(ObjectLockConfiguration {
            object_lock_enabled: Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED)),
            rule: None,
        });
        Ok(S3Response::new(dto::GetObjectLockConfigurationOutput { object_lock_configuration: Some(kept) }))
    }
}
