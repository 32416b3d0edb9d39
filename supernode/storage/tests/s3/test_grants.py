"""Grants: what an issuer lets others do, at a node that never met it."""

import subprocess
import urllib.parse

import requests_free as raw
from node import PROGRAM, Issuer, Node, blackhole, narrow, refused


def _world(w):
    b = w.bucket()
    for key in ["photos/a", "photos/deep/b", "other/c", "photos"]:
        w.s3.put_object(Bucket=b, Key=key, Body=key.encode())
    return b


def _bearer(w, token, method, path, body=None):
    return raw.exchange(w.node.url, method, path, body, {"Authorization": f"Bearer {token}"})


def case_keys_of_a_grant_work_within_their_prefix(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "read,write,list,delete", "--prefix", "photos/"))
    assert s3.get_object(Bucket=b, Key="photos/a")["Body"].read() == b"photos/a"
    s3.put_object(Bucket=b, Key="photos/new", Body=b"new")
    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=b, Prefix="photos/")["Contents"]]
    assert listed == ["photos/a", "photos/deep/b", "photos/new"]
    s3.delete_object(Bucket=b, Key="photos/new")
    refused("NoSuchKey", w.s3.get_object, Bucket=b, Key="photos/new")


def case_nothing_beyond_the_prefix(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "read,write,list,delete", "--prefix", "photos/"))
    for key in ["other/c", "photos", "photosx", "Photos/a"]:
        refused("AccessDenied", s3.get_object, Bucket=b, Key=key, status=403)
        refused("AccessDenied", s3.put_object, Bucket=b, Key=key, Body=b"x", status=403)
        refused("AccessDenied", s3.delete_object, Bucket=b, Key=key, status=403)


def case_no_listing_beyond_the_prefix(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "read,list", "--prefix", "photos/"))
    for named in [{}, {"Prefix": "other/"}, {"Prefix": "photos"}, {"Prefix": "", "StartAfter": "photos/"}]:
        refused("AccessDenied", s3.list_objects_v2, Bucket=b, status=403, **named)
        refused("AccessDenied", s3.list_object_versions, Bucket=b, Prefix=named.get("Prefix", ""))
    assert s3.list_objects_v2(Bucket=b, Prefix="photos/deep/")["KeyCount"] == 1


def case_a_prefix_that_climbs_is_none(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "read,write", "--prefix", "photos/"))
    w.s3.put_object(Bucket=b, Key="photos/../other/c", Body=b"odd")
    refused("AccessDenied", s3.get_object, Bucket=b, Key="photos/../other/c", status=403)
    refused("AccessDenied", s3.put_object, Bucket=b, Key="photos/../other/c", Body=b"x", status=403)


def case_a_grant_of_one_bucket_is_none_of_another(w):
    b, c = _world(w), w.bucket()
    w.s3.put_object(Bucket=c, Key="photos/a", Body=b"x")
    s3 = w.node.granted(w.issuer.grant(b, "read,write,list,delete"))
    assert s3.get_object(Bucket=b, Key="other/c")["Body"].read() == b"other/c"
    refused("AccessDenied", s3.get_object, Bucket=c, Key="photos/a", status=403)
    refused("AccessDenied", s3.list_objects_v2, Bucket=c, status=403)
    refused("AccessDenied", s3.list_objects_v2, Bucket=b + "x", status=403)


def case_a_grant_of_one_object(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "read,write", "--object", "photos/a"))
    assert s3.get_object(Bucket=b, Key="photos/a")["Body"].read() == b"photos/a"
    for key in ["photos/ab", "photos/deep/b", "photos/a/x"]:
        refused("AccessDenied", s3.get_object, Bucket=b, Key=key, status=403)


def _operations(allow):
    calls = {
        "read": [("get_object", {}), ("head_object", {}), ("get_object_tagging", {})],
        "write": [
            ("put_object", {"Body": b"x"}), ("put_object_tagging", {"Tagging": {"TagSet": []}}),
            ("create_multipart_upload", {}),
        ],
        "delete": [("delete_object", {})],
    }

    def case(w):
        b = _world(w)
        s3 = w.node.granted(w.issuer.grant(b, allow))
        for operation, tried in calls.items():
            for name, named in tried:
                w.s3.put_object(Bucket=b, Key="k", Body=b"x")
                call = getattr(s3, name)
                if operation == allow:
                    call(Bucket=b, Key="k", **named)
                else:
                    code = "403" if name == "head_object" else "AccessDenied"
                    refused(code, call, Bucket=b, Key="k", status=403, **named)
        if allow == "list":
            assert s3.list_objects_v2(Bucket=b)["KeyCount"] == 5
            s3.head_bucket(Bucket=b)
        else:
            refused("AccessDenied", s3.list_objects_v2, Bucket=b, status=403)
            refused("403", s3.head_bucket, Bucket=b, status=403)

    return case


case_a_grant_to_read = _operations("read")
case_a_grant_to_write = _operations("write")
case_a_grant_to_delete = _operations("delete")
case_a_grant_to_list = _operations("list")


def case_no_grant_reaches_settings(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "read,write,list,delete"))
    for call, named in [
        (s3.get_bucket_policy, {}), (s3.delete_bucket, {}), (s3.get_bucket_versioning, {}), (s3.get_bucket_acl, {}),
        (s3.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Enabled"}}), (s3.delete_bucket_policy, {}),
        (s3.get_bucket_tagging, {}), (s3.put_object_acl, {"Key": "k", "ACL": "private"}),
    ]:
        refused("AccessDenied", call, Bucket=b, status=403, **named)
    refused("AccessDenied", s3.list_buckets, status=403)
    refused("AccessDenied", s3.create_bucket, Bucket="by-a-grant", status=403)


def case_no_grant_reaches_locks(w):
    b = w.bucket(ObjectLockEnabledForBucket=True)
    s3 = w.node.granted(w.issuer.grant(b, "read,write,list,delete"))
    import datetime

    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    version = w.s3.put_object(
        Bucket=b, Key="k", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until
    )["VersionId"]
    refused("AccessDenied", s3.delete_object, Bucket=b, Key="k", VersionId=version, BypassGovernanceRetention=True)
    refused(
        "AccessDenied", s3.put_object, Bucket=b, Key="l", Body=b"x", ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
    )
    refused("AccessDenied", s3.put_object_legal_hold, Bucket=b, Key="k", LegalHold={"Status": "ON"})


def case_a_grant_is_narrowed_without_its_issuer(w):
    b = _world(w)
    wide = w.issuer.grant(b, "read,write,list", "--prefix", "photos/")
    s3 = w.node.granted(narrow(wide, b, "read", "--prefix", "photos/deep/"))
    assert s3.get_object(Bucket=b, Key="photos/deep/b")["Body"].read() == b"photos/deep/b"
    refused("AccessDenied", s3.get_object, Bucket=b, Key="photos/a", status=403)
    refused("AccessDenied", s3.put_object, Bucket=b, Key="photos/deep/b", Body=b"x", status=403)


def case_narrowing_never_widens(w):
    b = _world(w)
    narrowest = w.issuer.grant(b, "read", "--prefix", "photos/deep/")
    s3 = w.node.granted(narrow(narrowest, b, "read,write,list,delete"))
    assert s3.get_object(Bucket=b, Key="photos/deep/b")["Body"].read() == b"photos/deep/b"
    refused("AccessDenied", s3.get_object, Bucket=b, Key="photos/a", status=403)
    refused("AccessDenied", s3.put_object, Bucket=b, Key="photos/deep/b", Body=b"x", status=403)


def case_a_grant_ends_with_its_time(w):
    b = _world(w)
    token = w.issuer.grant(b, "read", "--hours", "0")
    refused("AccessDenied", w.node.granted(token).get_object, Bucket=b, Key="photos/a", status=403)
    ended = narrow(w.issuer.grant(b, "read"), b, "read", "--hours", "0")
    refused("AccessDenied", w.node.granted(ended).get_object, Bucket=b, Key="photos/a", status=403)


def case_a_token_as_it_is(w):
    b = _world(w)
    token = w.issuer.grant(b, "read,write", "--prefix", "photos/")
    answer = _bearer(w, token, "GET", f"/{b}/photos/a")
    assert answer.status == 200 and answer.body == b"photos/a"
    assert _bearer(w, token, "PUT", f"/{b}/photos/new", b"x").status == 200
    assert _bearer(w, token, "GET", f"/{b}/other/c").status == 403
    assert _bearer(w, token, "DELETE", f"/{b}/photos/a").status == 403


def case_garbage_is_no_token(w):
    b = _world(w)
    token = w.issuer.grant(b, "read")
    for text in ["", "u", "uAAAA", "x" * 20_000, token[:-4], token[:60] + ("A" if token[60] != "A" else "B") + token[61:]]:
        answer = _bearer(w, text, "GET", f"/{b}/photos/a")
        assert answer.status in (400, 403, 431), (text, answer.status)


def case_an_issuer_whom_nobody_trusts(w):
    b = _world(w)
    stranger = Issuer(w.keys.name, f"stranger-{b}")
    token = stranger.grant(b, "read")
    refused("InvalidToken", w.node.granted(token).get_object, Bucket=b, Key="photos/a", status=400)
    assert _bearer(w, token, "GET", f"/{b}/photos/a").status == 400


def case_a_forged_issuer(w):
    # The trusted issuer's name before somebody else's grant.
    import base64

    b = _world(w)
    stranger = Issuer(w.keys.name, f"forger-{b}")

    def decode(token):
        return base64.urlsafe_b64decode(token[1:] + "=" * (-len(token[1:]) % 4))

    own, theirs = decode(w.issuer.grant(b, "read")), decode(stranger.grant(b, "read"))
    forged = "u" + base64.urlsafe_b64encode(own[:33] + theirs[33:]).decode().rstrip("=")
    assert _bearer(w, forged, "GET", f"/{b}/photos/a").status == 403


def case_an_issuer_stands_for_one_account_alone(w):
    other = w.node.client(w.node.key("grants-other"))
    other.create_bucket(Bucket="grants-others-bucket")
    other.put_object(Bucket="grants-others-bucket", Key="k", Body=b"x")
    token = w.issuer.grant("grants-others-bucket", "read,write,list,delete")
    refused("AccessDenied", w.node.granted(token).get_object, Bucket="grants-others-bucket", Key="k", status=403)


def case_a_denial_of_the_bucket_binds_grants_too(w):
    import json

    b = _world(w)
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{b}/photos/*"}
    w.s3.put_bucket_policy(Bucket=b, Policy=json.dumps({"Statement": [statement]}))
    s3 = w.node.granted(w.issuer.grant(b, "read"))
    refused("AccessDenied", s3.get_object, Bucket=b, Key="photos/a", status=403)
    assert s3.get_object(Bucket=b, Key="other/c")["Body"].read() == b"other/c"


def case_keys_are_good_with_their_secret_and_session_alone(w):
    b = _world(w)
    keys = blackhole("storage", "grant", "keys", w.issuer.grant(b, "read"), "--node", w.node.did)[0]
    assert w.node.client(keys).get_object(Bucket=b, Key="photos/a")["Body"].read() == b"photos/a"
    wrong = dict(keys, secret_access_key=keys["secret_access_key"][::-1])
    refused("SignatureDoesNotMatch", w.node.client(wrong).get_object, Bucket=b, Key="photos/a", status=403)
    without = dict(keys, session_token=None)
    refused("InvalidAccessKeyId", w.node.client(without).get_object, Bucket=b, Key="photos/a", status=403)
    # The session token by itself is no key to anything.
    unsigned = raw.exchange(w.node.url, "GET", f"/{b}/photos/a", None, {"x-amz-security-token": keys["session_token"]})
    assert unsigned.status == 403, unsigned.text
    # Nor does an account's own key become a grant's, or the other way round, by carrying it.
    refused("AccessDenied", w.node.client(keys).put_object, Bucket=b, Key="photos/a", Body=b"x")


def case_keys_are_good_at_their_node_alone(w):
    b = _world(w)
    node = Node(extra=f'[storage.issuers]\n"{w.issuer.did}" = "owner"\n')
    try:
        own = node.client(node.key())
        own.create_bucket(Bucket=b)
        own.put_object(Bucket=b, Key="photos/a", Body=b"there")
        token = w.issuer.grant(b, "read", "--prefix", "photos/")
        keys = blackhole("storage", "grant", "keys", token, "--node", w.node.did)[0]
        refused("InvalidToken", node.client(keys).get_object, Bucket=b, Key="photos/a", status=400)
        # The grant itself is good at every node that trusts its issuer, which neither node was asked about.
        assert node.granted(token).get_object(Bucket=b, Key="photos/a")["Body"].read() == b"there"
        assert w.node.granted(token).get_object(Bucket=b, Key="photos/a")["Body"].read() == b"photos/a"
    finally:
        node.end()


def case_a_presigned_link_shows_no_more_than_it_is_for(w):
    b = _world(w)
    token = w.issuer.grant(b, "read")
    s3 = w.node.granted(token, signature_version="s3v4")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": b, "Key": "photos/a"}, ExpiresIn=60)
    assert raw.fetch("GET", url).body == b"photos/a"
    assert raw.fetch("GET", url.replace("photos/a", "other/c")).status == 403
    session = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["X-Amz-Security-Token"][0]
    assert _bearer(w, session, "GET", f"/{b}/other/c").status == 400
    assert token[1:] not in session


def case_parts_are_uploaded_by_a_grant(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "write", "--prefix", "photos/"))
    named = dict(Bucket=b, Key="photos/parts")
    named["UploadId"] = s3.create_multipart_upload(**named)["UploadId"]
    etag = s3.upload_part(PartNumber=1, Body=b"part", **named)["ETag"]
    assert len(s3.list_parts(**named)["Parts"]) == 1
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **named)
    assert w.s3.get_object(Bucket=b, Key="photos/parts")["Body"].read() == b"part"
    refused("AccessDenied", s3.create_multipart_upload, Bucket=b, Key="other/parts", status=403)


def case_a_copy_wants_a_grant_to_read_its_source(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "read,write", "--prefix", "photos/"))
    s3.copy_object(Bucket=b, Key="photos/copy", CopySource={"Bucket": b, "Key": "photos/a"})
    refused("AccessDenied", s3.copy_object, Bucket=b, Key="photos/copy", CopySource={"Bucket": b, "Key": "other/c"})
    refused("AccessDenied", s3.copy_object, Bucket=b, Key="other/copy", CopySource={"Bucket": b, "Key": "photos/a"})


def case_many_are_deleted_as_far_as_a_grant_goes(w):
    b = _world(w)
    s3 = w.node.granted(w.issuer.grant(b, "delete", "--prefix", "photos/"))
    done = s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "photos/a"}, {"Key": "other/c"}]})
    assert [gone["Key"] for gone in done["Deleted"]] == ["photos/a"]
    assert [(error["Key"], error["Code"]) for error in done["Errors"]] == [("other/c", "AccessDenied")]


def case_a_revoked_grant_is_good_no_longer_with_all_that_was_made_of_it(w):
    b = _world(w)
    wide = w.issuer.grant(b, "read")
    narrowed = narrow(wide, b, "read", "--prefix", "photos/")
    other = w.issuer.grant(b, "read")
    clients = {name: w.node.granted(token) for name, token in [("wide", wide), ("narrowed", narrowed), ("other", other)]}
    for s3 in clients.values():
        s3.get_object(Bucket=b, Key="photos/a")
    assert w.node.hear(w.issuer.revoke(wide)) is True
    for name in ["wide", "narrowed"]:
        refused("AccessDenied", clients[name].get_object, Bucket=b, Key="photos/a", status=403)
    assert _bearer(w, wide, "GET", f"/{b}/photos/a").status == 403
    clients["other"].get_object(Bucket=b, Key="photos/a")


def case_a_narrowed_grant_is_revoked_alone(w):
    b = _world(w)
    wide = w.issuer.grant(b, "read")
    narrowed = narrow(wide, b, "read", "--prefix", "photos/")
    revocation = w.issuer.revoke(narrowed)
    assert w.node.hear(revocation) is True and w.node.hear(revocation) is False
    refused("AccessDenied", w.node.granted(narrowed).get_object, Bucket=b, Key="photos/a", status=403)
    w.node.granted(wide).get_object(Bucket=b, Key="photos/a")


def case_a_revocation_outlives_the_process(w):
    node = Node(extra=f'[storage.issuers]\n"{w.issuer.did}" = "owner"\n')
    try:
        own = node.client(node.key())
        own.create_bucket(Bucket="lasting")
        own.put_object(Bucket="lasting", Key="k", Body=b"x")
        token = w.issuer.grant("lasting", "read")
        node.granted(token).get_object(Bucket="lasting", Key="k")
        node.hear(w.issuer.revoke(token))
        node.kill()
        node.start()
        refused("AccessDenied", node.granted(token).get_object, Bucket="lasting", Key="k", status=403)
    finally:
        node.end()


def case_nobody_else_revokes(w):
    b = _world(w)
    token = w.issuer.grant(b, "read")
    stranger = Issuer(w.keys.name, f"revoker-{b}")
    done = subprocess.run(
        [PROGRAM, "storage", "grant", "revoke", token, "--key", stranger.file], capture_output=True, text=True
    )
    assert done.returncode != 0 and "another issuer" in done.stderr
    w.node.granted(token).get_object(Bucket=b, Key="photos/a")


def case_the_command_says_what_is_wrong(w):
    for more, expected in [
        (["--allow", "read", "--prefix", "photos"], "ends in /"), (["--allow", "everything"], "there is: read"),
        (["--allow", "read", "--hours", "100000"], "within a year"),
    ]:
        command = [PROGRAM, "storage", "grant", "issue", "--key", w.issuer.file, "--bucket", "b", *more]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode != 0 and expected in done.stderr, done.stderr
