"""Canned ACLs, and whether they count."""

import requests_free as raw
from node import refused

ALL = "http://acs.amazonaws.com/groups/global/AllUsers"


def _bucket(w, **more):
    return w.bucket(ObjectOwnership="BucketOwnerPreferred", **more)


def _status(w, method, path, body=None):
    return raw.exchange(w.node.url, method, path, body, {}).status


def case_ownership_is_kept(w):
    b = w.bucket()
    refused("OwnershipControlsNotFoundError", w.s3.get_bucket_ownership_controls, Bucket=b, status=404)
    for kind in ["BucketOwnerPreferred", "BucketOwnerEnforced"]:
        controls = {"Rules": [{"ObjectOwnership": kind}]}
        w.s3.put_bucket_ownership_controls(Bucket=b, OwnershipControls=controls)
        assert w.s3.get_bucket_ownership_controls(Bucket=b)["OwnershipControls"] == controls
    w.s3.delete_bucket_ownership_controls(Bucket=b)
    refused("OwnershipControlsNotFoundError", w.s3.get_bucket_ownership_controls, Bucket=b)


def case_objects_of_their_writers_are_not_implemented(w):
    controls = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    refused("NotImplemented", w.s3.put_bucket_ownership_controls, Bucket=w.bucket(), OwnershipControls=controls)


def case_an_object_is_read_by_all(w):
    b = _bucket(w)
    w.s3.put_object(Bucket=b, Key="open", Body=b"x", ACL="public-read")
    w.s3.put_object(Bucket=b, Key="shut", Body=b"x")
    assert _status(w, "GET", f"/{b}/open") == 200 and _status(w, "HEAD", f"/{b}/open") == 200
    assert _status(w, "GET", f"/{b}/shut") == 403 and _status(w, "GET", f"/{b}") == 403
    assert _status(w, "PUT", f"/{b}/open", b"y") == 403 and _status(w, "DELETE", f"/{b}/open") == 403


def case_an_acl_is_shown(w):
    b = _bucket(w)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ACL="public-read")
    grants = w.s3.get_object_acl(Bucket=b, Key="k")["Grants"]
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL", "READ"]
    assert grants[1]["Grantee"] == {"Type": "Group", "URI": ALL}


def case_an_acl_is_changed(w):
    b = _bucket(w)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    w.s3.put_object_acl(Bucket=b, Key="k", ACL="public-read")
    assert _status(w, "GET", f"/{b}/k") == 200
    w.s3.put_object_acl(Bucket=b, Key="k", ACL="private")
    assert _status(w, "GET", f"/{b}/k") == 403


def case_those_with_a_name_are_let_in(w):
    b = _bucket(w)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ACL="authenticated-read")
    assert _status(w, "GET", f"/{b}/k") == 403
    other = w.node.client(w.node.key("someone"))
    assert other.get_object(Bucket=b, Key="k")["Body"].read() == b"x"
    refused("AccessDenied", other.put_object, Bucket=b, Key="k", Body=b"y")


def case_a_bucket_is_listed_by_all(w):
    b = _bucket(w, ACL="public-read")
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    answer = raw.exchange(w.node.url, "GET", f"/{b}?list-type=2", None, {})
    assert answer.status == 200 and "<Key>k</Key>" in answer.text
    assert _status(w, "GET", f"/{b}/k") == 403
    w.s3.put_bucket_acl(Bucket=b, ACL="private")
    assert _status(w, "GET", f"/{b}?list-type=2") == 403


def case_a_bucket_is_written_by_all(w):
    b = _bucket(w, ACL="public-read-write")
    assert _status(w, "PUT", f"/{b}/k", b"theirs") == 200
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"theirs"
    assert _status(w, "DELETE", f"/{b}/k") == 204
    assert [grant["Permission"] for grant in w.s3.get_bucket_acl(Bucket=b)["Grants"]] == ["FULL_CONTROL", "READ", "WRITE"]


def case_an_old_version_is_not_opened_by_the_newest_ones_acl(w):
    b = _bucket(w)
    w.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    old = w.s3.put_object(Bucket=b, Key="k", Body=b"secret")["VersionId"]
    w.s3.put_object(Bucket=b, Key="k", Body=b"open", ACL="public-read")
    assert _status(w, "GET", f"/{b}/k") == 200
    assert _status(w, "GET", f"/{b}/k?versionId={old}") == 403


def case_public_acls_are_blocked(w):
    b = _bucket(w)
    block = {"BlockPublicAcls": True}
    w.s3.put_public_access_block(Bucket=b, PublicAccessBlockConfiguration=block)
    refused("AccessDenied", w.s3.put_object, Bucket=b, Key="k", Body=b"x", ACL="public-read", status=403)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ACL="private")


def case_public_acls_are_ignored(w):
    b = _bucket(w)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ACL="public-read")
    w.s3.put_public_access_block(Bucket=b, PublicAccessBlockConfiguration={"IgnorePublicAcls": True})
    assert _status(w, "GET", f"/{b}/k") == 403
    w.s3.delete_public_access_block(Bucket=b)
    assert _status(w, "GET", f"/{b}/k") == 200


def case_a_denial_stands_above_an_acl(w):
    import json

    b = _bucket(w)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ACL="public-read")
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{b}/*"}
    w.s3.put_bucket_policy(Bucket=b, Policy=json.dumps({"Statement": [statement]}))
    assert _status(w, "GET", f"/{b}/k") == 403


def case_a_bucket_by_default_takes_no_acl(w):
    b = w.bucket()
    for acl in ["public-read", "authenticated-read", "bucket-owner-read"]:
        refused("AccessControlListNotSupported", w.s3.put_object, Bucket=b, Key="k", Body=b"x", ACL=acl, status=400)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ACL="bucket-owner-full-control")


def case_grantees_by_name_are_not_implemented(w):
    b = _bucket(w)
    refused("NotImplemented", w.s3.put_object, Bucket=b, Key="k", Body=b"x", GrantRead="id=abc")
    refused("AccessControlListNotSupported", w.s3.put_object, Bucket=w.bucket(), Key="k", Body=b"x", GrantRead="id=abc")


def case_an_acl_turned_off_lets_nobody_in(w):
    b = _bucket(w)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ACL="public-read")
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    w.s3.put_bucket_ownership_controls(Bucket=b, OwnershipControls=controls)
    assert _status(w, "GET", f"/{b}/k") == 403


def case_a_copy_is_private_unless_it_says_so(w):
    b = _bucket(w)
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ACL="public-read")
    w.s3.copy_object(Bucket=b, Key="private", CopySource={"Bucket": b, "Key": "k"})
    w.s3.copy_object(Bucket=b, Key="public", CopySource={"Bucket": b, "Key": "k"}, ACL="public-read")
    assert _status(w, "GET", f"/{b}/private") == 403 and _status(w, "GET", f"/{b}/public") == 200


def case_an_upload_in_parts_keeps_its_acl(w):
    b = _bucket(w)
    upload = w.s3.create_multipart_upload(Bucket=b, Key="k", ACL="public-read")["UploadId"]
    named = dict(Bucket=b, Key="k", UploadId=upload)
    etag = w.s3.upload_part(PartNumber=1, Body=b"x", **named)["ETag"]
    w.s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **named)
    assert _status(w, "GET", f"/{b}/k") == 200
