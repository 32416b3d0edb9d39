"""Bucket policies: who is let in, and to what."""

import json

import requests_free as raw
from node import refused


def _put(w, b, *statements):
    full = [
        {"Effect": effect, "Principal": principal, "Action": action, "Resource": f"arn:aws:s3:::{b}{rest}"}
        for effect, principal, action, rest in statements
    ]
    w.s3.put_bucket_policy(Bucket=b, Policy=json.dumps({"Version": "2012-10-17", "Statement": full}))


def _world(w, *names):
    b = w.bucket()
    for key in names or ["a/1", "b/1"]:
        w.s3.put_object(Bucket=b, Key=key, Body=b"x")
    return b


def _anybody(w, method, path, body=None):
    return raw.exchange(w.node.url, method, path, body, {}).status


def case_a_prefix_is_public(w):
    b = _world(w)
    _put(w, b, ("Allow", "*", "s3:GetObject", "/a/*"))
    assert _anybody(w, "GET", f"/{b}/a/1") == 200 and _anybody(w, "GET", f"/{b}/b/1") == 403


def case_a_listing_is_public_and_its_objects_are_not(w):
    b = _world(w)
    _put(w, b, ("Allow", "*", "s3:ListBucket", ""))
    assert _anybody(w, "GET", f"/{b}?list-type=2") == 200 and _anybody(w, "GET", f"/{b}/a/1") == 403


def case_the_public_writes_where_it_may(w):
    b = _world(w)
    _put(w, b, ("Allow", "*", "s3:PutObject", "/inbox/*"))
    assert _anybody(w, "PUT", f"/{b}/inbox/x", b"theirs") == 200
    assert _anybody(w, "PUT", f"/{b}/a/1", b"theirs") == 403 and _anybody(w, "GET", f"/{b}/inbox/x") == 403
    assert w.s3.get_object(Bucket=b, Key="inbox/x")["Body"].read() == b"theirs"


def case_one_account_deletes(w):
    b = _world(w)
    helper, other = w.node.client(w.node.key("deleter")), w.node.client(w.node.key("no-deleter"))
    _put(w, b, ("Allow", {"AWS": ["arn:aws:iam::deleter:root"]}, "s3:DeleteObject", "/*"))
    refused("AccessDenied", other.delete_object, Bucket=b, Key="a/1", status=403)
    helper.delete_object(Bucket=b, Key="a/1")
    refused("AccessDenied", helper.get_object, Bucket=b, Key="b/1")
    refused("NoSuchKey", w.s3.get_object, Bucket=b, Key="a/1")


def case_several_actions_and_a_wildcard(w):
    b = _world(w)
    friend = w.node.client(w.node.key("wildcard"))
    _put(w, b, ("Allow", {"AWS": "wildcard"}, ["s3:Get*", "s3:PutObject"], "/*"))
    friend.get_object(Bucket=b, Key="a/1")
    friend.get_object_tagging(Bucket=b, Key="a/1")
    friend.put_object(Bucket=b, Key="a/2", Body=b"y")
    refused("AccessDenied", friend.delete_object, Bucket=b, Key="a/1")
    refused("AccessDenied", friend.put_object_tagging, Bucket=b, Key="a/1", Tagging={"TagSet": []})


def case_a_question_mark_is_one_letter(w):
    b = _world(w, "k1", "k12")
    _put(w, b, ("Allow", "*", "s3:GetObject", "/k?"))
    assert _anybody(w, "GET", f"/{b}/k1") == 200 and _anybody(w, "GET", f"/{b}/k12") == 403


def case_a_friend_copies_out(w):
    b = _world(w)
    friend = w.node.client(w.node.key("copier"))
    friend.create_bucket(Bucket="copiers-bucket")
    source = {"Bucket": b, "Key": "a/1"}
    refused("AccessDenied", friend.copy_object, Bucket="copiers-bucket", Key="c", CopySource=source, status=403)
    _put(w, b, ("Allow", {"AWS": "copier"}, "s3:GetObject", "/*"))
    friend.copy_object(Bucket="copiers-bucket", Key="c", CopySource=source)
    assert friend.get_object(Bucket="copiers-bucket", Key="c")["Body"].read() == b"x"


def case_a_friend_uploads_in_parts(w):
    b = _world(w)
    friend = w.node.client(w.node.key("uploader"))
    _put(w, b, ("Allow", {"AWS": "uploader"}, ["s3:PutObject", "s3:AbortMultipartUpload"], "/*"))
    named = dict(Bucket=b, Key="parts")
    named["UploadId"] = friend.create_multipart_upload(**named)["UploadId"]
    etag = friend.upload_part(PartNumber=1, Body=b"part", **named)["ETag"]
    friend.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **named)
    assert w.s3.get_object(Bucket=b, Key="parts")["Body"].read() == b"part"


def case_a_policy_of_20_kib_is_the_longest(w):
    b = w.bucket()
    sid = {"Sid": "x" * (21 * 1024), "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{b}/*"}
    refused("MalformedPolicy", w.s3.put_bucket_policy, Bucket=b, Policy=json.dumps({"Statement": [sid]}), status=400)


def case_a_policy_is_not_public_by_naming_accounts(w):
    b = w.bucket()
    _put(w, b, ("Allow", {"AWS": "friend"}, "s3:GetObject", "/*"))
    assert not w.s3.get_bucket_policy_status(Bucket=b)["PolicyStatus"]["IsPublic"]


def case_cors_of_a_public_bucket(w):
    b = _world(w)
    _put(w, b, ("Allow", "*", "s3:GetObject", "/*"))
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}
    w.s3.put_bucket_cors(Bucket=b, CORSConfiguration={"CORSRules": [rule]})
    answer = raw.exchange(w.node.url, "GET", f"/{b}/a/1", None, {"Origin": "https://any.example"})
    assert answer.status == 200 and answer.headers["access-control-allow-origin"] == "*"


def case_cors_rules_that_are_wrong(w):
    b = w.bucket()
    rule = {"AllowedMethods": ["PATCH"], "AllowedOrigins": ["*"]}
    refused("InvalidRequest", w.s3.put_bucket_cors, Bucket=b, CORSConfiguration={"CORSRules": [rule]}, status=400)
    refused("MalformedXML", w.s3.put_bucket_cors, Bucket=b, CORSConfiguration={"CORSRules": []})


def _lifecycle(rule, code):
    def case(w):
        full = {"ID": "one", "Status": "Enabled", "Filter": {"Prefix": ""}, **rule}
        refused(
            code, w.s3.put_bucket_lifecycle_configuration, Bucket=w.bucket(), LifecycleConfiguration={"Rules": [full]}
        )

    return case


case_a_lifecycle_that_does_nothing = _lifecycle({}, "InvalidRequest")
case_a_lifecycle_of_other_classes = _lifecycle(
    {"NoncurrentVersionTransitions": [{"NoncurrentDays": 3, "StorageClass": "GLACIER"}]}, "NotImplemented"
)
case_a_lifecycle_with_an_unknown_status = _lifecycle({"Status": "Perhaps", "Expiration": {"Days": 1}}, "MalformedXML")


def case_fifty_tags_of_a_bucket_and_no_more(w):
    b = w.bucket()
    tags = [{"Key": f"k{number}", "Value": "v"} for number in range(51)]
    w.s3.put_bucket_tagging(Bucket=b, Tagging={"TagSet": tags[:50]})
    assert len(w.s3.get_bucket_tagging(Bucket=b)["TagSet"]) == 50
    refused("BadRequest", w.s3.put_bucket_tagging, Bucket=b, Tagging={"TagSet": tags}, status=400)
