"""What is set about buckets and objects: tags, CORS, policies, lifecycles, locks."""

import datetime
import json

import requests_free as raw
from node import refused


def case_tags_of_an_object(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", Tagging="a=1&b=%20%C3%BC")
    assert w.s3.get_object_tagging(Bucket=b, Key="k")["TagSet"] == [
        {"Key": "a", "Value": "1"}, {"Key": "b", "Value": " ü"},
    ]
    assert w.s3.get_object(Bucket=b, Key="k")["TagCount"] == 2
    w.s3.delete_object_tagging(Bucket=b, Key="k")
    assert w.s3.get_object_tagging(Bucket=b, Key="k")["TagSet"] == []
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(11)]
    refused("BadRequest", w.s3.put_object_tagging, Bucket=b, Key="k", Tagging={"TagSet": many})
    twice = [{"Key": "k", "Value": "v"}] * 2
    refused("InvalidTag", w.s3.put_object_tagging, Bucket=b, Key="k", Tagging={"TagSet": twice})
    long = [{"Key": "k" * 129, "Value": "v"}]
    refused("InvalidTag", w.s3.put_object_tagging, Bucket=b, Key="k", Tagging={"TagSet": long})
    refused("NoSuchKey", w.s3.get_object_tagging, Bucket=b, Key="absent")


def case_tags_of_a_bucket(w):
    b = w.bucket()
    refused("NoSuchTagSet", w.s3.get_bucket_tagging, Bucket=b, status=404)
    w.s3.put_bucket_tagging(Bucket=b, Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    assert w.s3.get_bucket_tagging(Bucket=b)["TagSet"] == [{"Key": "a", "Value": "1"}]
    w.s3.delete_bucket_tagging(Bucket=b)
    refused("NoSuchTagSet", w.s3.get_bucket_tagging, Bucket=b)


def case_cors_is_answered(w):
    b = w.bucket()
    refused("NoSuchCORSConfiguration", w.s3.get_bucket_cors, Bucket=b, status=404)
    rule = {
        "AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["https://*.example"], "AllowedHeaders": ["x-*"],
        "ExposeHeaders": ["etag"], "MaxAgeSeconds": 60,
    }
    w.s3.put_bucket_cors(Bucket=b, CORSConfiguration={"CORSRules": [rule]})
    assert w.s3.get_bucket_cors(Bucket=b)["CORSRules"] == [rule]

    def preflight(origin, method, headers=None):
        said = {"Origin": origin, "Access-Control-Request-Method": method}
        if headers:
            said["Access-Control-Request-Headers"] = headers
        return raw.exchange(w.node.url, "OPTIONS", f"/{b}/k", None, said)

    good = preflight("https://a.example", "PUT", "x-one, X-Two")
    assert good.status == 200 and good.headers["access-control-allow-origin"] == "https://a.example"
    assert good.headers["access-control-max-age"] == "60"
    assert preflight("https://a.example", "DELETE").status == 403
    assert preflight("https://example", "PUT").status == 403
    assert preflight("https://a.example", "PUT", "y-one").status == 403
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    got = raw.send(w, "GET", f"/{b}/k", more={"Origin": "https://a.example"})
    assert got.headers["access-control-expose-headers"] == "etag"
    assert "access-control-allow-origin" not in raw.send(w, "GET", f"/{b}/k", more={"Origin": "https://b"}).headers
    w.s3.delete_bucket_cors(Bucket=b)
    assert preflight("https://a.example", "PUT").status == 403


def _policy(b, *statements):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Principal": principal, "Action": action, "Resource": f"arn:aws:s3:::{b}{rest}"}
        for effect, principal, action, rest in statements
    ]})


def case_a_policy_lets_the_public_read(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"public")
    assert raw.exchange(w.node.url, "GET", f"/{b}/k", None, {}).status == 403
    refused("NoSuchBucketPolicy", w.s3.get_bucket_policy, Bucket=b, status=404)
    text = _policy(b, ("Allow", "*", "s3:GetObject", "/*"))
    w.s3.put_bucket_policy(Bucket=b, Policy=text)
    assert json.loads(w.s3.get_bucket_policy(Bucket=b)["Policy"]) == json.loads(text)
    assert w.s3.get_bucket_policy_status(Bucket=b)["PolicyStatus"]["IsPublic"]
    assert raw.exchange(w.node.url, "GET", f"/{b}/k", None, {}).body == b"public"
    assert raw.exchange(w.node.url, "PUT", f"/{b}/k", b"x", {}).status == 403
    assert raw.exchange(w.node.url, "DELETE", f"/{b}/k", None, {}).status == 403
    assert raw.exchange(w.node.url, "GET", f"/{b}", None, {}).status == 403
    w.s3.put_public_access_block(Bucket=b, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    assert raw.exchange(w.node.url, "GET", f"/{b}/k", None, {}).status == 403
    w.s3.delete_public_access_block(Bucket=b)
    w.s3.delete_bucket_policy(Bucket=b)
    assert raw.exchange(w.node.url, "GET", f"/{b}/k", None, {}).status == 403


def case_public_policies_are_blocked(w):
    b = w.bucket()
    refused("NoSuchPublicAccessBlockConfiguration", w.s3.get_public_access_block, Bucket=b, status=404)
    w.s3.put_public_access_block(Bucket=b, PublicAccessBlockConfiguration={"BlockPublicPolicy": True})
    said = w.s3.get_public_access_block(Bucket=b)["PublicAccessBlockConfiguration"]
    assert said["BlockPublicPolicy"]
    refused("AccessDenied", w.s3.put_bucket_policy, Bucket=b, Policy=_policy(b, ("Allow", "*", "s3:*", "/*")))


def case_a_policy_that_is_not_understood_is_refused(w):
    b = w.bucket()
    for text in ["{}", "nonsense", _policy("other", ("Allow", "*", "s3:*", "/*")), _policy(b, ("Allow", "*", "ec2:*", ""))]:
        refused("MalformedPolicy", w.s3.put_bucket_policy, Bucket=b, Policy=text, status=400)
    conditional = json.loads(_policy(b, ("Allow", "*", "s3:*", "/*")))
    conditional["Statement"][0]["Condition"] = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    refused("MalformedPolicy", w.s3.put_bucket_policy, Bucket=b, Policy=json.dumps(conditional))


def case_a_denial_binds_the_owner_too_but_not_over_the_policy(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="secret/k", Body=b"x")
    w.s3.put_bucket_policy(Bucket=b, Policy=_policy(b, ("Deny", "*", "s3:*", "/secret/*"), ("Deny", "*", "s3:*", "")))
    refused("AccessDenied", w.s3.get_object, Bucket=b, Key="secret/k", status=403)
    done = w.s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "secret/k"}]})
    assert done["Errors"][0]["Code"] == "AccessDenied"
    w.s3.delete_bucket_policy(Bucket=b)
    w.s3.get_object(Bucket=b, Key="secret/k")


def case_a_lifecycle_is_kept(w):
    b = w.bucket()
    refused("NoSuchLifecycleConfiguration", w.s3.get_bucket_lifecycle_configuration, Bucket=b, status=404)
    rules = [{"ID": "one", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}]
    w.s3.put_bucket_lifecycle_configuration(Bucket=b, LifecycleConfiguration={"Rules": rules})
    assert w.s3.get_bucket_lifecycle_configuration(Bucket=b)["Rules"] == rules
    moves = [dict(rules[0], Transitions=[{"Days": 1, "StorageClass": "GLACIER"}])]
    refused(
        "NotImplemented", w.s3.put_bucket_lifecycle_configuration, Bucket=b, LifecycleConfiguration={"Rules": moves}
    )
    never = [dict(rules[0], Expiration={"Days": 0})]
    refused(
        "InvalidArgument", w.s3.put_bucket_lifecycle_configuration, Bucket=b, LifecycleConfiguration={"Rules": never}
    )
    w.s3.delete_bucket_lifecycle(Bucket=b)


def _later(**named):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**named)


def case_a_locked_version_stays(w):
    b = w.bucket(ObjectLockEnabledForBucket=True)
    assert w.s3.get_bucket_versioning(Bucket=b)["Status"] == "Enabled"
    until = _later(hours=1)
    version = w.s3.put_object(
        Bucket=b, Key="k", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
    )["VersionId"]
    said = w.s3.get_object_retention(Bucket=b, Key="k")["Retention"]
    assert said["Mode"] == "COMPLIANCE" and abs(said["RetainUntilDate"] - until) < datetime.timedelta(seconds=2)
    refused("AccessDenied", w.s3.delete_object, Bucket=b, Key="k", VersionId=version, status=403)
    refused(
        "AccessDenied", w.s3.delete_object, Bucket=b, Key="k", VersionId=version, BypassGovernanceRetention=True
    )
    shorter = {"Mode": "COMPLIANCE", "RetainUntilDate": _later(minutes=1)}
    refused("AccessDenied", w.s3.put_object_retention, Bucket=b, Key="k", Retention=shorter)
    longer = {"Mode": "COMPLIANCE", "RetainUntilDate": _later(hours=2)}
    w.s3.put_object_retention(Bucket=b, Key="k", Retention=longer)
    assert w.s3.delete_object(Bucket=b, Key="k")["DeleteMarker"]


def case_governance_is_bypassed_by_saying_so(w):
    b = w.bucket(ObjectLockEnabledForBucket=True)
    version = w.s3.put_object(
        Bucket=b, Key="k", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=_later(hours=1)
    )["VersionId"]
    refused("AccessDenied", w.s3.delete_object, Bucket=b, Key="k", VersionId=version)
    w.s3.delete_object(Bucket=b, Key="k", VersionId=version, BypassGovernanceRetention=True)


def case_a_legal_hold(w):
    b = w.bucket(ObjectLockEnabledForBucket=True)
    version = w.s3.put_object(Bucket=b, Key="k", Body=b"x")["VersionId"]
    assert w.s3.get_object_legal_hold(Bucket=b, Key="k")["LegalHold"]["Status"] == "OFF"
    w.s3.put_object_legal_hold(Bucket=b, Key="k", LegalHold={"Status": "ON"})
    refused("AccessDenied", w.s3.delete_object, Bucket=b, Key="k", VersionId=version, BypassGovernanceRetention=True)
    w.s3.put_object_legal_hold(Bucket=b, Key="k", LegalHold={"Status": "OFF"})
    w.s3.delete_object(Bucket=b, Key="k", VersionId=version)


def case_a_default_retention(w):
    b = w.bucket(ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2}}
    said = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    w.s3.put_object_lock_configuration(Bucket=b, ObjectLockConfiguration=said)
    assert w.s3.get_object_lock_configuration(Bucket=b)["ObjectLockConfiguration"] == said
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    assert w.s3.get_object_retention(Bucket=b, Key="k")["Retention"]["Mode"] == "GOVERNANCE"


def case_a_bucket_without_locks_takes_none(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    refused("ObjectLockConfigurationNotFoundError", w.s3.get_object_lock_configuration, Bucket=b, status=404)
    refused("InvalidRequest", w.s3.put_object_legal_hold, Bucket=b, Key="k", LegalHold={"Status": "ON"})
    refused(
        "InvalidRequest", w.s3.put_object, Bucket=b, Key="k", Body=b"x", ObjectLockMode="GOVERNANCE",
        ObjectLockRetainUntilDate=_later(hours=1),
    )


def case_acls_say_who_owns(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    for said in [w.s3.get_bucket_acl(Bucket=b), w.s3.get_object_acl(Bucket=b, Key="k")]:
        assert said["Owner"]["DisplayName"] == "owner"
        assert [grant["Permission"] for grant in said["Grants"]] == ["FULL_CONTROL"]
    w.s3.put_bucket_acl(Bucket=b, ACL="private")
    w.s3.put_object_acl(Bucket=b, Key="k", ACL="bucket-owner-full-control")
    refused("AccessControlListNotSupported", w.s3.put_bucket_acl, Bucket=b, ACL="public-read", status=400)


def case_buckets_are_made_and_deleted(w):
    b = w.bucket()
    assert b in [bucket["Name"] for bucket in w.s3.list_buckets()["Buckets"]]
    refused("BucketAlreadyOwnedByYou", w.s3.create_bucket, Bucket=b, status=409)
    assert w.s3.get_bucket_location(Bucket=b)["LocationConstraint"] is None
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    refused("BucketNotEmpty", w.s3.delete_bucket, Bucket=b, status=409)
    w.s3.delete_object(Bucket=b, Key="k")
    w.s3.delete_bucket(Bucket=b)
    refused("NoSuchBucket", w.s3.delete_bucket, Bucket=b)


def case_names_that_are_no_buckets(w):
    for name in ["ab", "Upper", "a..b", "192.168.1.1", "x" * 64]:
        answer = raw.send(w, "PUT", f"/{name}")
        assert answer.status == 400 and "InvalidBucketName" in answer.text, (name, answer.status, answer.text)


def case_what_is_not_here_says_so(w):
    b = w.bucket()
    refused("NotImplemented", w.s3.get_bucket_replication, Bucket=b, status=501)
    refused("NotImplemented", w.s3.get_bucket_notification_configuration, Bucket=b)
    refused("NotImplemented", w.s3.get_bucket_logging, Bucket=b)
