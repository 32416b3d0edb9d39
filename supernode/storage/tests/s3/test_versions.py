"""Versions, delete markers, and their listings."""

from node import refused


def _versions(w, b, **more):
    page = w.s3.list_object_versions(Bucket=b, **more)
    return page.get("Versions", []), page.get("DeleteMarkers", []), page


def case_a_bucket_keeps_none_until_it_is_told(w):
    b = w.bucket()
    assert "Status" not in w.s3.get_bucket_versioning(Bucket=b)
    assert "VersionId" not in w.s3.put_object(Bucket=b, Key="k", Body=b"1")
    versions, _, _ = _versions(w, b)
    assert [version["VersionId"] for version in versions] == ["null"]
    w.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    assert w.s3.get_bucket_versioning(Bucket=b)["Status"] == "Enabled"


def case_each_version_is_found_by_its_name(w):
    b = w.versioned()
    ids = [w.s3.put_object(Bucket=b, Key="k", Body=str(number).encode())["VersionId"] for number in range(4)]
    assert len(set(ids)) == 4
    for number, version in enumerate(ids):
        got = w.s3.get_object(Bucket=b, Key="k", VersionId=version)
        assert got["Body"].read() == str(number).encode() and got["VersionId"] == version
    assert w.s3.get_object(Bucket=b, Key="k")["VersionId"] == ids[3]
    versions, _, _ = _versions(w, b)
    assert [version["VersionId"] for version in versions] == ids[::-1]
    assert [version["IsLatest"] for version in versions] == [True, False, False, False]


def case_a_delete_marker_hides_and_is_removed(w):
    b = w.versioned()
    first = w.s3.put_object(Bucket=b, Key="k", Body=b"1")["VersionId"]
    gone = w.s3.delete_object(Bucket=b, Key="k")
    assert gone["DeleteMarker"] and gone["VersionId"] != first
    answer = refused("NoSuchKey", w.s3.get_object, Bucket=b, Key="k", status=404)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    refused("MethodNotAllowed", w.s3.get_object, Bucket=b, Key="k", VersionId=gone["VersionId"], status=405)
    assert w.s3.get_object(Bucket=b, Key="k", VersionId=first)["Body"].read() == b"1"
    _, markers, _ = _versions(w, b)
    assert [marker["VersionId"] for marker in markers] == [gone["VersionId"]] and markers[0]["IsLatest"]
    removed = w.s3.delete_object(Bucket=b, Key="k", VersionId=gone["VersionId"])
    assert removed["DeleteMarker"]
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"1"


def case_a_version_is_deleted_for_good(w):
    b = w.versioned()
    one = w.s3.put_object(Bucket=b, Key="k", Body=b"1")["VersionId"]
    two = w.s3.put_object(Bucket=b, Key="k", Body=b"2")["VersionId"]
    assert w.s3.delete_object(Bucket=b, Key="k", VersionId=two)["VersionId"] == two
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"1"
    refused("NoSuchVersion", w.s3.get_object, Bucket=b, Key="k", VersionId=two, status=404)
    refused("BucketNotEmpty", w.s3.delete_bucket, Bucket=b)
    w.s3.delete_object(Bucket=b, Key="k", VersionId=one)
    w.s3.delete_bucket(Bucket=b)


def case_a_suspended_bucket_keeps_what_it_has(w):
    b = w.versioned()
    one = w.s3.put_object(Bucket=b, Key="k", Body=b"1")["VersionId"]
    w.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Suspended"})
    assert w.s3.put_object(Bucket=b, Key="k", Body=b"2")["VersionId"] == "null"
    assert w.s3.put_object(Bucket=b, Key="k", Body=b"3")["VersionId"] == "null"
    versions, _, _ = _versions(w, b)
    assert [version["VersionId"] for version in versions] == ["null", one]
    assert w.s3.get_object(Bucket=b, Key="k", VersionId="null")["Body"].read() == b"3"
    assert w.s3.delete_object(Bucket=b, Key="k")["VersionId"] == "null"
    versions, markers, _ = _versions(w, b)
    assert [version["VersionId"] for version in versions] == [one]
    assert [marker["VersionId"] for marker in markers] == ["null"]


def case_versions_are_listed_in_pages(w):
    b = w.versioned()
    expected = []
    for key in ["a", "b/1", "b/2", "c"]:
        ids = [w.s3.put_object(Bucket=b, Key=key, Body=b"x")["VersionId"] for _ in range(3)]
        expected += [(key, version) for version in ids[::-1]]
    for size in [1, 2, 5, 100]:
        pages = w.s3.get_paginator("list_object_versions").paginate(Bucket=b, PaginationConfig={"PageSize": size})
        found = [(v["Key"], v["VersionId"]) for page in pages for v in page.get("Versions", [])]
        assert found == expected, size
    versions, _, page = _versions(w, b, Delimiter="/")
    assert {version["Key"] for version in versions} == {"a", "c"}
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["b/"]
    versions, _, _ = _versions(w, b, Prefix="b/")
    assert len(versions) == 6


def case_a_version_is_copied(w):
    b = w.versioned()
    one = w.s3.put_object(Bucket=b, Key="k", Body=b"1")["VersionId"]
    w.s3.put_object(Bucket=b, Key="k", Body=b"2")
    said = w.s3.copy_object(Bucket=b, Key="k", CopySource={"Bucket": b, "Key": "k", "VersionId": one})
    assert said["CopySourceVersionId"] == one
    assert w.s3.get_object(Bucket=b, Key="k")["Body"].read() == b"1"


def case_many_versions_are_deleted_at_once(w):
    b = w.versioned()
    ids = [w.s3.put_object(Bucket=b, Key="k", Body=b"x")["VersionId"] for _ in range(3)]
    done = w.s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "k", "VersionId": id} for id in ids]})
    assert sorted(gone["VersionId"] for gone in done["Deleted"]) == sorted(ids)
    done = w.s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "k"}]})
    assert done["Deleted"][0]["DeleteMarker"] and done["Deleted"][0]["DeleteMarkerVersionId"]


def case_a_name_that_is_no_versions_is_refused(w):
    b = w.versioned()
    w.s3.put_object(Bucket=b, Key="k", Body=b"x")
    refused("InvalidArgument", w.s3.get_object, Bucket=b, Key="k", VersionId="nonsense", status=400)
    refused("NoSuchVersion", w.s3.get_object, Bucket=b, Key="k", VersionId="0" * 32, status=404)


def case_a_version_with_its_tags(w):
    b = w.versioned()
    one = w.s3.put_object(Bucket=b, Key="k", Body=b"1", Tagging="a=1")["VersionId"]
    w.s3.put_object(Bucket=b, Key="k", Body=b"2")
    w.s3.put_object_tagging(Bucket=b, Key="k", VersionId=one, Tagging={"TagSet": [{"Key": "b", "Value": "2"}]})
    assert w.s3.get_object_tagging(Bucket=b, Key="k", VersionId=one)["TagSet"] == [{"Key": "b", "Value": "2"}]
    assert w.s3.get_object_tagging(Bucket=b, Key="k")["TagSet"] == []
