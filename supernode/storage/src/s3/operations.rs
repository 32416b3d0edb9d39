//! Which operation is done where. What is not named here answers `NotImplemented`.

use s3s::{S3, S3Request, S3Response, S3Result, dto};

use super::Door;

macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident = $method:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Door {
            $(async fn $name(&self, request: S3Request<dto::$input>) -> S3Result<S3Response<dto::$output>> {
                self.$method(request).await
            })*
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput = make_bucket;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = find_bucket;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = locate_bucket;
    list_buckets(ListBucketsInput) -> ListBucketsOutput = own_buckets;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = end_bucket;

    put_object(PutObjectInput) -> PutObjectOutput = put;
    get_object(GetObjectInput) -> GetObjectOutput = get;
    head_object(HeadObjectInput) -> HeadObjectOutput = head;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput = attributes;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copy;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = delete;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = delete_many;

    list_objects(ListObjectsInput) -> ListObjectsOutput = list_v1;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = list_v2;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = list_versions;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = list_uploads;

    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = begin_upload;
    upload_part(UploadPartInput) -> UploadPartOutput = take_part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = copy_part;
    list_parts(ListPartsInput) -> ListPartsOutput = list_parts_of;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = complete;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = abort;

    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = put_versioning;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = get_versioning;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = put_tags;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = get_tags;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput = delete_tags;
    put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput = put_bucket_tags;
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput = get_bucket_tags;
    delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput = delete_bucket_tags;
    put_bucket_cors(PutBucketCorsInput) -> PutBucketCorsOutput = put_cors;
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = get_cors;
    delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput = delete_cors;
    put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput = put_policy;
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput = get_policy;
    get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput = get_policy_status;
    delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput = delete_policy;
    put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput = put_public_access;
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput = get_public_access;
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput
        = delete_public_access;
    put_bucket_lifecycle_configuration(PutBucketLifecycleConfigurationInput)
        -> PutBucketLifecycleConfigurationOutput = put_lifecycle;
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput = get_lifecycle;
    delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput = delete_lifecycle;
    put_bucket_website(PutBucketWebsiteInput) -> PutBucketWebsiteOutput = put_website;
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput = get_website;
    delete_bucket_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput = delete_website;
    put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput = put_bucket_acl_of;
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput = get_bucket_acl_of;
    put_object_acl(PutObjectAclInput) -> PutObjectAclOutput = put_object_acl_of;
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput = get_object_acl_of;
    put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput
        = put_ownership;
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput
        = get_ownership;
    delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput)
        -> DeleteBucketOwnershipControlsOutput = delete_ownership;

    put_object_lock_configuration(PutObjectLockConfigurationInput) -> PutObjectLockConfigurationOutput
        = put_lock;
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput
        = get_lock;
    put_object_retention(PutObjectRetentionInput) -> PutObjectRetentionOutput = put_retention;
    get_object_retention(GetObjectRetentionInput) -> GetObjectRetentionOutput = get_retention;
    put_object_legal_hold(PutObjectLegalHoldInput) -> PutObjectLegalHoldOutput = put_legal_hold;
    get_object_legal_hold(GetObjectLegalHoldInput) -> GetObjectLegalHoldOutput = get_legal_hold;
}
