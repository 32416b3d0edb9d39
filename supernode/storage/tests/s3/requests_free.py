"""Requests as no client would make them: by hand, over a plain socket's HTTP."""

import hashlib
import http.client
import unittest.mock
import urllib.parse

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Signer(S3SigV4Auth):
    """Signs the payload's hash that the request names, whatever that is."""

    def payload(self, request):
        return self.said


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode(errors="replace")


def exchange(url, method, path, body, headers):
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def fetch(method, url, body=None, headers=None):
    place = urllib.parse.urlsplit(url)
    return exchange(url, method, f"{place.path}?{place.query}", body, headers or {})


def signed(w, method, path, body, headers=None, host=None, key=None, at=None):
    """The headers of a signed request."""
    key = key or w.key
    place = urllib.parse.urlsplit(w.node.url)
    headers = dict(headers or {})
    headers.setdefault("x-amz-content-sha256", hashlib.sha256(body).hexdigest())
    request = AWSRequest(method, f"http://{host or place.netloc}{path}", headers, body)
    request.headers["Host"] = host or place.netloc
    signer = Signer(Credentials(key["access_key_id"], key["secret_access_key"]), "s3", "us-east-1")
    signer.said = headers["x-amz-content-sha256"]
    if at is None:
        signer.add_auth(request)
    else:
        with unittest.mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: at):
            signer.add_auth(request)
    return dict(request.headers)


def send(w, method, path, body=b"", headers=None, host=None, key=None, at=None, more=None):
    ready = signed(w, method, path, body, headers, host, key, at)
    ready.update(more or {})
    return exchange(w.node.url, method, path, body, ready)


def chunked(data, crc):
    """A body as `aws-chunked` has it, with a trailing checksum."""
    import base64

    out = []
    for at in range(0, len(data), 65536):
        piece = data[at : at + 65536]
        out.append(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    checksum = base64.b64encode(crc.to_bytes(4, "big")).decode()
    out.append(f"0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n".encode())
    return b"".join(out)


def post_form(url, fields, name, data):
    boundary = "0123456789abcdef"
    lines = []
    for field, value in fields.items():
        lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode())
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: text/plain\r\n\r\n".encode() + data + f"\r\n--{boundary}--\r\n".encode()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return exchange(url, "POST", urllib.parse.urlsplit(url).path, b"".join(lines), headers)
