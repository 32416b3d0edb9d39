//! Buckets: made, found, listed, deleted.

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        Bucket, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
        GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
        ListBucketsOutput, ObjectOwnership,
    },
    s3_error,
};

use super::{Door, acl, error, owner, timestamp};
use crate::meta::{BucketRow, MetaError, Versioning};

/// The one region there is. S3's tools take it when they are told nothing.
pub(super) const REGION: &str = "us-east-1";

impl Door {
    pub(super) async fn make_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let account = self.account(&request)?;
        let input = request.input;
        let configuration = input.create_bucket_configuration;
        if let Some(place) = configuration.and_then(|configuration| configuration.location_constraint)
            && !matches!(place.as_str(), "" | REGION)
        {
            return Err(s3_error!(
                InvalidLocationConstraint,
                "The specified location-constraint is not valid; this node is in {REGION}"
            ));
        }
        let lock = input.object_lock_enabled_for_bucket == Some(true);
        let mut row = BucketRow {
            account: account.clone(),
            created: runtime::unix_now().0,
            lock,
            versioning: if lock { Versioning::Enabled } else { Versioning::Off },
            ..Default::default()
        };
        let ownership = input.object_ownership.as_ref().map(ObjectOwnership::as_str);
        acl::of_new_bucket(&mut row, ownership, acl::asked_acl!(input))?;
        let made = self.objects.meta().create_bucket(&input.bucket, row).await;
        made.map_err(|error| match error {
            MetaError::BucketExists { account: other } if other == account => s3_error!(
                BucketAlreadyOwnedByYou,
                "Your previous request to create the named bucket succeeded and you already own it."
            ),
            error => error::meta(error),
        })?;
        let location = Some(format!("/{}", input.bucket));
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    pub(super) async fn find_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.objects.meta().bucket(&request.input.bucket).await.map_err(error::meta)?;
        Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(REGION.to_owned()), ..Default::default() }))
    }

    pub(super) async fn locate_bucket(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.objects.meta().bucket(&request.input.bucket).await.map_err(error::meta)?;
        // S3 says nothing for this region.
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    pub(super) async fn own_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let account = self.account(&request)?;
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let limit = input.max_buckets.and_then(|max| usize::try_from(max).ok()).unwrap_or(10_000).max(1);
        let all = self.objects.meta().buckets().await.map_err(error::meta)?;
        let after = input.continuation_token.as_deref();
        let mut own = all.into_iter().filter(|(name, row)| {
            row.account == account
                && name.starts_with(&prefix)
                && after.is_none_or(|after| name.as_str() > after)
        });
        let page: Vec<_> = own.by_ref().take(limit).collect();
        let more = own.next().is_some();
        let continuation_token = page.last().filter(|_| more).map(|(name, _)| name.clone());
        let buckets = page.into_iter().map(|(name, row)| Bucket {
            bucket_region: None,
            creation_date: Some(timestamp(row.created)),
            name: Some(name),
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            continuation_token,
            owner: Some(owner(&account)),
            prefix: input.prefix,
        }))
    }

    pub(super) async fn end_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.objects.meta().delete_bucket(&request.input.bucket).await.map_err(error::meta)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }
}
