"""Server-side encryption with customer-provided keys (SSE-C)."""

import base64
import hashlib
import os

import requests_free as raw
from node import refused

MIB = 1 << 20
KEY, OTHER = b"k" * 32, b"o" * 32
HEADERS = "x-amz-server-side-encryption-customer"


def _with(key, source=False):
    front = "CopySource" if source else ""
    return {f"{front}SSECustomerAlgorithm": "AES256", f"{front}SSECustomerKey": key}


def _put(w, b, data, key=KEY, name="k", **more):
    return w.s3.put_object(Bucket=b, Key=name, Body=data, **_with(key), **more)


def _sizes(size):
    def case(w):
        b = w.bucket()
        data = os.urandom(size)
        said = _put(w, b, data)
        assert said["SSECustomerAlgorithm"] == "AES256"
        assert said["SSECustomerKeyMD5"] == base64.b64encode(hashlib.md5(KEY).digest()).decode()
        got = w.s3.get_object(Bucket=b, Key="k", **_with(KEY))
        assert got["Body"].read() == data and got["SSECustomerKeyMD5"] == said["SSECustomerKeyMD5"]
        assert w.s3.head_object(Bucket=b, Key="k", **_with(KEY))["ContentLength"] == size

    return case


case_an_empty_object = _sizes(0)
case_a_small_object = _sizes(1000)
case_an_object_of_several_frames = _sizes(300_000)


def case_without_the_key_nothing_is_read(w):
    b = w.bucket()
    _put(w, b, b"x")
    refused("InvalidRequest", w.s3.get_object, Bucket=b, Key="k", status=400)
    refused("400", w.s3.head_object, Bucket=b, Key="k", status=400)


def case_another_key_is_denied(w):
    b = w.bucket()
    _put(w, b, b"x")
    refused("AccessDenied", w.s3.get_object, Bucket=b, Key="k", status=403, **_with(OTHER))
    refused("403", w.s3.head_object, Bucket=b, Key="k", status=403, **_with(OTHER))


def case_a_key_for_an_object_that_has_none_is_refused(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    refused("InvalidRequest", w.s3.get_object, Bucket=b, Key="k", status=400, **_with(KEY))


def case_ranges_of_a_sealed_object(w):
    b = w.bucket()
    data = os.urandom(200_000)
    _put(w, b, data)
    for first, last in [(0, 0), (65_519, 65_521), (100_000, 199_999)]:
        got = w.s3.get_object(Bucket=b, Key="k", Range=f"bytes={first}-{last}", **_with(KEY))
        assert got["Body"].read() == data[first : last + 1]
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def case_the_etag_is_no_md5(w):
    b = w.bucket()
    etag = _put(w, b, b"x")["ETag"]
    assert etag != f'"{hashlib.md5(b"x").hexdigest()}"' and len(etag) == 34
    assert w.s3.head_object(Bucket=b, Key="k", **_with(KEY))["ETag"] == etag
    assert _put(w, b, b"x")["ETag"] != etag


def case_content_md5_and_checksums_are_still_checked(w):
    b = w.bucket()
    wrong = base64.b64encode(hashlib.md5(b"y").digest()).decode()
    refused("BadDigest", _put, w, b, b"x", ContentMD5=wrong, status=400)
    _put(w, b, b"x", ChecksumAlgorithm="SHA256")
    head = w.s3.head_object(Bucket=b, Key="k", ChecksumMode="ENABLED", **_with(KEY))
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"x").digest()).decode()


def case_headers_that_are_wrong(w):
    b = w.bucket()
    encoded = base64.b64encode(KEY).decode()
    md5 = base64.b64encode(hashlib.md5(KEY).digest()).decode()
    for headers, code in [
        ({"algorithm": "AES128", "key": encoded, "key-md5": md5}, "InvalidEncryptionAlgorithmError"),
        ({"key": encoded, "key-md5": md5}, "InvalidArgument"),
        ({"algorithm": "AES256", "key-md5": md5}, "InvalidArgument"),
        ({"algorithm": "AES256", "key": encoded}, "InvalidArgument"),
        ({"algorithm": "AES256", "key": encoded, "key-md5": md5[::-1]}, "InvalidArgument"),
        ({"algorithm": "AES256", "key": encoded[:20], "key-md5": md5}, "InvalidArgument"),
    ]:
        named = {f"{HEADERS}-{name}": value for name, value in headers.items()}
        answer = raw.send(w, "PUT", f"/{b}/k", b"x", named)
        assert answer.status == 400 and f"<Code>{code}</Code>" in answer.text, (headers, answer.text)
    refused("404", w.s3.head_object, Bucket=b, Key="k")


def case_attributes_want_the_key_too(w):
    b = w.bucket()
    _put(w, b, b"x" * 10)
    wanted = dict(Bucket=b, Key="k", ObjectAttributes=["ObjectSize"])
    refused("InvalidRequest", w.s3.get_object_attributes, status=400, **wanted)
    # For this operation alone botocore encodes nothing by itself.
    encoded = dict(
        SSECustomerAlgorithm="AES256", SSECustomerKey=base64.b64encode(KEY).decode(),
        SSECustomerKeyMD5=base64.b64encode(hashlib.md5(KEY).digest()).decode(),
    )
    assert w.s3.get_object_attributes(**wanted, **encoded)["ObjectSize"] == 10


def case_metadata_and_tags_come_along(w):
    b = w.bucket()
    _put(w, b, b"x", Metadata={"m": "1"}, Tagging="t=1", ContentType="text/x")
    head = w.s3.head_object(Bucket=b, Key="k", **_with(KEY))
    assert head["Metadata"] == {"m": "1"} and head["ContentType"] == "text/x"
    assert w.s3.get_object_tagging(Bucket=b, Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]


def case_listings_and_deletions_want_no_key(w):
    b = w.bucket()
    _put(w, b, b"x" * 7)
    assert w.s3.list_objects_v2(Bucket=b)["Contents"][0]["Size"] == 7
    w.s3.delete_object(Bucket=b, Key="k")
    assert w.s3.list_objects_v2(Bucket=b)["KeyCount"] == 0


def case_versions_have_each_their_key(w):
    b = w.versioned()
    one = _put(w, b, b"1", KEY)["VersionId"]
    two = _put(w, b, b"2", OTHER)["VersionId"]
    assert w.s3.get_object(Bucket=b, Key="k", VersionId=one, **_with(KEY))["Body"].read() == b"1"
    assert w.s3.get_object(Bucket=b, Key="k", VersionId=two, **_with(OTHER))["Body"].read() == b"2"
    refused("AccessDenied", w.s3.get_object, Bucket=b, Key="k", VersionId=one, **_with(OTHER))


def _copies(name, source, target, size):
    def case(w):
        b = w.bucket()
        data = os.urandom(size)
        w.s3.put_object(Bucket=b, Key="from", Body=data, Metadata={"m": "1"}, **(_with(source) if source else {}))
        named = {**(_with(source, True) if source else {}), **(_with(target) if target else {})}
        said = w.s3.copy_object(Bucket=b, Key="to", CopySource={"Bucket": b, "Key": "from"}, **named)
        assert said.get("SSECustomerAlgorithm") == ("AES256" if target else None)
        got = w.s3.get_object(Bucket=b, Key="to", **(_with(target) if target else {}))
        assert got["Body"].read() == data and got["Metadata"] == {"m": "1"}
        if target is None:
            assert got["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
        else:
            refused("InvalidRequest", w.s3.get_object, Bucket=b, Key="to")

    case.__name__ = name
    return case


case_a_copy_that_gets_a_key = _copies("gets", None, KEY, 100_000)
case_a_copy_that_loses_its_key = _copies("loses", KEY, None, 100_000)
case_a_copy_with_another_key = _copies("other", KEY, OTHER, 100_000)
case_a_copy_with_the_same_key = _copies("same", KEY, KEY, 3000)


def case_a_copy_onto_itself_changes_its_key(w):
    b = w.bucket()
    _put(w, b, b"x", KEY)
    source = {"Bucket": b, "Key": "k"}
    w.s3.copy_object(Bucket=b, Key="k", CopySource=source, **_with(KEY, True), **_with(OTHER))
    assert w.s3.get_object(Bucket=b, Key="k", **_with(OTHER))["Body"].read() == b"x"
    refused("AccessDenied", w.s3.get_object, Bucket=b, Key="k", **_with(KEY))


def case_a_source_wants_its_own_key(w):
    b = w.bucket()
    _put(w, b, b"x", KEY, "from")
    source = {"Bucket": b, "Key": "from"}
    refused("InvalidRequest", w.s3.copy_object, Bucket=b, Key="to", CopySource=source, status=400)
    refused("AccessDenied", w.s3.copy_object, Bucket=b, Key="to", CopySource=source, status=403, **_with(OTHER, True))


def _upload(w, b, parts, **more):
    upload = w.s3.create_multipart_upload(Bucket=b, Key="k", **_with(KEY), **more)
    assert upload["SSECustomerAlgorithm"] == "AES256"
    named = dict(Bucket=b, Key="k", UploadId=upload["UploadId"])
    done = []
    for number, part in enumerate(parts, 1):
        said = w.s3.upload_part(PartNumber=number, Body=part, **named, **_with(KEY))
        done.append({"PartNumber": number, "ETag": said["ETag"]})
    return named, done


def case_an_upload_in_parts(w):
    b = w.bucket()
    parts = [os.urandom(5 * MIB), os.urandom(70_000)]
    named, done = _upload(w, b, parts)
    w.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **named)
    assert w.s3.get_object(Bucket=b, Key="k", **_with(KEY))["Body"].read() == b"".join(parts)
    refused("InvalidRequest", w.s3.get_object, Bucket=b, Key="k")
    second = w.s3.get_object(Bucket=b, Key="k", PartNumber=2, **_with(KEY))
    assert second["Body"].read() == parts[1]


def case_each_part_wants_the_uploads_key(w):
    b = w.bucket()
    named, _ = _upload(w, b, [])
    refused("InvalidRequest", w.s3.upload_part, PartNumber=1, Body=b"x", status=400, **named)
    refused("AccessDenied", w.s3.upload_part, PartNumber=1, Body=b"x", status=403, **named, **_with(OTHER))


def case_a_part_with_a_key_in_an_upload_without(w):
    b = w.bucket()
    upload = w.s3.create_multipart_upload(Bucket=b, Key="k")["UploadId"]
    refused(
        "InvalidRequest", w.s3.upload_part, Bucket=b, Key="k", UploadId=upload, PartNumber=1, Body=b"x", **_with(KEY)
    )


def case_parts_are_copied_from_one_key_to_another(w):
    b = w.bucket()
    data = os.urandom(80_000)
    _put(w, b, data, OTHER, "from")
    named, _ = _upload(w, b, [])
    said = w.s3.upload_part_copy(
        PartNumber=1, CopySource={"Bucket": b, "Key": "from"}, CopySourceRange="bytes=10-70009",
        **named, **_with(OTHER, True), **_with(KEY),
    )
    done = [{"PartNumber": 1, "ETag": said["CopyPartResult"]["ETag"]}]
    w.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **named)
    assert w.s3.get_object(Bucket=b, Key="k", **_with(KEY))["Body"].read() == data[10:70_010]


def case_a_presigned_link_with_a_key(w):
    b = w.bucket()
    _put(w, b, b"x")
    s3 = w.node.client(w.key, signature_version="s3v4")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": b, "Key": "k", **_with(KEY)}, ExpiresIn=60)
    headers = {
        f"{HEADERS}-algorithm": "AES256", f"{HEADERS}-key": base64.b64encode(KEY).decode(),
        f"{HEADERS}-key-md5": base64.b64encode(hashlib.md5(KEY).digest()).decode(),
    }
    answer = raw.fetch("GET", url, headers=headers)
    assert answer.status == 200 and answer.body == b"x", answer.text
    assert raw.fetch("GET", url).status in (400, 403)


def case_keys_of_the_key_service_are_not_implemented(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", ServerSideEncryption="AES256")
    for kind in ["aws:kms", "aws:kms:dsse"]:
        refused("NotImplemented", w.s3.put_object, Bucket=b, Key="k", Body=b"x", ServerSideEncryption=kind, status=501)
    refused("InvalidArgument", w.s3.put_object, Bucket=b, Key="k", Body=b"x", ServerSideEncryption="rot13", status=400)
