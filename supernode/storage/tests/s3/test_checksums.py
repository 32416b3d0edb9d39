"""Checksums: of one body, of parts, of the whole put together from its parts."""

import base64
import binascii
import hashlib
import os
import zlib

import requests_free as raw
from node import refused

MIB = 1 << 20


def _table(polynomial, bits):
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        rows.append(byte)
    return rows, (1 << bits) - 1


CASTAGNOLI, NVME = _table(0x82F63B78, 32), _table(0x9A6C9329AC4BC9B5, 64)


def _crc(kind, data):
    rows, ones = kind
    value = ones
    for byte in data:
        value = rows[(value ^ byte) & 255] ^ value >> 8
    return (value ^ ones).to_bytes(8 if ones > 1 << 32 else 4, "big")


DIGESTS = {
    "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: _crc(CASTAGNOLI, data),
    "CRC64NVME": lambda data: _crc(NVME, data),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}


def _said(algorithm, data):
    return base64.b64encode(DIGESTS[algorithm](data)).decode()


def _one_body(algorithm):
    def case(w):
        b = w.bucket()
        data = os.urandom(20_000)
        said = _said(algorithm, data)
        field = f"Checksum{algorithm}"
        put = w.s3.put_object(Bucket=b, Key="k", Body=data, **{field: said})
        assert put[field] == said and put["ChecksumType"] == "FULL_OBJECT"
        head = w.s3.head_object(Bucket=b, Key="k", ChecksumMode="ENABLED")
        assert head[field] == said and head["ChecksumType"] == "FULL_OBJECT"
        refused("BadDigest", w.s3.put_object, Bucket=b, Key="bad", Body=data + b"x", status=400, **{field: said})

    return case


case_a_body_with_its_crc32 = _one_body("CRC32")
case_a_body_with_its_crc32c = _one_body("CRC32C")
case_a_body_with_its_crc64nvme = _one_body("CRC64NVME")
case_a_body_with_its_sha1 = _one_body("SHA1")
case_a_body_with_its_sha256 = _one_body("SHA256")


def _upload(w, algorithm, kind=None, wrong=False, parts=None):
    """Parts with their own checksums, and what completing them says."""
    b = w.bucket()
    parts = parts or [os.urandom(5 * MIB), os.urandom(1000)]
    begun = w.s3.create_multipart_upload(
        Bucket=b, Key="k", ChecksumAlgorithm=algorithm, **({"ChecksumType": kind} if kind else {})
    )
    named = dict(Bucket=b, Key="k", UploadId=begun["UploadId"])
    field, done = f"Checksum{algorithm}", []
    for number, part in enumerate(parts, 1):
        headers = {
            f"x-amz-checksum-{algorithm.lower()}": base64.b64encode(_quick(algorithm, part)).decode(),
            "x-amz-sdk-checksum-algorithm": algorithm,
        }
        path = f"/{b}/k?partNumber={number}&uploadId={named['UploadId']}"
        answer = raw.send(w, "PUT", path, part, headers)
        assert answer.status == 200, answer.text
        checksum = answer.headers[f"x-amz-checksum-{algorithm.lower()}"]
        done.append({"PartNumber": number, "ETag": answer.headers["etag"], field: checksum})
    return b, named, done, b"".join(parts)


PARTS = {}


def _quick(algorithm, data):
    """Checksums in Python are slow, and the parts are the same in each case."""
    place = (algorithm, hashlib.sha256(data).digest())
    if place not in PARTS:
        PARTS[place] = DIGESTS[algorithm](data)
    return PARTS[place]


LARGE = bytes(range(256)) * (5 * MIB // 256)
SMALL = b"the last part"


def _whole(algorithm):
    def case(w):
        b, named, done, data = _upload(w, algorithm, "FULL_OBJECT", parts=[LARGE, SMALL])
        whole = base64.b64encode(_quick(algorithm, data)).decode()
        field = f"Checksum{algorithm}"
        zero = base64.b64encode(bytes(len(base64.b64decode(whole)))).decode()
        refused(
            "BadDigest", w.s3.complete_multipart_upload, MultipartUpload={"Parts": done}, status=400, **named, **{field: zero}
        )
        said = w.s3.complete_multipart_upload(
            MultipartUpload={"Parts": done}, ChecksumType="FULL_OBJECT", **named, **{field: whole}
        )
        assert said[field] == whole and said["ChecksumType"] == "FULL_OBJECT"
        head = w.s3.head_object(Bucket=b, Key="k", ChecksumMode="ENABLED")
        assert head[field] == whole and head["ChecksumType"] == "FULL_OBJECT"

    return case


case_the_whole_crc32_is_put_together = _whole("CRC32")
case_the_whole_crc32c_is_put_together = _whole("CRC32C")
case_the_whole_crc64nvme_is_put_together = _whole("CRC64NVME")


def _unsaid(algorithm):
    def case(w):
        b, named, done, data = _upload(w, algorithm, "FULL_OBJECT", parts=[LARGE, SMALL])
        w.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **named)
        head = w.s3.head_object(Bucket=b, Key="k", ChecksumMode="ENABLED")
        assert head[f"Checksum{algorithm}"] == base64.b64encode(_quick(algorithm, data)).decode()

    return case


case_the_whole_crc32_is_said_without_being_asked = _unsaid("CRC32")
case_the_whole_crc64nvme_is_said_without_being_asked = _unsaid("CRC64NVME")


def _composite(algorithm):
    def case(w):
        b, named, done, _ = _upload(w, algorithm, parts=[LARGE, SMALL])
        digests = b"".join(_quick(algorithm, part) for part in [LARGE, SMALL])
        whole = base64.b64encode(DIGESTS[algorithm](digests)).decode() + "-2"
        said = w.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **named)
        assert said[f"Checksum{algorithm}"] == whole and said["ChecksumType"] == "COMPOSITE", said
        head = w.s3.head_object(Bucket=b, Key="k", ChecksumMode="ENABLED")
        assert head[f"Checksum{algorithm}"] == whole and head["ChecksumType"] == "COMPOSITE"

    return case


case_a_composite_crc32 = _composite("CRC32")
case_a_composite_crc32c = _composite("CRC32C")
case_a_composite_sha1 = _composite("SHA1")
case_a_composite_sha256 = _composite("SHA256")


def _kinds(algorithm, kind):
    def case(w):
        refused(
            "InvalidRequest", w.s3.create_multipart_upload, Bucket=w.bucket(), Key="k", ChecksumAlgorithm=algorithm,
            ChecksumType=kind, status=400,
        )

    return case


case_no_whole_sha1 = _kinds("SHA1", "FULL_OBJECT")
case_no_whole_sha256 = _kinds("SHA256", "FULL_OBJECT")
case_no_composite_crc64nvme = _kinds("CRC64NVME", "COMPOSITE")


def case_an_upload_says_its_checksum(w):
    b = w.bucket()
    begun = w.s3.create_multipart_upload(Bucket=b, Key="k", ChecksumAlgorithm="CRC64NVME")
    assert begun["ChecksumAlgorithm"] == "CRC64NVME" and begun["ChecksumType"] == "FULL_OBJECT"
    begun = w.s3.create_multipart_upload(Bucket=b, Key="k", ChecksumAlgorithm="SHA256")
    listed = w.s3.list_parts(Bucket=b, Key="k", UploadId=begun["UploadId"])
    assert listed["ChecksumAlgorithm"] == "SHA256" and listed["ChecksumType"] == "COMPOSITE"


def case_a_part_with_another_algorithm_is_refused(w):
    b = w.bucket()
    upload = w.s3.create_multipart_upload(Bucket=b, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    refused(
        "InvalidRequest", w.s3.upload_part, Bucket=b, Key="k", UploadId=upload, PartNumber=1, Body=b"x",
        ChecksumAlgorithm="SHA1", status=400,
    )


def case_a_part_that_is_another_by_its_checksum(w):
    _, named, done, _ = _upload(w, "SHA256", parts=[SMALL])
    other = [dict(done[0], ChecksumSHA256=_said("SHA256", b"other"))]
    refused("InvalidPart", w.s3.complete_multipart_upload, MultipartUpload={"Parts": other}, status=400, **named)
    w.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **named)


def case_completing_with_another_kind_is_refused(w):
    _, named, done, _ = _upload(w, "CRC32", parts=[SMALL])
    refused(
        "InvalidRequest", w.s3.complete_multipart_upload, MultipartUpload={"Parts": done}, ChecksumType="FULL_OBJECT",
        status=400, **named,
    )


def case_a_size_that_is_another_is_refused(w):
    _, named, done, data = _upload(w, "CRC32", parts=[SMALL])
    refused(
        "InvalidRequest", w.s3.complete_multipart_upload, MultipartUpload={"Parts": done}, MpuObjectSize=len(data) + 1,
        **named,
    )
    w.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, MpuObjectSize=len(data), **named)


def case_a_copy_gets_a_checksum_that_it_asks_for(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="from", Body=SMALL, ChecksumAlgorithm="CRC32")
    source = {"Bucket": b, "Key": "from"}
    said = w.s3.copy_object(Bucket=b, Key="to", CopySource=source, ChecksumAlgorithm="SHA256")
    assert said["CopyObjectResult"]["ChecksumSHA256"] == _said("SHA256", SMALL)
    head = w.s3.head_object(Bucket=b, Key="to", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == _said("SHA256", SMALL)
    plain = w.s3.copy_object(Bucket=b, Key="plain", CopySource=source)
    assert plain["CopyObjectResult"]["ChecksumCRC32"] == _said("CRC32", SMALL)


def case_no_checksum_of_the_whole_with_a_part_of_it(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=SMALL, ChecksumAlgorithm="SHA1")
    got = w.s3.get_object(Bucket=b, Key="k", Range="bytes=0-3", ChecksumMode="ENABLED")
    assert "ChecksumSHA1" not in got and got["Body"].read() == SMALL[:4]


def case_a_checksum_that_is_no_base64(w):
    b = w.bucket()
    answer = raw.send(w, "PUT", f"/{b}/k", b"x", {"x-amz-checksum-crc32": "%%%"})
    assert answer.status == 400, answer.text
    refused("404", w.s3.head_object, Bucket=b, Key="k")


def case_an_unknown_algorithm(w):
    b = w.bucket()
    refused(
        "InvalidRequest", w.s3.create_multipart_upload, Bucket=b, Key="k", ChecksumAlgorithm="ROT13", status=400
    )


def case_the_tables_of_this_file_are_right(w):
    # The check values of the catalogue of CRCs, so that no two wrongs make a right.
    assert _crc(CASTAGNOLI, b"123456789").hex() == "e3069283"
    assert _crc(NVME, b"123456789").hex() == "ae8b14860a799888"
    assert binascii.crc32(b"123456789") == 0xCBF43926
