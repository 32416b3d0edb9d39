//! Who may do what: an account everything with its own buckets; others, and whoever says no name, what a bucket's
//! policy allows.

use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

use super::{
    Door, error,
    policy::{Policy, Verdict},
    settings,
};

/// The action that a policy names an operation by.
fn action(operation: &str) -> &str {
    match operation {
        "HeadObject" | "GetObjectAttributes" => "GetObject",
        "ListObjects" | "ListObjectsV2" | "HeadBucket" => "ListBucket",
        "ListObjectVersions" => "ListBucketVersions",
        "ListMultipartUploads" => "ListBucketMultipartUploads",
        "ListParts" => "ListMultipartUploadParts",
        "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload"
        | "PostObject" => "PutObject",
        other => other,
    }
}

impl Door {
    /// Whether an account, or anybody, may do `operation`.
    pub(super) async fn may(
        &self,
        account: Option<&str>,
        operation: &str,
        bucket: Option<&str>,
        key: Option<&str>,
    ) -> S3Result<()> {
        let denied = || s3_error!(AccessDenied, "Access Denied");
        let Some(bucket) = bucket.filter(|_| operation != "CreateBucket") else {
            return if account.is_some() { Ok(()) } else { Err(denied()) };
        };
        let row = match self.objects.meta().bucket(bucket).await {
            Err(crate::meta::MetaError::NoSuchBucket) if account.is_none() => return Err(denied()),
            row => row.map_err(error::meta)?,
        };
        let owns = account == Some(row.account.as_str());
        let policy = row.documents.get(settings::POLICY);
        let Some(policy) = policy.and_then(|text| Policy::read(text, bucket).ok()) else {
            return if owns { Ok(()) } else { Err(denied()) };
        };
        // An owner can always change what locked it out.
        if owns && operation.ends_with("BucketPolicy") {
            return Ok(());
        }
        match policy.verdict(account, action(operation), bucket, key) {
            Verdict::Deny => Err(denied()),
            Verdict::Allow if owns => Ok(()),
            Verdict::Allow => {
                let restricted = policy.is_public()
                    && settings::public_access(&row)?.restrict_public_buckets == Some(true);
                if restricted { Err(denied()) } else { Ok(()) }
            }
            Verdict::Silent if owns => Ok(()),
            Verdict::Silent => Err(denied()),
        }
    }
}

#[async_trait::async_trait]
impl S3Access for Door {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let account = match context.credentials() {
            Some(credentials) => Some(self.keys.account(&credentials.access_key)?),
            None => None,
        };
        let operation = context.s3_op().name().to_owned();
        if operation == "DeleteObjects" {
            // Asked for each object by itself.
            return Ok(());
        }
        let path = context.s3_path();
        let (bucket, key) =
            (path.get_bucket_name().map(str::to_owned), path.get_object_key().map(str::to_owned));
        self.may(account.as_deref(), &operation, bucket.as_deref(), key.as_deref()).await
    }
}
