//! Canned ACLs, where a bucket's owner says that it wants ACLs at all. S3's own default is that it does not.
//!
//! A bucket's account owns all that is in it, whoever wrote it; so of S3's three kinds of ownership two are here, and
//! grants to single accounts are made by policies.

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{self, BucketCannedACL, Grant, Grantee, ObjectCannedACL, OwnershipControls, Permission, Type},
    s3_error,
};

use super::{Door, error, owner, settings, version};
use crate::meta::BucketRow;

/// Bucket documents: its own ACL, and whether ACLs count in it.
const ACL: &str = "acl";
const OWNERSHIP: &str = "ownership";

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

/// Permissions that a canned ACL gives beyond the owner's: to which group, and which.
fn given(canned: &str) -> &'static [(&'static str, &'static str)] {
    match canned {
        "public-read" => &[(ALL_USERS, Permission::READ)],
        "public-read-write" => &[(ALL_USERS, Permission::READ), (ALL_USERS, Permission::WRITE)],
        "authenticated-read" => &[(AUTHENTICATED, Permission::READ)],
        _ => &[],
    }
}

/// What the members of several operations say of ACLs.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) canned: Option<&'a str>,
    /// Whether single grantees are named.
    pub(super) grantees: bool,
}

/// An operation's members about ACLs.
macro_rules! asked_acl {
    ($input:expr) => {
        $crate::s3::acl::Asked {
            canned: $input.acl.as_ref().map(|acl| acl.as_str()),
            grantees: $input.grant_full_control.is_some()
                || $input.grant_read.is_some()
                || $input.grant_read_acp.is_some()
                || $input.grant_write_acp.is_some(),
        }
    };
}
pub(super) use asked_acl;

fn counts(bucket: &BucketRow) -> bool {
    bucket.documents.get(OWNERSHIP).is_some_and(|ownership| ownership == "BucketOwnerPreferred")
}

/// The ACL to be kept of what is written into a bucket, or of the bucket itself.
pub(super) fn of_write(bucket: &BucketRow, asked: Asked<'_>) -> S3Result<Option<String>> {
    let canned = asked.canned.unwrap_or("private");
    if !counts(bucket) {
        // What is so anyway may be said.
        return match canned {
            "private" | "bucket-owner-full-control" if !asked.grantees => Ok(None),
            _ => Err(s3_error!(AccessControlListNotSupported, "The bucket does not allow ACLs")),
        };
    }
    if asked.grantees {
        return Err(s3_error!(
            NotImplemented,
            "Canned ACLs are implemented; who else is let in says a policy"
        ));
    }
    let known = ["private", "public-read", "public-read-write", "authenticated-read", "bucket-owner-read"];
    if canned != "bucket-owner-full-control" && !known.contains(&canned) {
        return Err(s3_error!(InvalidArgument, "The canned ACL is none that is known"));
    }
    let public = !given(canned).is_empty();
    if public && settings::public_access(bucket)?.block_public_acls == Some(true) {
        return Err(s3_error!(AccessDenied, "Access Denied because BlockPublicAcls is set"));
    }
    Ok(public.then(|| canned.to_owned()))
}

/// Whether an ACL lets somebody do `action`, as policies name it. `account` is who asks, if anybody is named.
fn allows(canned: &str, permission: &str, account: Option<&str>) -> bool {
    given(canned)
        .iter()
        .any(|(group, given)| *given == permission && (*group == ALL_USERS || account.is_some()))
}

impl Door {
    /// Whether an ACL lets in whom the policy says nothing of.
    pub(super) async fn acl_allows(
        &self,
        bucket: &BucketRow,
        name: &str,
        account: Option<&str>,
        action: &str,
        key: Option<&str>,
    ) -> S3Result<bool> {
        if !counts(bucket) || settings::public_access(bucket)?.ignore_public_acls == Some(true) {
            return Ok(false);
        }
        let own = bucket.documents.get(ACL).map_or("private", String::as_str);
        match (action, key) {
            ("GetObject", Some(key)) => {
                let found = self.objects.meta().object(name, key, None).await;
                let acl = found.ok().and_then(|found| found.row.acl);
                Ok(acl.is_some_and(|acl| allows(&acl, Permission::READ, account)))
            }
            ("PutObject" | "DeleteObject", Some(_)) => Ok(allows(own, Permission::WRITE, account)),
            ("ListBucket" | "ListBucketVersions" | "ListBucketMultipartUploads", None) => {
                Ok(allows(own, Permission::READ, account))
            }
            _ => Ok(false),
        }
    }

    pub(super) async fn put_bucket_acl_of(
        &self,
        request: S3Request<dto::PutBucketAclInput>,
    ) -> S3Result<S3Response<dto::PutBucketAclOutput>> {
        let input = request.input;
        let row = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let asked = Asked {
            canned: input.acl.as_ref().map(BucketCannedACL::as_str),
            grantees: input.access_control_policy.is_some() || asked_acl!(input).grantees,
        };
        let acl = of_write(&row, asked)?;
        let changed = self.objects.meta().change_bucket(&input.bucket, move |row| {
            row.documents.remove(ACL);
            row.documents.extend(acl.map(|acl| (ACL.to_owned(), acl)));
            Ok(())
        });
        changed.await.map_err(error::meta)?;
        Ok(S3Response::new(dto::PutBucketAclOutput::default()))
    }

    pub(super) async fn put_object_acl_of(
        &self,
        request: S3Request<dto::PutObjectAclInput>,
    ) -> S3Result<S3Response<dto::PutObjectAclOutput>> {
        let input = request.input;
        let row = self.objects.meta().bucket(&input.bucket).await.map_err(error::meta)?;
        let asked = Asked {
            canned: input.acl.as_ref().map(ObjectCannedACL::as_str),
            grantees: input.access_control_policy.is_some() || asked_acl!(input).grantees,
        };
        let acl = of_write(&row, asked)?;
        let version = version(input.version_id.as_deref())?;
        let changed = self.objects.meta().change_object(&input.bucket, &input.key, version, |_, row| {
            row.acl = acl;
            Ok(())
        });
        changed.await.map_err(error::meta)?;
        Ok(S3Response::new(dto::PutObjectAclOutput::default()))
    }

    pub(super) async fn get_bucket_acl_of(
        &self,
        request: S3Request<dto::GetBucketAclInput>,
    ) -> S3Result<S3Response<dto::GetBucketAclOutput>> {
        let row = self.objects.meta().bucket(&request.input.bucket).await.map_err(error::meta)?;
        let grants = Some(shown(&row.account, row.documents.get(ACL)));
        Ok(S3Response::new(dto::GetBucketAclOutput { grants, owner: Some(owner(&row.account)) }))
    }

    pub(super) async fn get_object_acl_of(
        &self,
        request: S3Request<dto::GetObjectAclInput>,
    ) -> S3Result<S3Response<dto::GetObjectAclOutput>> {
        let input = request.input;
        let (opened, _, _) = self.open(&input.bucket, &input.key, input.version_id.as_deref()).await?;
        let account = &opened.found.bucket.account;
        let grants = Some(shown(account, opened.found.row.acl.as_ref()));
        Ok(S3Response::new(dto::GetObjectAclOutput {
            grants,
            owner: Some(owner(account)),
            request_charged: None,
        }))
    }

    pub(super) async fn put_ownership(
        &self,
        request: S3Request<dto::PutBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<dto::PutBucketOwnershipControlsOutput>> {
        let input = request.input;
        let [rule] = &*input.ownership_controls.rules else { return Err(s3_error!(MalformedXML)) };
        let ownership = ownership(rule.object_ownership.as_str())?;
        self.keep_text(&input.bucket, OWNERSHIP, ownership).await?;
        Ok(S3Response::new(dto::PutBucketOwnershipControlsOutput::default()))
    }

    pub(super) async fn get_ownership(
        &self,
        request: S3Request<dto::GetBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<dto::GetBucketOwnershipControlsOutput>> {
        let row = self.objects.meta().bucket(&request.input.bucket).await.map_err(error::meta)?;
        let kept = row.documents.get(OWNERSHIP).cloned().ok_or_else(|| {
            s3_error!(OwnershipControlsNotFoundError, "The bucket ownership controls were not found")
        })?;
        let rule = dto::OwnershipControlsRule { object_ownership: kept.into() };
        let controls = OwnershipControls { rules: vec![rule] };
        Ok(S3Response::new(dto::GetBucketOwnershipControlsOutput { ownership_controls: Some(controls) }))
    }

    pub(super) async fn delete_ownership(
        &self,
        request: S3Request<dto::DeleteBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketOwnershipControlsOutput>> {
        self.drop_document(&request.input.bucket, OWNERSHIP).await?;
        Ok(S3Response::new(dto::DeleteBucketOwnershipControlsOutput::default()))
    }
}

/// Whose objects of a new bucket are, and what its own ACL is, as documents.
pub(super) fn of_new_bucket(
    row: &mut BucketRow,
    asked_ownership: Option<&str>,
    asked: Asked<'_>,
) -> S3Result<()> {
    if let Some(asked) = asked_ownership {
        row.documents.insert(OWNERSHIP.to_owned(), ownership(asked)?);
    }
    let acl = of_write(row, asked)?;
    row.documents.extend(acl.map(|acl| (ACL.to_owned(), acl)));
    Ok(())
}

fn ownership(named: &str) -> S3Result<String> {
    match named {
        "BucketOwnerEnforced" | "BucketOwnerPreferred" => Ok(named.to_owned()),
        "ObjectWriter" => Err(s3_error!(NotImplemented, "Objects are always their bucket's owner's")),
        _ => Err(s3_error!(MalformedXML)),
    }
}

fn shown(account: &str, canned: Option<&String>) -> Vec<Grant> {
    let owner = owner(account);
    let full = Grant {
        grantee: Some(Grantee {
            display_name: owner.display_name,
            email_address: None,
            id: owner.id,
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    };
    let groups = given(canned.map_or("private", String::as_str)).iter().map(|(group, permission)| Grant {
        grantee: Some(Grantee {
            display_name: None,
            email_address: None,
            id: None,
            type_: Type::from_static(Type::GROUP),
            uri: Some((*group).to_owned()),
        }),
        permission: Some(Permission::from_static(permission)),
    });
    std::iter::once(full).chain(groups).collect()
}
