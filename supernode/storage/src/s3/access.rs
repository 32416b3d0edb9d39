//! Who may do what: an account everything with its own buckets; others, and whoever says no name, what a bucket's
//! policy allows; and who comes with a grant, of that no more than the grant says.

use std::sync::Arc;

use http::HeaderValue;

use s3s::{
    S3Error, S3Result,
    access::{S3Access, S3AccessContext},
    auth::Credentials,
    s3_error,
};

use super::{
    Door, error,
    grants::{self, Presented},
    owner_id,
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

/// Who asks.
#[derive(Clone, Default)]
pub(super) struct Caller {
    /// Whose request it is; nobody's where there is no name.
    pub(super) account: Option<String>,
    /// What it is bounded by beside what the account may.
    grant: Option<Arc<Presented>>,
}

/// What is asked for.
pub(super) struct Wanted<'a> {
    operation: &'a str,
    bucket: Option<&'a str>,
    key: Option<&'a str>,
    /// What the names that are listed begin with.
    prefix: &'a str,
    /// Whether it is a certain version, of which the newest one's ACL says nothing.
    old: bool,
}

impl<'a> Wanted<'a> {
    pub(super) fn object(operation: &'a str, bucket: &'a str, key: &'a str) -> Self {
        Self { operation, bucket: Some(bucket), key: Some(key), prefix: "", old: false }
    }

    /// The same of a certain version.
    pub(super) fn version(self, version: Option<&str>) -> Self {
        Self { old: version.is_some(), ..self }
    }
}

fn denied() -> S3Error {
    s3_error!(AccessDenied, "Access Denied")
}

impl Door {
    /// Who made a request with these credentials.
    pub(super) fn caller(&self, credentials: Option<&Credentials>) -> S3Result<Caller> {
        let id = credentials.map(|credentials| credentials.access_key.as_str());
        if let Some(grant) = Presented::proved(id) {
            return Ok(Caller { account: Some(grant.account().to_owned()), grant: Some(grant) });
        }
        Ok(Caller { account: id.map(|id| self.keys.account(id)).transpose()?, grant: None })
    }

    /// Refuses a request that takes a bucket for somebody else's than whose it is.
    async fn owned_by(&self, bucket: &str, expected: &HeaderValue) -> S3Result<()> {
        let account = self.objects.meta().bucket(bucket).await.map_err(error::meta)?.account;
        let same =
            expected.as_bytes() == account.as_bytes() || expected.as_bytes() == owner_id(&account).as_bytes();
        if same { Ok(()) } else { Err(denied()) }
    }

    /// Whether somebody may do what is wanted.
    pub(super) async fn may(&self, caller: &Caller, wanted: &Wanted<'_>) -> S3Result<()> {
        let Wanted { operation, bucket, key, prefix, old } = wanted;
        let (operation, bucket, key, prefix) = (*operation, *bucket, *key, *prefix);
        if let Some(grant) = &caller.grant {
            let allowed = match (grants::operation(operation), bucket) {
                (Some(named), Some(bucket)) => {
                    self.grants.permits(grant, named, &format!("{bucket}/{}", key.unwrap_or(prefix)))
                }
                _ => false,
            };
            if !allowed {
                return Err(denied());
            }
        }
        let account = caller.account.as_deref();
        let Some(bucket) = bucket.filter(|_| operation != "CreateBucket") else {
            return if account.is_some() { Ok(()) } else { Err(denied()) };
        };
        let row = match self.objects.meta().bucket(bucket).await {
            Err(crate::meta::MetaError::NoSuchBucket) if account.is_none() => return Err(denied()),
            row => row.map_err(error::meta)?,
        };
        let owns = account == Some(row.account.as_str());
        let policy = row.documents.get(settings::POLICY);
        let policy = policy.and_then(|text| Policy::read(text, bucket).ok());
        // An owner can always change what locked it out.
        if owns && operation.ends_with("BucketPolicy") {
            return Ok(());
        }
        let verdict = policy
            .as_ref()
            .map_or(Verdict::Silent, |policy| policy.verdict(account, action(operation), bucket, key));
        match verdict {
            Verdict::Deny => Err(denied()),
            Verdict::Allow | Verdict::Silent if owns => Ok(()),
            Verdict::Allow => {
                let restricted = policy.is_some_and(|policy| policy.is_public())
                    && settings::public_access(&row)?.restrict_public_buckets == Some(true);
                if restricted { Err(denied()) } else { Ok(()) }
            }
            Verdict::Silent => {
                let named = action(operation);
                let allowed = !*old && self.acl_allows(&row, bucket, account, named, key).await?;
                if allowed { Ok(()) } else { Err(denied()) }
            }
        }
    }
}

#[async_trait::async_trait]
impl S3Access for Door {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let caller = self.caller(context.credentials())?;
        let operation = context.s3_op().name();
        if caller.grant.is_some() && grants::asks_too_much(context.headers()) {
            return Err(denied());
        }
        if matches!(operation, "DeleteObjects" | "PostObject") {
            // Asked for each object by itself: their keys are in the body.
            return Ok(());
        }
        let path = context.s3_path();
        let query = context.uri().query().unwrap_or_default().as_bytes();
        let parameter = |wanted: &str| {
            let mut pairs = url::form_urlencoded::parse(query);
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value)
        };
        let prefix = parameter("prefix");
        let wanted = Wanted {
            operation,
            bucket: path.get_bucket_name(),
            key: path.get_object_key(),
            prefix: prefix.as_deref().unwrap_or_default(),
            old: parameter("versionId").is_some(),
        };
        self.may(&caller, &wanted).await?;
        match (context.headers().get("x-amz-expected-bucket-owner"), wanted.bucket) {
            (Some(expected), Some(bucket)) => self.owned_by(bucket, expected).await,
            _ => Ok(()),
        }
    }
}
