"""Runs every case against a node of its own kind, and says of each how it went: `ok name`, `FAIL name reason`."""

import importlib
import itertools
import os
import sys
import tempfile
import time
import traceback

from node import Issuer, Node

MODULES = [
    "objects", "conditions", "checksums", "customer", "listing", "multipart", "versions", "settings", "acl", "policies",
    "website", "accounts", "grants", "forms", "hostile", "crash", "tools",
]


class World:
    """What cases share: one node, two accounts, and as many buckets as they like."""

    def __init__(self):
        self.keys = tempfile.TemporaryDirectory(prefix="blackhole-issuer-")
        self.issuer = Issuer(self.keys.name)
        # What a large tree leaves takes a while to go.
        self.node = Node(quota_mib=4096 + 8 * int(os.environ.get("TREE_MIB", 0)), extra=(
            'domains = ["s3.test", "localhost"]\nwebsite_domains = ["web.test"]\n'
            f'[storage.issuers]\n"{self.issuer.did}" = "owner"\n'
        ))
        self.key = self.node.key()
        self.s3 = self.node.client(self.key)
        self.numbers = itertools.count(1)

    def bucket(self, **more):
        name = f"bucket-{next(self.numbers)}"
        self.s3.create_bucket(Bucket=name, **more)
        return name

    def versioned(self):
        name = self.bucket()
        self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name


def main():
    wanted = sys.argv[1:] or MODULES
    world = World()
    failed = 0
    try:
        for module in wanted:
            started = time.monotonic()
            cases = importlib.import_module(f"test_{module}")
            for name, case in list(vars(cases).items()):
                if not callable(case) or not name.startswith("case_"):
                    continue
                began = time.monotonic()
                shown = f"{module}: {name.removeprefix('case_').replace('_', ' ')}"
                try:
                    case(world)
                    print(f"ok   {shown} ({time.monotonic() - began:.1f} s)", flush=True)
                except Exception as error:
                    failed += 1
                    where = traceback.extract_tb(error.__traceback__)
                    at = next((f"{frame.filename}:{frame.lineno}" for frame in where if "test_" in frame.filename), "")
                    said = str(error).replace("\n", " ")[:300]
                    print(f"FAIL {shown}: {type(error).__name__} {said} ({at})", flush=True)
            print(f"     {module} took {time.monotonic() - started:.1f} s", flush=True)
    finally:
        world.node.end()
        world.keys.cleanup()
    sys.exit(1 if failed else 0)


main()
