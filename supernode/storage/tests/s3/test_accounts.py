"""Several accounts, and their access keys."""

import json

from node import refused


def case_a_key_works_at_once_and_is_revoked_at_once(w):
    key = w.node.key("late")
    s3 = w.node.client(key)
    s3.create_bucket(Bucket="late-bucket")
    listed = [row["access_key_id"] for row in w.node.command("list")]
    assert key["access_key_id"] in listed and "secret" not in json.dumps(w.node.command("list"))
    w.node.command("revoke", key["access_key_id"])
    refused("InvalidAccessKeyId", s3.list_buckets, status=403)
    # Another key of the same account sees what the first one made.
    again = w.node.client(w.node.key("late"))
    assert [bucket["Name"] for bucket in again.list_buckets()["Buckets"]] == ["late-bucket"]


def case_accounts_see_nothing_of_each_other(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    other = w.node.client(w.node.key("other"))
    assert other.list_buckets()["Buckets"] == []
    for call, named in [
        (other.get_object, dict(Key="k")), (other.put_object, dict(Key="k", Body=b"y")),
        (other.delete_object, dict(Key="k")), (other.list_objects_v2, {}), (other.delete_bucket, {}),
        (other.get_bucket_policy, {}), (other.create_multipart_upload, dict(Key="k")),
    ]:
        refused("AccessDenied", call, Bucket=b, status=403, **named)
    done = other.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "k"}]})
    assert done["Errors"][0]["Code"] == "AccessDenied"
    refused("BucketAlreadyExists", other.create_bucket, Bucket=b, status=409)
    other.create_bucket(Bucket="others-bucket")
    refused("AccessDenied", other.copy_object, Bucket="others-bucket", Key="k", CopySource={"Bucket": b, "Key": "k"})
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"x"


def case_a_policy_lets_one_account_in(w):
    b = w.bucket()
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    friend, stranger = w.node.client(w.node.key("friend")), w.node.client(w.node.key("stranger"))
    statement = {
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::friend:root"}, "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{b}", f"arn:aws:s3:::{b}/*"],
    }
    w.s3.put_bucket_policy(Bucket=b, Policy=json.dumps({"Statement": [statement]}))
    assert friend.get_object(Bucket=b, Key="k")["Body"].read() == b"x"
    assert friend.list_objects_v2(Bucket=b)["KeyCount"] == 1
    refused("AccessDenied", friend.put_object, Bucket=b, Key="k", Body=b"y")
    refused("AccessDenied", stranger.get_object, Bucket=b, Key="k")
