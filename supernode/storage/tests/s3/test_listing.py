"""Listings: ListObjects V1 and V2."""

from concurrent.futures import ThreadPoolExecutor

import requests_free as raw
from node import refused


def _fill(w, keys, bucket=None):
    b = bucket or w.bucket()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: w.s3.put_object(Bucket=b, Key=key, Body=b"x"), keys))
    return b


def _keys(page):
    return [entry["Key"] for entry in page.get("Contents", [])]


def _prefixes(page):
    return [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]


def case_an_empty_bucket(w):
    b = w.bucket()
    for page in [w.s3.list_objects(Bucket=b), w.s3.list_objects_v2(Bucket=b)]:
        assert not page["IsTruncated"] and _keys(page) == []


def case_a_thousand_keys_with_odd_names_in_pages(w):
    odd = ["ü", "日本", "🦀", "a b", "a+b", "a&b", "<a>", "%", "\"", "é", "e\u0301", "~", "!"]
    keys = [f"{odd[number % len(odd)]}/{number % 7}/{number:04d}" for number in range(1100)]
    b = _fill(w, keys)
    w.thousand = (b, keys)
    expected = sorted(keys, key=str.encode)
    first = w.s3.list_objects_v2(Bucket=b)
    assert first["IsTruncated"] and first["KeyCount"] == 1000
    for size in [1000, 333, 100]:
        pages = w.s3.get_paginator("list_objects_v2").paginate(Bucket=b, PaginationConfig={"PageSize": size})
        assert [key for page in pages for key in _keys(page)] == expected, size
    pages = w.s3.get_paginator("list_objects").paginate(Bucket=b, PaginationConfig={"PageSize": 300})
    assert [key for page in pages for key in _keys(page)] == expected


def case_a_thousand_keys_folded(w):
    b, keys = w.thousand
    folders = sorted({key.split("/")[0] + "/" for key in keys}, key=str.encode)
    page = w.s3.list_objects_v2(Bucket=b, Delimiter="/")
    assert _prefixes(page) == folders and page["KeyCount"] == len(folders) and _keys(page) == []
    for kind in ["list_objects_v2", "list_objects"]:
        pages = w.s3.get_paginator(kind).paginate(Bucket=b, Delimiter="/", PaginationConfig={"PageSize": 3})
        assert [prefix for page in pages for prefix in _prefixes(page)] == folders, kind
    page = w.s3.list_objects_v2(Bucket=b, Delimiter="/", Prefix="ü/")
    assert _prefixes(page) == [f"ü/{number}/" for number in range(7)]
    page = w.s3.list_objects_v2(Bucket=b, Delimiter="/", Prefix="ü/3/")
    assert _keys(page) == sorted((key for key in keys if key.startswith("ü/3/")), key=str.encode)


def case_keys_and_folders_side_by_side(w):
    b = _fill(w, ["a", "a/", "a/b", "a/c/d", "b", "b/x", "c"])
    page = w.s3.list_objects_v2(Bucket=b, Delimiter="/")
    assert _keys(page) == ["a", "b", "c"] and _prefixes(page) == ["a/", "b/"]
    page = w.s3.list_objects_v2(Bucket=b, Delimiter="/", Prefix="a/")
    assert _keys(page) == ["a/", "a/b"] and _prefixes(page) == ["a/c/"]
    page = w.s3.list_objects_v2(Bucket=b, Prefix="a")
    assert _keys(page) == ["a", "a/", "a/b", "a/c/d"]


def case_a_delimiter_of_several_letters(w):
    b = _fill(w, ["a--b", "a--c", "a-b", "d"])
    page = w.s3.list_objects_v2(Bucket=b, Delimiter="--")
    assert _keys(page) == ["a-b", "d"] and _prefixes(page) == ["a--"]
    page = w.s3.list_objects_v2(Bucket=b, Delimiter="a")
    assert _keys(page) == ["d"] and _prefixes(page) == ["a"]


def case_start_after_and_marker(w):
    b = _fill(w, ["a", "b", "c", "d"])
    assert _keys(w.s3.list_objects_v2(Bucket=b, StartAfter="b")) == ["c", "d"]
    assert _keys(w.s3.list_objects_v2(Bucket=b, StartAfter="bb")) == ["c", "d"]
    assert _keys(w.s3.list_objects_v2(Bucket=b, StartAfter="z")) == []
    assert _keys(w.s3.list_objects(Bucket=b, Marker="b")) == ["c", "d"]


def case_a_page_of_one_key_and_one_of_none(w):
    b = _fill(w, ["a", "b"])
    page = w.s3.list_objects_v2(Bucket=b, MaxKeys=1)
    assert _keys(page) == ["a"] and page["IsTruncated"] and page["MaxKeys"] == 1
    page = w.s3.list_objects_v2(Bucket=b, MaxKeys=1, ContinuationToken=page["NextContinuationToken"])
    assert _keys(page) == ["b"] and not page["IsTruncated"] and "NextContinuationToken" not in page
    page = w.s3.list_objects_v2(Bucket=b, MaxKeys=0)
    assert _keys(page) == [] and not page["IsTruncated"]


def case_a_forged_continuation_is_refused(w):
    refused("InvalidArgument", w.s3.list_objects_v2, Bucket=w.bucket(), ContinuationToken="%%%")


def case_encoding_is_done_when_asked_for(w):
    b = _fill(w, ["a b+ü"])
    encoded = raw.send(w, "GET", f"/{b}?encoding-type=url&list-type=2").text
    assert "<Key>a%20b%2B%C3%BC</Key>" in encoded and "<EncodingType>url</EncodingType>" in encoded, encoded
    plain = raw.send(w, "GET", f"/{b}?list-type=2").text
    assert "<Key>a b+ü</Key>" in plain, plain


def case_owners_are_named_when_asked_for(w):
    b = _fill(w, ["a"])
    assert "Owner" not in w.s3.list_objects_v2(Bucket=b)["Contents"][0]
    assert w.s3.list_objects_v2(Bucket=b, FetchOwner=True)["Contents"][0]["Owner"]["DisplayName"] == "owner"
    assert w.s3.list_objects(Bucket=b)["Contents"][0]["Owner"]["DisplayName"] == "owner"


def case_a_deleted_key_is_not_listed(w):
    b = _fill(w, ["a", "b"], w.versioned())
    w.s3.delete_object(Bucket=b, Key="a")
    assert _keys(w.s3.list_objects_v2(Bucket=b)) == ["b"]
    w.s3.delete_object(Bucket=b, Key="b")
    assert _prefixes(w.s3.list_objects_v2(Bucket=b, Delimiter="b")) == []
