"""Objects: PutObject, GetObject, HeadObject, CopyObject, DeleteObject(s), and what is said with them."""

import base64
import datetime
import hashlib
import os
import zlib

import requests_free as raw
from node import refused

HELLO = b"hello, world"


def case_an_object_is_what_was_put(w):
    b = w.bucket()
    for size in [0, 1, 4096, 4097, 65519, 65520, 65521, 1_000_000]:
        data = os.urandom(size)
        put = w.s3.put_object(Bucket=b, Key=f"k{size}", Body=data)
        assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
        got = w.s3.get_object(Bucket=b, Key=f"k{size}")
        assert got["Body"].read() == data and got["ContentLength"] == size and got["ETag"] == put["ETag"]
        assert w.s3.head_object(Bucket=b, Key=f"k{size}")["ContentLength"] == size


def case_an_object_is_replaced(w):
    b = w.bucket()
    for data in [b"one", os.urandom(100_000), b""]:
        w.s3.put_object(Bucket=b, Key="k", Body=data)
        assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == data


def case_headers_and_metadata_come_back(w):
    b = w.bucket()
    expires = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    said = dict(
        ContentType="text/x-test", CacheControl="max-age=5", ContentDisposition='attachment; filename="a"',
        ContentEncoding="gzip", ContentLanguage="de", Metadata={"one": "1", "two-words": "a b"},
        WebsiteRedirectLocation="/else",
    )
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO, Expires=expires, **said)
    for got in [w.s3.head_object(Bucket=b, Key="k"), w.s3.get_object(Bucket=b, Key="k")]:
        for name, value in said.items():
            assert got[name] == value, (name, got.get(name))
        assert got["AcceptRanges"] == "bytes" and got["ExpiresString"].startswith("Wed, 02 Jan 2030 03:04:05")


def case_an_object_without_a_type_is_bytes(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO)
    assert w.s3.head_object(Bucket=b, Key="k")["ContentType"] == "binary/octet-stream"


def case_too_much_metadata_is_refused(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO, Metadata={"a": "x" * 2047})
    refused("MetadataTooLarge", w.s3.put_object, Bucket=b, Key="k", Body=HELLO, Metadata={"a": "x" * 2048})


def case_response_headers_are_overridden(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO, ContentType="text/plain")
    got = w.s3.get_object(Bucket=b, Key="k", ResponseContentType="text/x", ResponseCacheControl="no-store")
    assert got["ContentType"] == "text/x" and got["CacheControl"] == "no-store"


def case_ranges(w):
    b = w.bucket()
    data = os.urandom(200_000)
    w.s3.put_object(Bucket=b, Key="k", Body=data)
    for text, expected in [
        ("bytes=0-0", data[:1]), ("bytes=0-", data), ("bytes=100-199", data[100:200]),
        ("bytes=65519-65521", data[65519:65522]), ("bytes=-1", data[-1:]), ("bytes=-500000", data),
        ("bytes=199999-300000", data[199999:]), ("bytes=1000-150000", data[1000:150001]),
    ]:
        got = w.s3.get_object(Bucket=b, Key="k", Range=text)
        assert got["Body"].read() == expected, text
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206 and got["ContentRange"].endswith("/200000"), text


def case_a_range_beyond_the_end_is_refused(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO)
    refused("InvalidRange", w.s3.get_object, Bucket=b, Key="k", Range="bytes=12-20", status=416)
    refused("InvalidRange", w.s3.get_object, Bucket=b, Key="k", Range="bytes=-0", status=416)


def case_conditions_on_get(w):
    b = w.bucket()
    etag = w.s3.put_object(Bucket=b, Key="k", Body=HELLO)["ETag"]
    modified = w.s3.head_object(Bucket=b, Key="k")["LastModified"]
    hour = datetime.timedelta(hours=1)
    for call in [w.s3.get_object, w.s3.head_object]:
        call(Bucket=b, Key="k", IfMatch=etag)
        call(Bucket=b, Key="k", IfNoneMatch='"other"')
        call(Bucket=b, Key="k", IfModifiedSince=modified - hour)
        call(Bucket=b, Key="k", IfUnmodifiedSince=modified + hour)
    for named in [dict(IfNoneMatch=etag), dict(IfModifiedSince=modified), dict(IfNoneMatch="*")]:
        refused("304", w.s3.get_object, Bucket=b, Key="k", status=304, **named)
    for named in [dict(IfMatch='"other"'), dict(IfUnmodifiedSince=modified - hour)]:
        refused("PreconditionFailed", w.s3.get_object, Bucket=b, Key="k", status=412, **named)


def case_an_etag_condition_stands_above_a_date(w):
    b = w.bucket()
    etag = w.s3.put_object(Bucket=b, Key="k", Body=HELLO)["ETag"]
    long_ago = datetime.datetime(2001, 1, 1)
    w.s3.get_object(Bucket=b, Key="k", IfMatch=etag, IfUnmodifiedSince=long_ago)
    refused("304", w.s3.get_object, Bucket=b, Key="k", IfNoneMatch=etag, IfModifiedSince=long_ago)


def case_conditions_on_put(w):
    b = w.bucket()
    etag = w.s3.put_object(Bucket=b, Key="k", Body=HELLO, IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", w.s3.put_object, Bucket=b, Key="k", Body=b"x", IfNoneMatch="*", status=412)
    refused("PreconditionFailed", w.s3.put_object, Bucket=b, Key="k", Body=b"x", IfMatch='"other"', status=412)
    refused("NoSuchKey", w.s3.put_object, Bucket=b, Key="absent", Body=b"x", IfMatch=etag, status=404)
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == HELLO
    w.s3.put_object(Bucket=b, Key="k", Body=b"new", IfMatch=etag)
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"new"


def case_one_of_many_writers_wins_a_condition(w):
    from concurrent.futures import ThreadPoolExecutor

    b = w.bucket()

    def put(number):
        try:
            w.s3.put_object(Bucket=b, Key="k", Body=str(number).encode() * 3000, IfNoneMatch="*")
            return number
        except Exception:
            return None

    with ThreadPoolExecutor(10) as pool:
        won = [number for number in pool.map(put, range(10)) if number is not None]
    assert len(won) == 1, won
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == str(won[0]).encode() * 3000


def case_parallel_writers_leave_one_whole_object(w):
    from concurrent.futures import ThreadPoolExecutor

    b = w.bucket()
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: w.s3.put_object(Bucket=b, Key="k", Body=body), bodies))
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() in bodies


def case_content_md5_is_checked(w):
    b = w.bucket()
    good = base64.b64encode(hashlib.md5(HELLO).digest()).decode()
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO, ContentMD5=good)
    bad = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    refused("BadDigest", w.s3.put_object, Bucket=b, Key="bad", Body=HELLO, ContentMD5=bad, status=400)
    refused("InvalidDigest", w.s3.put_object, Bucket=b, Key="bad", Body=HELLO, ContentMD5="YWJj", status=400)
    refused("404", w.s3.head_object, Bucket=b, Key="bad")


def _checksums(algorithm):
    def case(w):
        b = w.bucket()
        w.s3.put_object(Bucket=b, Key="k", Body=os.urandom(200_000), ChecksumAlgorithm=algorithm)
        field = f"Checksum{algorithm}"
        value = w.s3.head_object(Bucket=b, Key="k", ChecksumMode="ENABLED")[field]
        assert value and field not in w.s3.head_object(Bucket=b, Key="k")
        # boto3 itself compares what it reads with this.
        w.s3.get_object(Bucket=b, Key="k", ChecksumMode="ENABLED")["Body"].read()
        attributes = w.s3.get_object_attributes(Bucket=b, Key="k", ObjectAttributes=["Checksum"])
        assert attributes["Checksum"][field] == value
        wrong = base64.b64encode(bytes(len(base64.b64decode(value)))).decode()
        refused("BadDigest", w.s3.put_object, Bucket=b, Key="bad", Body=HELLO, **{field: wrong}, status=400)
        refused("404", w.s3.head_object, Bucket=b, Key="bad")

    return case


case_checksums_crc32 = _checksums("CRC32")
case_checksums_sha1 = _checksums("SHA1")
case_checksums_sha256 = _checksums("SHA256")


def case_a_stream_without_a_known_end_is_taken_with_its_trailing_checksum(w):
    b = w.bucket()
    data = os.urandom(700_000)
    body = raw.chunked(data, zlib.crc32(data))
    answer = raw.send(w, "PUT", f"/{b}/k", body, {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(data)), "content-encoding": "aws-chunked",
    })
    assert answer.status == 200, answer.text
    got = w.s3.get_object(Bucket=b, Key="k")
    assert got["Body"].read() == data and "ContentEncoding" not in got


def case_a_wrong_trailing_checksum_is_refused(w):
    b = w.bucket()
    body = raw.chunked(HELLO, 1)
    answer = raw.send(w, "PUT", f"/{b}/k", body, {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(HELLO)), "content-encoding": "aws-chunked",
    })
    assert answer.status == 400 and "BadDigest" in answer.text, answer.text
    refused("404", w.s3.head_object, Bucket=b, Key="k")


def case_what_is_not_there_is_said_so(w):
    b = w.bucket()
    refused("NoSuchKey", w.s3.get_object, Bucket=b, Key="absent", status=404)
    refused("404", w.s3.head_object, Bucket=b, Key="absent")
    refused("NoSuchBucket", w.s3.get_object, Bucket="no-such-bucket", Key="k", status=404)
    refused("NoSuchBucket", w.s3.put_object, Bucket="no-such-bucket", Key="k", Body=b"", status=404)
    refused("NoSuchBucket", w.s3.list_objects_v2, Bucket="no-such-bucket")
    refused("404", w.s3.head_bucket, Bucket="no-such-bucket")


def case_deleting_twice_is_fine(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO)
    for _ in range(2):
        assert w.s3.delete_object(Bucket=b, Key="k")["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused("NoSuchKey", w.s3.get_object, Bucket=b, Key="k")


def case_many_are_deleted_at_once(w):
    b = w.bucket()
    for number in range(20):
        w.s3.put_object(Bucket=b, Key=f"k{number}", Body=b"x")
    keys = [{"Key": f"k{number}"} for number in range(15)] + [{"Key": "absent"}]
    done = w.s3.delete_objects(Bucket=b, Delete={"Objects": keys})
    assert len(done["Deleted"]) == 16 and "Errors" not in done
    assert w.s3.list_objects_v2(Bucket=b)["KeyCount"] == 5
    quiet = w.s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "k15"}], "Quiet": True})
    assert "Deleted" not in quiet


def case_more_than_a_thousand_deletions_are_refused(w):
    b = w.bucket()
    keys = [{"Key": f"k{number}"} for number in range(1001)]
    refused("MalformedXML", w.s3.delete_objects, Bucket=b, Delete={"Objects": keys})


def case_an_object_is_copied_with_all_that_is_said_of_it(w):
    b, c = w.bucket(), w.bucket()
    data = os.urandom(300_000)
    w.s3.put_object(Bucket=b, Key="a b/ü", Body=data, Metadata={"m": "1"}, ContentType="text/x", Tagging="t=1")
    done = w.s3.copy_object(Bucket=c, Key="copy", CopySource={"Bucket": b, "Key": "a b/ü"})
    assert done["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    w.s3.delete_object(Bucket=b, Key="a b/ü")
    got = w.s3.get_object(Bucket=c, Key="copy")
    assert got["Body"].read() == data and got["Metadata"] == {"m": "1"} and got["ContentType"] == "text/x"
    assert w.s3.get_object_tagging(Bucket=c, Key="copy")["TagSet"] == [{"Key": "t", "Value": "1"}]


def case_a_copy_may_say_other_things(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO, Metadata={"m": "1"}, Tagging="t=1")
    source = {"Bucket": b, "Key": "k"}
    refused("InvalidRequest", w.s3.copy_object, Bucket=b, Key="k", CopySource=source)
    w.s3.copy_object(
        Bucket=b, Key="k", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "2"},
        TaggingDirective="REPLACE", Tagging="u=2",
    )
    assert w.s3.head_object(Bucket=b, Key="k")["Metadata"] == {"n": "2"}
    assert w.s3.get_object_tagging(Bucket=b, Key="k")["TagSet"] == [{"Key": "u", "Value": "2"}]
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == HELLO


def case_conditions_on_copy(w):
    b = w.bucket()
    etag = w.s3.put_object(Bucket=b, Key="k", Body=HELLO)["ETag"]
    source = {"Bucket": b, "Key": "k"}
    w.s3.copy_object(Bucket=b, Key="c", CopySource=source, CopySourceIfMatch=etag)
    refused("PreconditionFailed", w.s3.copy_object, Bucket=b, Key="c", CopySource=source, CopySourceIfNoneMatch=etag)
    refused("PreconditionFailed", w.s3.copy_object, Bucket=b, Key="c", CopySource=source, CopySourceIfMatch='"x"')
    refused("NoSuchKey", w.s3.copy_object, Bucket=b, Key="c", CopySource={"Bucket": b, "Key": "absent"})


def case_keys_of_every_kind(w):
    b = w.bucket()
    keys = [
        "a", "a/b", "a//b", "/a", "a/", "ümlaut/ß", "日本語", "🦀", "a b", "a+b", "a%2Fb", "a?b#c&d=e", "..", "./a",
        "a\\b", "\"quoted'", "<xml>&", "x" * 1024, "ü" * 512, "~", "*", "a\tb", "\u00e9", "e\u0301",
    ]
    for key in keys:
        w.s3.put_object(Bucket=b, Key=key, Body=key.encode())
    for key in keys:
        assert w.s3.get_object(Bucket=b, Key=key)["Body"].read() == key.encode(), key
    listed = [entry["Key"] for entry in w.s3.list_objects_v2(Bucket=b)["Contents"]]
    assert listed == sorted(keys, key=str.encode), listed


def case_a_key_that_is_too_long_is_refused(w):
    b = w.bucket()
    refused("KeyTooLongError", w.s3.put_object, Bucket=b, Key="x" * 1025, Body=b"", status=400)


def case_attributes_of_an_object(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=HELLO)
    said = w.s3.get_object_attributes(Bucket=b, Key="k", ObjectAttributes=["ETag", "ObjectSize", "StorageClass"])
    assert said["ETag"].strip('"') == hashlib.md5(HELLO).hexdigest() and said["ObjectSize"] == len(HELLO)
    assert said["StorageClass"] == "STANDARD" and "ObjectParts" not in said


def case_a_presigned_get_and_put(w):
    _presigned(w, w.node.client(w.key, signature_version="s3v4"))


def case_a_presigned_get_and_put_as_boto3_does_by_itself(w):
    # With signatures of version 2, as long as nobody tells it a region that has none.
    _presigned(w, w.s3)


def _presigned(w, s3):
    b = w.bucket()
    url = s3.generate_presigned_url("put_object", Params={"Bucket": b, "Key": "k"}, ExpiresIn=60)
    answer = raw.fetch("PUT", url, HELLO)
    assert answer.status == 200, answer.text
    url = s3.generate_presigned_url("get_object", Params={"Bucket": b, "Key": "k"}, ExpiresIn=60)
    answer = raw.fetch("GET", url)
    assert answer.status == 200 and answer.body == HELLO
    assert raw.fetch("GET", url.replace("Signature=", "Signature=0")).status in (400, 403)
    assert raw.fetch("PUT", url, HELLO).status == 403


def case_a_form_post(w):
    b = w.bucket()
    form = w.s3.generate_presigned_post(b, "form/name.txt", Conditions=[["content-length-range", 1, 100]])
    answer = raw.post_form(w.node.url + f"/{b}", form["fields"], "name.txt", HELLO)
    assert answer.status in (200, 201, 204), (answer.status, answer.text)
    assert w.s3.get_object(Bucket=b, Key="form/name.txt")["Body"].read() == HELLO
    assert raw.post_form(w.node.url + f"/{b}", form["fields"], "name.txt", b"x" * 101).status in (400, 403)


def case_expect_continue_and_a_body_that_is_not_wanted(w):
    # boto3 sends `Expect: 100-continue` with each body; a refusal comes before the body is sent.
    refused("NoSuchBucket", w.s3.put_object, Bucket="no-such-bucket", Key="k", Body=os.urandom(5_000_000))


def case_virtual_host_style(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k/l", Body=HELLO)
    answer = raw.send(w, "GET", "/k/l", b"", host=f"{b}.s3.test")
    assert answer.status == 200 and answer.body == HELLO, answer.text
    answer = raw.send(w, "GET", f"/{b}/k/l", b"", host="localhost")
    assert answer.status == 200 and answer.body == HELLO, answer.text


def case_an_unknown_storage_class_is_refused(w):
    refused("InvalidStorageClass", w.s3.put_object, Bucket=w.bucket(), Key="k", Body=b"", StorageClass="GLACIER")
