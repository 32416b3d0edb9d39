"""POST policy forms: what a page may upload without a key."""

import base64
import datetime
import json

import requests_free as raw


def _form(w, b, key, fields=None, conditions=None, expires=60):
    return w.s3.generate_presigned_post(b, key, Fields=fields, Conditions=conditions, ExpiresIn=expires)["fields"]


def _post(w, b, fields, name="name.txt", data=b"hello"):
    return raw.post_form(f"{w.node.url}/{b}", fields, name, data)


def case_a_form_of_a_prefix(w):
    b = w.bucket()
    # boto3 makes a condition of a prefix where the key ends so.
    answer = _post(w, b, dict(_form(w, b, "in/${filename}"), key="in/mine.txt"))
    assert answer.status in (200, 201, 204), answer.text
    assert w.s3.get_object(Bucket=b, Key="in/mine.txt")["Body"].read() == b"hello"


def case_a_file_that_names_itself_is_not_implemented(w):
    b = w.bucket()
    answer = _post(w, b, _form(w, b, "in/${filename}"))
    assert answer.status == 501 and "NotImplemented" in answer.text, answer.text


def case_a_key_outside_the_forms_prefix_is_refused(w):
    b = w.bucket()
    answer = _post(w, b, dict(_form(w, b, "in/${filename}"), key="out/mine.txt"))
    assert answer.status in (400, 403), answer.text
    assert w.s3.list_objects_v2(Bucket=b)["KeyCount"] == 0


def case_a_form_answers_as_it_was_asked_to(w):
    b = w.bucket()
    for status in ["200", "201", "204"]:
        fields = _form(w, b, "k", {"success_action_status": status}, [{"success_action_status": status}])
        answer = _post(w, b, fields)
        assert answer.status == int(status), answer.status
        if status == "201":
            assert f"<Bucket>{b}</Bucket>" in answer.text and "<Key>k</Key>" in answer.text


def case_a_form_sends_its_visitor_on(w):
    b = w.bucket()
    to = "https://example.com/thanks"
    fields = _form(w, b, "k", {"success_action_redirect": to}, [{"success_action_redirect": to}])
    answer = _post(w, b, fields)
    assert answer.status == 303 and answer.headers["location"].startswith(to), (answer.status, answer.text)


def case_a_file_that_is_too_short_or_too_long(w):
    b = w.bucket()
    fields = _form(w, b, "k", conditions=[["content-length-range", 5, 10]])
    for size, good in [(4, False), (5, True), (10, True), (11, False)]:
        status = _post(w, b, fields, data=b"x" * size).status
        assert (status < 300) == good, (size, status)


def case_a_form_whose_time_is_over(w):
    b = w.bucket()
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    fields = _form(w, b, "k")
    policy = json.loads(base64.b64decode(fields["policy"]))
    assert policy["expiration"] > past.strftime("%Y-%m-%d")
    expired = _form(w, b, "k", expires=-60)
    answer = _post(w, b, expired)
    assert answer.status == 403, (answer.status, answer.text)


def case_a_policy_that_was_changed(w):
    b = w.bucket()
    fields = _form(w, b, "k")
    policy = json.loads(base64.b64decode(fields["policy"]))
    policy["conditions"] = []
    changed = dict(fields, policy=base64.b64encode(json.dumps(policy).encode()).decode())
    assert _post(w, b, changed).status == 403


def case_a_field_that_the_policy_does_not_name(w):
    b = w.bucket()
    answer = _post(w, b, dict(_form(w, b, "k"), **{"x-amz-meta-more": "1"}))
    assert answer.status in (400, 403), (answer.status, answer.text)


def case_metadata_and_a_type_in_a_form(w):
    b = w.bucket()
    said = {"Content-Type": "text/x", "x-amz-meta-a": "1"}
    fields = _form(w, b, "k", said, [{"Content-Type": "text/x"}, {"x-amz-meta-a": "1"}])
    assert _post(w, b, fields).status in (200, 204)
    head = w.s3.head_object(Bucket=b, Key="k")
    assert head["ContentType"] == "text/x" and head["Metadata"] == {"a": "1"}


def case_a_form_for_another_bucket(w):
    b, other = w.bucket(), w.bucket()
    assert _post(w, other, _form(w, b, "k")).status in (400, 403)


def case_a_form_without_a_signature(w):
    b = w.bucket()
    assert _post(w, b, {"key": "k"}).status == 403


def case_a_form_of_a_key_that_was_revoked(w):
    key = w.node.key()
    b = w.bucket()
    fields = w.node.client(key).generate_presigned_post(b, "k")["fields"]
    assert _post(w, b, fields).status in (200, 204)
    w.node.command("revoke", key["access_key_id"])
    assert _post(w, b, fields).status == 403


def case_a_form_is_bound_by_the_buckets_policy(w):
    b = w.bucket()
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{b}/shut/*"}
    w.s3.put_bucket_policy(Bucket=b, Policy=json.dumps({"Statement": [statement]}))
    assert _post(w, b, _form(w, b, "shut/k")).status == 403
    assert _post(w, b, _form(w, b, "open/k")).status in (200, 204)


def case_a_form_of_a_friend(w):
    b = w.bucket()
    friend = w.node.client(w.node.key("form-friend"))
    statement = {"Effect": "Allow", "Principal": {"AWS": "form-friend"}, "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{b}/in/*"}
    w.s3.put_bucket_policy(Bucket=b, Policy=json.dumps({"Statement": [statement]}))
    for key, good in [("in/k", True), ("out/k", False)]:
        status = _post(w, b, friend.generate_presigned_post(b, key)["fields"]).status
        assert (status < 300) == good, (key, status)


def case_a_grant_posts_no_forms(w):
    b = w.bucket()
    token = w.issuer.grant(b, "write")
    fields = w.node.granted(token).generate_presigned_post(b, "k")["fields"]
    assert _post(w, b, fields).status == 403
    body = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ny\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Bearer {token}"}
    assert raw.exchange(w.node.url, "POST", f"/{b}", body, headers).status == 403
    assert w.s3.list_objects_v2(Bucket=b)["KeyCount"] == 0
