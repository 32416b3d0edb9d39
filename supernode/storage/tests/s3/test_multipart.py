"""Uploads in parts."""

import hashlib
import os

from node import refused

MIB = 1 << 20


def _etag(parts):
    return f'"{hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"'


def _begin(w, b, key="k", **more):
    return w.s3.create_multipart_upload(Bucket=b, Key=key, **more)["UploadId"]


def _upload(w, b, upload, parts, key="k"):
    done = []
    for number, part in parts.items():
        etag = w.s3.upload_part(Bucket=b, Key=key, UploadId=upload, PartNumber=number, Body=part)["ETag"]
        done.append({"PartNumber": number, "ETag": etag})
    return done


def _complete(w, b, upload, done, key="k", **more):
    return w.s3.complete_multipart_upload(
        Bucket=b, Key=key, UploadId=upload, MultipartUpload={"Parts": done}, **more
    )


def case_parts_become_an_object(w):
    b = w.bucket()
    parts = {2: os.urandom(5 * MIB), 5: os.urandom(6 * MIB + 1), 10000: os.urandom(1000)}
    upload = _begin(w, b, Metadata={"m": "1"}, ContentType="text/x", Tagging="t=1")
    done = _upload(w, b, upload, parts)
    refused("NoSuchKey", w.s3.get_object, Bucket=b, Key="k")
    said = _complete(w, b, upload, done)
    assert said["ETag"] == _etag(list(parts.values())), said["ETag"]
    got = w.s3.get_object(Bucket=b, Key="k")
    assert got["Body"].read() == b"".join(parts.values())
    assert got["Metadata"] == {"m": "1"} and got["ContentType"] == "text/x" and got["TagCount"] == 1
    refused("NoSuchUpload", _complete, w, b, upload, done)
    second = w.s3.get_object(Bucket=b, Key="k", PartNumber=2)
    assert second["Body"].read() == parts[5] and second["PartsCount"] == 3
    attributes = w.s3.get_object_attributes(Bucket=b, Key="k", ObjectAttributes=["ObjectParts"])["ObjectParts"]
    assert [part["Size"] for part in attributes["Parts"]] == [len(part) for part in parts.values()]
    across = w.s3.get_object(Bucket=b, Key="k", Range=f"bytes={5 * MIB - 10}-{5 * MIB + 9}")["Body"].read()
    assert across == parts[2][-10:] + parts[5][:10]


def case_two_hundred_mebibytes_in_parts_with_bounded_memory(w):
    b = w.bucket()
    path = os.path.join(w.node.directory.name, "large")
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(200):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    before = w.node.resident_kib()
    w.s3.upload_file(path, b, "large")
    seen = hashlib.sha256()
    for piece in w.s3.get_object(Bucket=b, Key="large")["Body"].iter_chunks(MIB):
        seen.update(piece)
    assert seen.digest() == digest.digest()
    # Ten parts at a time, some 2 MiB each, and what the allocator keeps.
    grown = w.node.resident_kib() - before
    assert grown < 150 * 1024, f"{grown} KiB"
    w.s3.delete_object(Bucket=b, Key="large")


def case_one_put_over_several_segments(w):
    b = w.bucket()
    data = os.urandom(MIB) * 130
    before = w.node.resident_kib()
    w.s3.put_object(Bucket=b, Key="k", Body=data)
    grown = w.node.resident_kib() - before
    assert grown < 100 * 1024, f"{grown} KiB"
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == data
    at = 64 * MIB - 100_000
    got = w.s3.get_object(Bucket=b, Key="k", Range=f"bytes={at}-{at + 299_999}")["Body"].read()
    assert got == data[at : at + 300_000]


def case_a_part_is_replaced(w):
    b = w.bucket()
    upload = _begin(w, b)
    old = _upload(w, b, upload, {1: b"old"})
    new = _upload(w, b, upload, {1: b"newer"})
    refused("InvalidPart", _complete, w, b, upload, old, status=400)
    _complete(w, b, upload, new)
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"newer"


def case_parts_that_are_wrong(w):
    b = w.bucket()
    upload = _begin(w, b)
    done = _upload(w, b, upload, {1: b"small", 2: b"last"})
    refused("EntityTooSmall", _complete, w, b, upload, done)
    refused("InvalidPartOrder", _complete, w, b, upload, done[::-1])
    refused("InvalidPart", _complete, w, b, upload, [{"PartNumber": 3, "ETag": done[0]["ETag"]}])
    refused("MalformedXML", _complete, w, b, upload, [])
    for number in [0, 10001]:
        refused(
            "InvalidArgument", w.s3.upload_part, Bucket=b, Key="k", UploadId=upload, PartNumber=number, Body=b""
        )
    refused("NoSuchUpload", w.s3.upload_part, Bucket=b, Key="k", UploadId="0" * 32, PartNumber=1, Body=b"")
    refused("NoSuchUpload", w.s3.upload_part, Bucket=b, Key="other", UploadId=upload, PartNumber=1, Body=b"")
    _complete(w, b, upload, done[1:])


def case_a_single_empty_part(w):
    b = w.bucket()
    upload = _begin(w, b)
    _complete(w, b, upload, _upload(w, b, upload, {1: b""}))
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b""


def case_an_upload_is_aborted(w):
    b = w.bucket()
    upload = _begin(w, b)
    _upload(w, b, upload, {1: os.urandom(100_000)})
    refused("BucketNotEmpty", w.s3.delete_bucket, Bucket=b)
    w.s3.abort_multipart_upload(Bucket=b, Key="k", UploadId=upload)
    refused("NoSuchUpload", w.s3.abort_multipart_upload, Bucket=b, Key="k", UploadId=upload, status=404)
    refused("NoSuchUpload", w.s3.list_parts, Bucket=b, Key="k", UploadId=upload)
    w.s3.delete_bucket(Bucket=b)


def case_parts_are_listed(w):
    b = w.bucket()
    upload = _begin(w, b)
    _upload(w, b, upload, {number: b"x" * number for number in [1, 3, 5, 7]})
    page = w.s3.list_parts(Bucket=b, Key="k", UploadId=upload, MaxParts=3)
    assert [(part["PartNumber"], part["Size"]) for part in page["Parts"]] == [(1, 1), (3, 3), (5, 5)]
    assert page["IsTruncated"] and page["NextPartNumberMarker"] == 5
    page = w.s3.list_parts(Bucket=b, Key="k", UploadId=upload, PartNumberMarker=5)
    assert [part["PartNumber"] for part in page["Parts"]] == [7] and not page["IsTruncated"]


def case_uploads_are_listed(w):
    b = w.bucket()
    uploads = [(key, _begin(w, b, key)) for key in ["a/1", "a/2", "b", "b"]]
    uploads.sort()
    page = w.s3.list_multipart_uploads(Bucket=b)
    assert [(entry["Key"], entry["UploadId"]) for entry in page["Uploads"]] == uploads
    page = w.s3.list_multipart_uploads(Bucket=b, Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["a/"] and len(page["Uploads"]) == 2
    pages = w.s3.get_paginator("list_multipart_uploads").paginate(Bucket=b, PaginationConfig={"PageSize": 1})
    assert [(entry["Key"], entry["UploadId"]) for page in pages for entry in page.get("Uploads", [])] == uploads


def case_parts_are_copied(w):
    b = w.bucket()
    data = os.urandom(6 * MIB)
    w.s3.put_object(Bucket=b, Key="from", Body=data)
    upload = _begin(w, b)
    source = {"Bucket": b, "Key": "from"}
    done = []
    for number, text in [(1, None), (2, "bytes=100-199")]:
        named = {"CopySourceRange": text} if text else {}
        said = w.s3.upload_part_copy(
            Bucket=b, Key="k", UploadId=upload, PartNumber=number, CopySource=source, **named
        )
        done.append({"PartNumber": number, "ETag": said["CopyPartResult"]["ETag"]})
    refused(
        "InvalidArgument", w.s3.upload_part_copy, Bucket=b, Key="k", UploadId=upload, PartNumber=3,
        CopySource=source, CopySourceRange=f"bytes=0-{6 * MIB}",
    )
    _complete(w, b, upload, done)
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == data + data[100:200]


def case_conditions_on_completion(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"there")
    upload = _begin(w, b)
    done = _upload(w, b, upload, {1: b"new"})
    refused("PreconditionFailed", _complete, w, b, upload, done, IfNoneMatch="*")
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"there"
    _complete(w, b, upload, done)


def case_checksums_of_parts(w):
    b = w.bucket()
    upload = _begin(w, b, ChecksumAlgorithm="SHA256")
    part = b"part"
    said = w.s3.upload_part(Bucket=b, Key="k", UploadId=upload, PartNumber=1, Body=part, ChecksumAlgorithm="SHA256")
    done = [{"PartNumber": 1, "ETag": said["ETag"], "ChecksumSHA256": said["ChecksumSHA256"]}]
    whole = _complete(w, b, upload, done)["ChecksumSHA256"]
    assert whole.endswith("-1")
    assert w.s3.head_object(Bucket=b, Key="k", ChecksumMode="ENABLED")["ChecksumSHA256"] == whole


def case_a_copy_of_an_object_in_parts(w):
    b = w.bucket()
    parts = {1: os.urandom(5 * MIB), 2: b"end"}
    upload = _begin(w, b)
    etag = _complete(w, b, upload, _upload(w, b, upload, parts))["ETag"]
    w.s3.copy_object(Bucket=b, Key="copy", CopySource={"Bucket": b, "Key": "k"})
    w.s3.delete_object(Bucket=b, Key="k")
    got = w.s3.get_object(Bucket=b, Key="copy")
    assert got["Body"].read() == b"".join(parts.values()) and got["ETag"] == etag
