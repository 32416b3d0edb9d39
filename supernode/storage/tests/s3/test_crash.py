"""kill -9 at any moment: what was acknowledged is there, what was not is gone or whole."""

import hashlib
import os
import random
import threading
import time

from node import Node, refused

MIB = 1 << 20


def case_what_was_acknowledged_survives_kills(w):
    node = Node()
    try:
        key = node.key()
        s3 = node.client(key)
        s3.create_bucket(Bucket="crash")
        chance = random.Random(7)
        acknowledged = {}
        attempted = {}
        for round_number in range(12):
            stop = threading.Event()

            def write(worker, s3=s3, stop=stop, round_number=round_number):
                number = 0
                while not stop.is_set():
                    name = f"{worker}/{number % 5}"
                    body = os.urandom(chance.choice([10, 5000, 300_000]))
                    attempted.setdefault(name, []).append(hashlib.md5(body).hexdigest())
                    try:
                        s3.put_object(Bucket="crash", Key=name, Body=body)
                    except Exception:
                        return
                    acknowledged[name] = len(attempted[name]) - 1
                    number += 1

            workers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
            for worker in workers:
                worker.start()
            time.sleep(chance.uniform(0.05, 0.4))
            node.kill()
            stop.set()
            for worker in workers:
                worker.join()
            started = time.monotonic()
            node.start()
            assert time.monotonic() - started < 5
            s3 = node.client(key)
            for name, last in acknowledged.items():
                found = s3.get_object(Bucket="crash", Key=name)
                body = hashlib.md5(found["Body"].read()).hexdigest()
                # The acknowledged one, or a later one whose acknowledgement the kill cut off.
                assert body in attempted[name][last:], (round_number, name)
                acknowledged[name] = len(attempted[name]) - 1 - attempted[name][::-1].index(body)
        assert len(acknowledged) >= 8, "too little was written to say anything"
    finally:
        node.end()


def case_an_upload_that_a_kill_cut_off_leaves_no_bytes(w):
    node = Node()
    try:
        key = node.key()
        s3 = node.client(key)
        s3.create_bucket(Bucket="crash")
        upload = s3.create_multipart_upload(Bucket="crash", Key="k")["UploadId"]
        part = os.urandom(6 * MIB)
        etag = s3.upload_part(Bucket="crash", Key="k", UploadId=upload, PartNumber=1, Body=part)["ETag"]

        def put():
            try:
                node.client(key).put_object(Bucket="crash", Key="cut", Body=os.urandom(MIB) * 150)
            except Exception:
                pass

        thread = threading.Thread(target=put)
        thread.start()
        time.sleep(0.7)
        node.kill()
        thread.join()
        node.start()
        s3 = node.client(key)
        # The part that was acknowledged is still there, and the upload goes on.
        done = [{"PartNumber": 1, "ETag": etag}]
        s3.complete_multipart_upload(Bucket="crash", Key="k", UploadId=upload, MultipartUpload={"Parts": done})
        assert s3.get_object(Bucket="crash", Key="k")["Body"].read() == part
        try:
            size = s3.head_object(Bucket="crash", Key="cut")["ContentLength"]
            assert size == 150 * MIB
            s3.delete_object(Bucket="crash", Key="cut")
        except Exception as error:
            assert "404" in str(error), error
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and len(node.blob_files()) != 1:
            time.sleep(0.2)
        assert len(node.blob_files()) == 1, node.blob_files()
        s3.delete_object(Bucket="crash", Key="k")
        while time.monotonic() < deadline and node.blob_files():
            time.sleep(0.2)
        assert node.blob_files() == []
    finally:
        node.end()


def case_a_deletion_survives_a_kill(w):
    node = Node()
    try:
        key = node.key()
        s3 = node.client(key)
        s3.create_bucket(Bucket="crash")
        for number in range(5):
            s3.put_object(Bucket="crash", Key="k", Body=os.urandom(100_000))
            s3.delete_object(Bucket="crash", Key="k")
            node.kill()
            node.start()
            s3 = node.client(key)
            refused("404", s3.head_object, Bucket="crash", Key="k")
    finally:
        node.end()


def case_a_node_that_is_asked_to_stop_ends_well(w):
    node = Node()
    try:
        key = node.key()
        s3 = node.client(key)
        s3.create_bucket(Bucket="crash")
        s3.put_object(Bucket="crash", Key="k", Body=b"x" * 100_000)
        node.stop()
        assert node.process.returncode == 0
        node.start()
        assert node.client(key).get_object(Bucket="crash", Key="k")["Body"].read() == b"x" * 100_000
    finally:
        node.end()
