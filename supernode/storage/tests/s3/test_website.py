"""Buckets as websites: their configuration, and what visitors see."""

import json

import requests_free as raw
from node import refused

SUFFIX = {"Suffix": "index.html"}


def _site(w, configuration, objects=(), public=True):
    b = w.bucket()
    w.s3.put_bucket_website(Bucket=b, WebsiteConfiguration=configuration)
    for key, text in dict(objects).items():
        w.s3.put_object(Bucket=b, Key=key, Body=text.encode(), ContentType="text/html")
    if public:
        statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{b}/*"}
        w.s3.put_bucket_policy(Bucket=b, Policy=json.dumps({"Statement": [statement]}))
    return b


def _visit(w, b, path, method="GET", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return raw.exchange(w.node.url, method, path, None, {"Host": f"{b}.web.test", **named})


def case_a_configuration_is_kept(w):
    b = w.bucket()
    refused("NoSuchWebsiteConfiguration", w.s3.get_bucket_website, Bucket=b, status=404)
    rule = {
        "Condition": {"KeyPrefixEquals": "old/"},
        "Redirect": {"ReplaceKeyPrefixWith": "new/", "HttpRedirectCode": "302"},
    }
    said = {"IndexDocument": SUFFIX, "ErrorDocument": {"Key": "oh.html"}, "RoutingRules": [rule]}
    w.s3.put_bucket_website(Bucket=b, WebsiteConfiguration=said)
    got = w.s3.get_bucket_website(Bucket=b)
    assert {name: got[name] for name in said} == said
    w.s3.delete_bucket_website(Bucket=b)
    refused("NoSuchWebsiteConfiguration", w.s3.get_bucket_website, Bucket=b)


def _invalid(configuration):
    def case(w):
        refused("InvalidArgument", w.s3.put_bucket_website, Bucket=w.bucket(), WebsiteConfiguration=configuration, status=400)

    return case


case_a_configuration_without_an_index_is_refused = _invalid({"ErrorDocument": {"Key": "e"}})
case_an_index_with_a_slash_is_refused = _invalid({"IndexDocument": {"Suffix": "a/b"}})
case_a_redirect_of_all_stands_alone = _invalid(
    {"IndexDocument": SUFFIX, "RedirectAllRequestsTo": {"HostName": "other.example"}}
)
case_a_code_that_redirects_nowhere_is_refused = _invalid(
    {"IndexDocument": SUFFIX, "RoutingRules": [{"Redirect": {"HttpRedirectCode": "200"}}]}
)
case_two_replacements_at_once_are_refused = _invalid(
    {"IndexDocument": SUFFIX, "RoutingRules": [{"Redirect": {"ReplaceKeyWith": "a", "ReplaceKeyPrefixWith": "b"}}]}
)
case_a_host_that_is_none_is_refused = _invalid({"RedirectAllRequestsTo": {"HostName": "a/b"}})


def case_the_index_answers_for_a_folder(w):
    b = _site(w, {"IndexDocument": SUFFIX}, {"index.html": "top", "a/index.html": "below", "a/b.html": "leaf"})
    assert _visit(w, b, "/").text == "top"
    assert _visit(w, b, "/a/").text == "below"
    answer = _visit(w, b, "/a/b.html")
    assert answer.text == "leaf" and answer.headers["content-type"] == "text/html"


def case_a_folder_without_its_slash_is_sent_there(w):
    b = _site(w, {"IndexDocument": SUFFIX}, {"a b/index.html": "below"})
    answer = _visit(w, b, "/a%20b")
    assert answer.status == 302 and answer.headers["location"] == "/a%20b/"


def case_what_is_not_there_is_a_page(w):
    b = _site(w, {"IndexDocument": SUFFIX}, {"index.html": "top"})
    answer = _visit(w, b, "/%3Cscript%3E")
    assert answer.status == 404 and "NoSuchKey" in answer.text and "<script>" not in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def case_the_error_document_has_the_errors_status(w):
    b = _site(w, {"IndexDocument": SUFFIX, "ErrorDocument": {"Key": "oh.html"}}, {"oh.html": "oh dear"})
    answer = _visit(w, b, "/absent")
    assert answer.status == 404 and answer.text == "oh dear"


def case_what_is_not_public_stays_so(w):
    b = _site(w, {"IndexDocument": SUFFIX}, {"index.html": "top"}, public=False)
    answer = _visit(w, b, "/")
    assert answer.status == 403 and "top" not in answer.text


def case_a_bucket_that_is_no_website(w):
    answer = _visit(w, w.bucket(), "/")
    assert answer.status == 404 and "NoSuchWebsiteConfiguration" in answer.text
    answer = _visit(w, "no-such-bucket", "/")
    assert answer.status == 404 and "NoSuchBucket" in answer.text


def case_visitors_only_read(w):
    b = _site(w, {"IndexDocument": SUFFIX}, {"index.html": "top"})
    for method in ["PUT", "POST", "DELETE"]:
        assert _visit(w, b, "/index.html", method).status == 405
    assert _visit(w, b, "/").text == "top"


def case_a_visitor_that_has_the_page_is_told_so(w):
    b = _site(w, {"IndexDocument": SUFFIX}, {"index.html": "top"})
    first = _visit(w, b, "/")
    again = _visit(w, b, "/", If_None_Match=first.headers["etag"])
    assert again.status == 304 and again.body == b""
    assert _visit(w, b, "/", If_Modified_Since=first.headers["last-modified"]).status == 304


def case_a_range_of_a_page(w):
    b = _site(w, {"IndexDocument": SUFFIX}, {"index.html": "0123456789"})
    answer = _visit(w, b, "/", Range="bytes=2-4")
    assert answer.status == 206 and answer.text == "234" and answer.headers["content-range"] == "bytes 2-4/10"
    assert _visit(w, b, "/", Range="bytes=20-30").status == 416


def case_the_head_of_a_page(w):
    b = _site(w, {"IndexDocument": SUFFIX}, {"index.html": "top"})
    answer = _visit(w, b, "/", "HEAD")
    assert answer.status == 200 and answer.body == b"" and answer.headers["content-length"] == "3"


def case_all_requests_go_elsewhere(w):
    b = _site(w, {"RedirectAllRequestsTo": {"HostName": "other.example", "Protocol": "https"}})
    answer = _visit(w, b, "/a/b")
    assert answer.status == 301 and answer.headers["location"] == "https://other.example/a/b"


def case_a_prefix_is_replaced(w):
    rule = {"Condition": {"KeyPrefixEquals": "docs/"}, "Redirect": {"ReplaceKeyPrefixWith": "documents/"}}
    b = _site(w, {"IndexDocument": SUFFIX, "RoutingRules": [rule]}, {"docs/a": "never seen"})
    answer = _visit(w, b, "/docs/a")
    assert answer.status == 301 and answer.headers["location"] == "/documents/a"


def case_an_error_is_sent_elsewhere(w):
    rule = {
        "Condition": {"HttpErrorCodeReturnedEquals": "404"},
        "Redirect": {"HostName": "archive.example", "ReplaceKeyPrefixWith": "lost/", "HttpRedirectCode": "307"},
    }
    b = _site(w, {"IndexDocument": SUFFIX, "RoutingRules": [rule]}, {"here": "here"})
    assert _visit(w, b, "/here").text == "here"
    answer = _visit(w, b, "/gone")
    assert answer.status == 307 and answer.headers["location"] == "//archive.example/lost/gone"


def case_a_whole_key_is_replaced(w):
    rule = {"Condition": {"KeyPrefixEquals": "any"}, "Redirect": {"ReplaceKeyWith": "one.html"}}
    b = _site(w, {"IndexDocument": SUFFIX, "RoutingRules": [rule]})
    assert _visit(w, b, "/anything").headers["location"] == "/one.html"


def case_an_object_redirects(w):
    b = _site(w, {"IndexDocument": SUFFIX})
    w.s3.put_object(Bucket=b, Key="moved", Body=b"", WebsiteRedirectLocation="https://other.example/x")
    answer = _visit(w, b, "/moved")
    assert answer.status == 301 and answer.headers["location"] == "https://other.example/x"
    # To those who speak S3 it is an object with a header.
    assert w.s3.head_object(Bucket=b, Key="moved")["WebsiteRedirectLocation"] == "https://other.example/x"


def case_a_sealed_object_is_no_page(w):
    b = _site(w, {"IndexDocument": SUFFIX})
    w.s3.put_object(Bucket=b, Key="k", Body=b"x", SSECustomerAlgorithm="AES256", SSECustomerKey="0" * 32)
    assert _visit(w, b, "/k").status == 400
