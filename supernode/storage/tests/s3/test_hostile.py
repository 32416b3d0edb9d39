"""Wrong signatures, wrong clocks, garbage, full disks."""

import datetime
import os
import pathlib
import socket
import urllib.parse

import requests_free as raw
from node import Node, refused


def case_a_wrong_secret_and_an_unknown_key(w):
    wrong = dict(w.key, secret_access_key="x" * 43)
    refused("SignatureDoesNotMatch", w.node.client(wrong).list_buckets, status=403)
    for name in ["AKIAAAAAAAAAAAAAAAAA", "../../../node.key", "x"]:
        unknown = dict(w.key, access_key_id=name)
        answer = raw.send(w, "GET", "/", key=unknown)
        assert answer.status in (400, 403) and "InvalidAccessKeyId" in answer.text or answer.status == 400, answer.text


def case_an_anonymous_request_is_refused(w):
    for method, path in [("GET", "/"), ("GET", "/no-such-bucket"), ("PUT", "/anonymous-bucket"), ("GET", "/a-bucket/k")]:
        answer = raw.exchange(w.node.url, method, path, None, {})
        assert answer.status == 403 and "AccessDenied" in answer.text, (path, answer.text)


def case_a_clock_that_is_wrong(w):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    for hours in [-1, 1, -24]:
        answer = raw.send(w, "GET", "/", at=now + datetime.timedelta(hours=hours))
        assert answer.status == 403 and "RequestTimeTooSkewed" in answer.text, (hours, answer.text)
    assert raw.send(w, "GET", "/", at=now - datetime.timedelta(minutes=10)).status == 200


def case_a_link_that_has_expired(w):
    import unittest.mock

    past = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - datetime.timedelta(minutes=5)
    s3 = w.node.client(w.key, signature_version="s3v4")
    with unittest.mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: past):
        url = s3.generate_presigned_url("list_buckets", ExpiresIn=60)
    answer = raw.fetch("GET", url)
    assert answer.status == 403 and "AccessDenied" in answer.text, answer.text


def case_a_header_that_was_added_on_the_way(w):
    b = w.bucket()
    answer = raw.send(w, "PUT", f"/{b}/k", b"x", more={"x-amz-storage-class": "STANDARD"})
    assert answer.status == 403 and "not signed" in answer.text, answer.text
    answer = raw.send(w, "PUT", f"/{b}/k", b"x", {"x-amz-storage-class": "STANDARD"})
    assert answer.status == 200, answer.text


def case_a_body_that_was_changed_on_the_way(w):
    b = w.bucket()
    headers = raw.signed(w, "PUT", f"/{b}/k", b"one")
    answer = raw.exchange(w.node.url, "PUT", f"/{b}/k", b"two", headers)
    assert answer.status == 400 and "XAmzContentSHA256Mismatch" in answer.text, answer.text
    refused("404", w.s3.head_object, Bucket=b, Key="k")


def _talk(w, data):
    place = urllib.parse.urlsplit(w.node.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(65536)
        except OSError:
            # Hung up on.
            return b""


def case_garbage_is_answered_or_hung_up_on(w):
    for data in [b"\0" * 1000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000, os.urandom(4000), b"PUT /b/k HTTP/1.1\r\n\r\n"]:
        said = _talk(w, data)
        assert not said.startswith(b"HTTP/1.1 2"), said
    w.s3.list_buckets()


def case_garbage_where_xml_belongs(w):
    b = w.bucket()
    for body in [b"", b"<", b"nonsense", b"<Delete>" * 1000, b"\xff\xfe\0", b"<Delete><Object></Object></Delete>",
                 b'<!DOCTYPE a [<!ENTITY b "c">]><Delete>&b;</Delete>']:
        for path in [f"/{b}?delete", f"/{b}/k?uploadId=0"]:
            answer = raw.send(w, "POST", path, body)
            assert 400 <= answer.status < 500, (body[:20], path, answer.status, answer.text)
        for path in ["versioning", "cors", "lifecycle", "tagging", "policy", "object-lock"]:
            answer = raw.send(w, "PUT", f"/{b}?{path}", body)
            assert 400 <= answer.status < 500, (body[:20], path, answer.status, answer.text)


def case_an_upload_that_breaks_off_leaves_nothing(w):
    import time

    b = w.bucket()
    data = os.urandom(3_000_000)
    headers = raw.signed(w, "PUT", f"/{b}/k", data)
    place = urllib.parse.urlsplit(w.node.url)
    before = set(w.node.blob_files())
    head = f"PUT /{b}/k HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head += f"Content-Length: {len(data)}\r\n\r\n"
    for length in [0, 1, 100_000, 2_999_999]:
        with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
            connection.sendall(head.encode() + data[:length])
    incoming = pathlib.Path(w.node.directory.name, "data/storage/incoming")
    # What earlier cases deleted may go meanwhile; nothing new may stay.
    left = lambda: list(incoming.iterdir()) + list(set(w.node.blob_files()) - before)
    # The node may not have read yet what was sent before the line was cut.
    quiet_since, deadline = time.monotonic(), time.monotonic() + 20
    while time.monotonic() < min(quiet_since + 2, deadline):
        if left():
            quiet_since = time.monotonic()
        time.sleep(0.1)
    assert left() == [], left()
    refused("404", w.s3.head_object, Bucket=b, Key="k")


def case_a_full_quota_is_said_and_ends_with_a_deletion(w):
    import time

    node = Node(quota_mib=8)
    try:
        s3 = node.client(node.key())
        s3.create_bucket(Bucket="full")
        five = os.urandom(5_000_000)
        s3.put_object(Bucket="full", Key="one", Body=five)
        refused("QuotaExceeded", s3.put_object, Bucket="full", Key="two", Body=five, status=507)
        refused("404", s3.head_object, Bucket="full", Key="two")
        assert s3.get_object(Bucket="full", Key="one")["Body"].read() == five
        s3.delete_object(Bucket="full", Key="one")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                s3.put_object(Bucket="full", Key="two", Body=five)
                break
            except Exception:
                time.sleep(0.3)
        assert s3.get_object(Bucket="full", Key="two")["Body"].read() == five
    finally:
        node.end()


def case_rot_is_an_error_and_never_bytes(w):
    b = w.bucket()
    data = os.urandom(500_000)
    before = set(w.node.blob_files())
    w.s3.put_object(Bucket=b, Key="k", Body=data)
    (path,) = set(w.node.blob_files()) - before
    content = bytearray(path.read_bytes())
    content[400_000] ^= 1
    path.write_bytes(content)
    assert w.s3.get_object(Bucket=b, Key="k", Range="bytes=0-1000")["Body"].read() == data[:1001]
    got = b""
    try:
        got = w.s3.get_object(Bucket=b, Key="k")["Body"].read()
        raise AssertionError("rotten bytes came without an error")
    except AssertionError:
        raise
    except Exception:
        assert data.startswith(got)


def case_nothing_readable_lies_on_the_disk(w):
    b = w.bucket()
    secret = b"sixteen letters of plain text " * 10_000
    w.s3.put_object(Bucket=b, Key="very-secret-name", Body=secret, Metadata={"m": "secret-metadata"})
    w.s3.put_object(Bucket=b, Key="k", Body=secret[:1000])
    for path in pathlib.Path(w.node.directory.name, "data/storage").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"sixteen letters" not in content and b"secret-metadata" not in content, path
            if "blobs" in path.parts:
                assert b"very-secret-name" not in content


def case_the_meters_say_what_was_done(w):
    import time

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        said = raw.fetch("GET", f"{w.node.edge}/metrics?").text
        stored = [line for line in said.splitlines() if line.startswith("blackhole_storage_stored_bytes ")]
        if stored and int(stored[0].split()[1]) > 0:
            break
        time.sleep(0.5)
    else:
        raise AssertionError(said[-2000:])
    assert 'blackhole_storage_answers_total{class="2xx"}' in said and "blackhole_storage_received_bytes_total" in said
