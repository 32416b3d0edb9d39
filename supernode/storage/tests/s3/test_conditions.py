"""Conditions of reads, writes, copies and deletions, and the smaller promises of single requests."""

import datetime
import hashlib
import os

import requests_free as raw
from node import refused

HOUR = datetime.timedelta(hours=1)


def _put(w, data=b"x", bucket=None, **more):
    b = bucket or w.bucket()
    return b, w.s3.put_object(Bucket=b, Key="k", Body=data, **more)["ETag"]


def case_several_etags_are_no_condition_of_a_write(w):
    b, etag = _put(w)
    answer = raw.send(w, "PUT", f"/{b}/k", b"y", {"If-None-Match": etag})
    assert answer.status == 501 and "NotImplemented" in answer.text, answer.text


def case_a_deletion_with_a_condition(w):
    b, etag = _put(w)
    refused("PreconditionFailed", w.s3.delete_object, Bucket=b, Key="k", IfMatch='"other"', status=412)
    w.s3.delete_object(Bucket=b, Key="k", IfMatch=etag)
    refused("NoSuchKey", w.s3.get_object, Bucket=b, Key="k")


def case_many_deletions_each_with_its_condition(w):
    b = w.bucket()
    etags = {key: w.s3.put_object(Bucket=b, Key=key, Body=key.encode())["ETag"] for key in ["a", "b"]}
    objects = [{"Key": "a", "ETag": etags["a"]}, {"Key": "b", "ETag": '"other"'}]
    done = w.s3.delete_objects(Bucket=b, Delete={"Objects": objects})
    assert [gone["Key"] for gone in done["Deleted"]] == ["a"]
    assert [(error["Key"], error["Code"]) for error in done["Errors"]] == [("b", "PreconditionFailed")]


def case_dates_as_conditions_of_a_copy(w):
    b, _ = _put(w)
    modified = w.s3.head_object(Bucket=b, Key="k")["LastModified"]
    named = dict(Bucket=b, Key="copy", CopySource={"Bucket": b, "Key": "k"})
    w.s3.copy_object(CopySourceIfModifiedSince=modified - HOUR, **named)
    w.s3.copy_object(CopySourceIfUnmodifiedSince=modified + HOUR, **named)
    refused("PreconditionFailed", w.s3.copy_object, CopySourceIfUnmodifiedSince=modified - HOUR, status=412, **named)
    refused("PreconditionFailed", w.s3.copy_object, CopySourceIfModifiedSince=modified, **named)


def case_a_condition_and_a_range_together(w):
    b, etag = _put(w, b"0123456789")
    got = w.s3.get_object(Bucket=b, Key="k", Range="bytes=3-5", IfMatch=etag)
    assert got["Body"].read() == b"345"
    refused("304", w.s3.get_object, Bucket=b, Key="k", Range="bytes=3-5", IfNoneMatch=etag)


def case_a_range_and_a_part_at_once_are_refused(w):
    b, _ = _put(w, b"0123456789")
    refused("InvalidRequest", w.s3.get_object, Bucket=b, Key="k", Range="bytes=0-1", PartNumber=1, status=400)


def case_the_only_part_of_a_whole_object(w):
    b, _ = _put(w, b"0123456789")
    got = w.s3.get_object(Bucket=b, Key="k", PartNumber=1)
    assert got["Body"].read() == b"0123456789"
    refused("InvalidPartNumber", w.s3.get_object, Bucket=b, Key="k", PartNumber=2, status=416)


def case_a_range_of_nothing(w):
    b, _ = _put(w, b"")
    refused("InvalidRange", w.s3.get_object, Bucket=b, Key="k", Range="bytes=0-0", status=416)
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b""


def case_the_head_of_a_range(w):
    b, _ = _put(w, b"0123456789")
    head = w.s3.head_object(Bucket=b, Key="k", Range="bytes=2-4")
    assert head["ContentLength"] == 3 and head["ContentRange"] == "bytes 2-4/10"


def _refusal_of_names(name):
    def case(w):
        answer = raw.send(w, "PUT", f"/{name}")
        assert answer.status == 400 and "InvalidBucketName" in answer.text, answer.text

    return case


case_a_bucket_of_two_letters = _refusal_of_names("ab")
case_a_bucket_with_an_underscore = _refusal_of_names("under_score")
case_a_bucket_that_begins_with_a_hyphen = _refusal_of_names("-front")
case_a_bucket_that_ends_with_a_hyphen = _refusal_of_names("back-")
case_a_bucket_that_is_an_address = _refusal_of_names("10.0.0.1")
case_a_bucket_of_64_letters = _refusal_of_names("x" * 64)


def case_a_bucket_in_a_region_that_is_not_there(w):
    refused(
        "InvalidLocationConstraint", w.s3.create_bucket, Bucket="elsewhere",
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}, status=400,
    )


def case_buckets_are_listed_in_pages(w):
    key = w.node.key("many-buckets")
    s3 = w.node.client(key)
    names = [f"page-{letter}" for letter in "abcde"]
    for name in names:
        s3.create_bucket(Bucket=name)
    first = s3.list_buckets(MaxBuckets=2)
    assert [bucket["Name"] for bucket in first["Buckets"]] == names[:2]
    second = s3.list_buckets(MaxBuckets=10, ContinuationToken=first["ContinuationToken"])
    assert [bucket["Name"] for bucket in second["Buckets"]] == names[2:] and "ContinuationToken" not in second
    assert [bucket["Name"] for bucket in s3.list_buckets(Prefix="page-c")["Buckets"]] == ["page-c"]


def case_the_head_of_a_bucket_says_its_region(w):
    head = w.s3.head_bucket(Bucket=w.bucket())["ResponseMetadata"]
    assert head["HTTPHeaders"]["x-amz-bucket-region"] == "us-east-1" and head["HTTPStatusCode"] == 200


def case_each_answer_has_an_id_of_its_own(w):
    ids = {w.s3.list_buckets()["ResponseMetadata"]["RequestId"] for _ in range(5)}
    assert len(ids) == 5 and "" not in ids


def case_the_owner_that_is_expected(w):
    b, _ = _put(w)
    owner = w.s3.get_bucket_acl(Bucket=b)["Owner"]["ID"]
    for expected in [owner, "owner"]:
        w.s3.get_object(Bucket=b, Key="k", ExpectedBucketOwner=expected)
    for call, named in [(w.s3.get_object, {"Key": "k"}), (w.s3.put_object, {"Key": "k", "Body": b"y"}), (w.s3.list_objects_v2, {})]:
        refused("AccessDenied", call, Bucket=b, ExpectedBucketOwner="somebody", status=403, **named)
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"x"


def case_metadata_beyond_ascii(w):
    b = w.bucket()
    answer = raw.send(w, "PUT", f"/{b}/k", b"x", {"x-amz-meta-name": "=?UTF-8?B?w7w=?="})
    assert answer.status == 200, answer.text
    got = raw.send(w, "GET", f"/{b}/k")
    assert got.headers["x-amz-meta-name"] == "=?UTF-8?B?w7w=?="


def case_a_body_longer_than_its_length_says_is_another_request(w):
    # What follows the declared length is no part of the object.
    b = w.bucket()
    headers = raw.signed(w, "PUT", f"/{b}/k", b"abc")
    headers["Content-Length"] = "3"
    assert raw.exchange(w.node.url, "PUT", f"/{b}/k", b"abc", headers).status == 200
    assert w.s3.head_object(Bucket=b, Key="k")["ContentLength"] == 3


def case_an_object_without_a_length_is_refused(w):
    b = w.bucket()
    answer = raw.send(w, "PUT", f"/{b}/k", b"", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, more={"Transfer-Encoding": "chunked"})
    assert answer.status in (400, 411, 501), (answer.status, answer.text)
    refused("404", w.s3.head_object, Bucket=b, Key="k")


def case_a_copy_of_a_version_that_is_gone(w):
    b = w.versioned()
    version = w.s3.put_object(Bucket=b, Key="k", Body=b"1")["VersionId"]
    w.s3.delete_object(Bucket=b, Key="k", VersionId=version)
    source = {"Bucket": b, "Key": "k", "VersionId": version}
    refused("NoSuchVersion", w.s3.copy_object, Bucket=b, Key="c", CopySource=source, status=404)


def case_a_copy_of_what_was_deleted(w):
    b = w.versioned()
    w.s3.put_object(Bucket=b, Key="k", Body=b"1")
    w.s3.delete_object(Bucket=b, Key="k")
    refused("NoSuchKey", w.s3.copy_object, Bucket=b, Key="c", CopySource={"Bucket": b, "Key": "k"}, status=404)


def case_a_copy_to_another_bucket_that_is_not_there(w):
    b, _ = _put(w)
    refused("NoSuchBucket", w.s3.copy_object, Bucket="no-such-bucket", Key="c", CopySource={"Bucket": b, "Key": "k"})


def case_a_copy_is_of_its_moment(w):
    b = w.bucket()
    old = os.urandom(100_000)
    w.s3.put_object(Bucket=b, Key="k", Body=old)
    w.s3.copy_object(Bucket=b, Key="c", CopySource={"Bucket": b, "Key": "k"})
    w.s3.put_object(Bucket=b, Key="k", Body=b"new")
    got = w.s3.get_object(Bucket=b, Key="c")
    assert got["Body"].read() == old and got["ETag"] == f'"{hashlib.md5(old).hexdigest()}"'


def case_tags_in_a_copys_header_are_checked(w):
    b, _ = _put(w)
    refused(
        "InvalidTag", w.s3.copy_object, Bucket=b, Key="c", CopySource={"Bucket": b, "Key": "k"},
        TaggingDirective="REPLACE", Tagging="=v",
    )


def case_a_storage_class_comes_back(w):
    b, _ = _put(w, StorageClass="REDUCED_REDUNDANCY")
    assert w.s3.head_object(Bucket=b, Key="k")["StorageClass"] == "REDUCED_REDUNDANCY"
    w.s3.put_object(Bucket=b, Key="s", Body=b"x", StorageClass="STANDARD")
    assert "StorageClass" not in w.s3.head_object(Bucket=b, Key="s")


def case_deleting_a_version_that_is_not_there_is_fine(w):
    b = w.versioned()
    version = w.s3.put_object(Bucket=b, Key="k", Body=b"1")["VersionId"]
    for _ in range(2):
        said = w.s3.delete_object(Bucket=b, Key="k", VersionId=version)
        assert said["ResponseMetadata"]["HTTPStatusCode"] == 204
