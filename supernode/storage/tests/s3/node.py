"""A node of one's own: started, killed, started again; and clients for its S3 door."""

import json
import os
import pathlib
import subprocess
import tempfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

PROGRAM = os.environ["BLACKHOLE"]


def blackhole(*arguments):
    """A command that says what it did in lines of JSON."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Issuer:
    """Somebody who makes grants. No node has its key."""

    def __init__(self, directory, name="issuer"):
        self.file = pathlib.Path(directory, f"{name}.key")
        done = subprocess.run([PROGRAM, "key", "new", self.file], capture_output=True, text=True, check=True)
        self.did = done.stdout.split()[-1]

    def grant(self, bucket, allow, *more):
        command = ["storage", "grant", "issue", "--key", self.file, "--bucket", bucket, "--allow", allow, *more]
        return blackhole(*command)[0]["token"]

    def revoke(self, token):
        return blackhole("storage", "grant", "revoke", token, "--key", self.file)[0]["revocation"]


def narrow(token, bucket, allow, *more):
    return blackhole("storage", "grant", "narrow", token, "--bucket", bucket, "--allow", allow, *more)[0]["token"]


class Node:
    def __init__(self, quota_mib=4096, extra=""):
        self.directory = tempfile.TemporaryDirectory(prefix="blackhole-s3-")
        self.config = pathlib.Path(self.directory.name, "node.toml")
        self.config.write_text(
            f'[node]\ndata_dir = "{self.directory.name}/data"\n[edge]\nlisten = "127.0.0.1:0"\n'
            f'[storage]\nlisten = "127.0.0.1:0"\nquota_mib = {quota_mib}\n{extra}'
        )
        self.process = None
        self.start()

    def start(self):
        environment = dict(os.environ, BLACKHOLE_LOG="warn")
        self.process = subprocess.Popen(
            [PROGRAM, "node", "run", "--config", self.config], stdout=subprocess.PIPE, env=environment
        )
        ready = json.loads(self.process.stdout.readline())
        self.url = ready["s3"]
        self.did = ready["did"]
        self.edge = ready["edge"]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()

    def end(self):
        if self.process.poll() is None:
            self.kill()
        self.directory.cleanup()

    def command(self, *arguments):
        done = subprocess.run(
            [PROGRAM, "storage", "key", arguments[0], "--config", self.config, *arguments[1:]],
            capture_output=True, text=True, check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def key(self, account="owner"):
        return self.command("create", "--account", account)[0]

    def granted(self, token, **more):
        """A client with access keys of a grant."""
        return self.client(blackhole("storage", "grant", "keys", token, "--node", self.did)[0], **more)

    def hear(self, revocation):
        return blackhole("storage", "grant", "hear", "--config", self.config, revocation)[0]["new"]

    def client(self, key, style="path", url=None, **more):
        more.setdefault("retries", {"max_attempts": 1})
        return boto3.client(
            "s3", endpoint_url=url or self.url, region_name="us-east-1",
            aws_access_key_id=key["access_key_id"], aws_secret_access_key=key["secret_access_key"],
            aws_session_token=key.get("session_token"),
            config=Config(s3={"addressing_style": style}, read_timeout=60, **more),
        )

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])

    def blob_files(self):
        return [path for path in pathlib.Path(self.directory.name, "data/storage/blobs").rglob("*") if path.is_file()]


def refused(code, call, *arguments, status=None, **named):
    """The call fails with this S3 code."""
    try:
        call(*arguments, **named)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{found} instead of {code}: {error}"
        if status is not None:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error.response
        return error.response
    raise AssertionError(f"not refused: {code} was expected")
