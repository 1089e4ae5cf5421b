"""Locations of data: files, memory and URLs behave alike, and errors are one line."""

import json
import pathlib

import pytest

from monosem_jax.runtime import kvstore as module
from monosem_jax.runtime.errors import BadInput, short_error
from monosem_jax.runtime.kvstore import Location, context, last_part
from monosem_jax.runtime.locations import is_url

KINDS = ["path", "string", "file url", "file spec", "memory", "memory spec"]


@pytest.fixture(params=KINDS)
def place(request, tmp_path) -> Location:
    name = {
        "path": tmp_path / "a" / "b",
        "string": f"{tmp_path}/a/b",
        "file url": f"file://{tmp_path}/a/b",
        "file spec": json.dumps({"driver": "file", "path": f"{tmp_path}/a/b"}),
        "memory": f"memory://tests/location{tmp_path}",
        "memory spec": json.dumps({"driver": "memory", "path": f"tests/location{tmp_path}/spec"}),
    }
    return Location(name[request.param])


def test_what_is_written_can_be_read_listed_and_deleted(place):
    assert place.read("x.json") is None and place.list() == []
    for file in ("x.json", "parts/1", "parts/2", "parts0", "part"):
        place.write(file, file.encode())
    place.write("parts/2", b"")
    assert place.read("parts/1") == b"parts/1" and place.read("parts/2") == b""
    assert place.list() == ["part", "parts/1", "parts/2", "parts0", "x.json"]
    assert place.list("parts/") == ["parts/1", "parts/2"] and place.list("y") == []
    place.delete("parts/")
    assert place.list() == ["part", "parts0", "x.json"]
    place.delete("parts/")
    again = Location(place)
    assert again.name == place.name and again.read("part") == b"part"


def test_nothing_outside_of_a_place_belongs_to_it(place):
    place.write("inside/x", b"1")
    inner = Location(json.dumps(place.sub("inside")))
    assert inner.list() == ["x"] and inner.read("x") == b"1"
    assert Location(json.dumps(place.sub("insid"))).list() == []


def test_values_are_kept_as_json(place):
    value = {"a": [1, 2.5, None, "ü"], "b": 0.1 + 0.2}
    place.write_json("v.json", value)
    assert place.read_json("v.json") == value
    place.write_json("v.json", {"": value, "c": float("nan")})
    assert place.read_json("v.json") == {"": value, "c": None}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xff", b"[1,]"])
def test_a_file_that_is_no_json_is_named(place, content):
    place.write("v.json", content)
    with pytest.raises(BadInput, match=r"/v.json is not valid JSON: ") as e:
        place.read_json("v.json")
    assert len(str(e.value).splitlines()) == 1 and str(e.value).startswith(place.name)


def test_a_file_that_is_missing_is_named(place):
    with pytest.raises(BadInput) as e:
        place.read_json("v.json")
    assert str(e.value) == f"{place.name}/v.json does not exist"


def test_local_places_are_paths_and_others_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", tmp_path / "a", f"{tmp_path}/a/", f"file://{tmp_path}/a", f"file://{tmp_path}/a/"):
        assert Location(name).local == tmp_path / "a" and str(Location(name)) == str(name)
    for name in ("memory://a", "s3://bucket/a", "gs://bucket/a", "http://localhost/a"):
        assert Location(name).local is None


@pytest.mark.parametrize("name, url", [
    ("a", False), ("/a/b", False), ("a:b", False), ("C:/a", False), ("s3://b/c", True), ('{"driver": "memory"}', True),
    (pathlib.Path("a/b"), False),
])  # fmt: skip
def test_urls_and_specifications_are_told_from_paths(name, url):
    assert is_url(name) == url


@pytest.mark.parametrize("name", [
    "nothing://a/b", "s3://", "s3://B", "{", "{}", '{"driver": "nothing"}', '{"driver": 3}', "[]://x", '{"path": "x"}',
    '{"driver": "memory", "unknown": 1}',
])  # fmt: skip
def test_what_names_no_place_is_refused_in_one_line(name):
    with pytest.raises(BadInput) as e:
        Location(name)
    assert str(e.value).startswith(f"{name} is not a location: ") and len(str(e.value).splitlines()) == 1


def test_a_file_in_the_way_is_an_error_of_one_line(tmp_path):
    (tmp_path / "a").write_text("a file")
    for action in (lambda p: p.write("x", b"1"), lambda p: p.write("b/x", b"1")):
        with pytest.raises(BadInput, match=r"cannot be written: ") as e:
            action(Location(tmp_path / "a"))
        assert len(str(e.value).splitlines()) == 1


def test_a_full_disk_is_not_called_a_mistake(monkeypatch, tmp_path):
    class Full:
        def write(self, file, content):
            raise ValueError("RESOURCE_EXHAUSTED: Failed to write: No space left on device")

    place = Location(tmp_path)
    monkeypatch.setitem(place.__dict__, "_opened", Full())
    with pytest.raises(ValueError, match="No space left on device") as e:
        place.write("x", b"1")
    assert not isinstance(e.value, BadInput)


def test_free_space_is_that_of_the_disk_even_before_the_directory_is_made(tmp_path, monkeypatch):
    seen = []
    usage = module.shutil.disk_usage

    def watched(path):
        seen.append(path)
        return usage(path)

    monkeypatch.setattr(module.shutil, "disk_usage", watched)
    assert Location(tmp_path / "not" / "yet").free_bytes() > 0
    assert Location(tmp_path).free_bytes() > 0
    assert seen == [tmp_path, tmp_path]
    assert Location("memory://a").free_bytes() is None and Location("s3://bucket/a").free_bytes() is None


@pytest.fixture
def bare_environment(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_a_bucket_is_amazons_unless_the_environment_names_a_server(bare_environment):
    plain = {"driver": "s3", "bucket": "bucket", "path": "a/b/"}
    assert Location("s3://bucket/a/b").spec == Location("s3://bucket/a/b/").spec == plain
    bare_environment("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    there = plain | {"endpoint": "http://127.0.0.1:9", "aws_region": "us-east-1"}
    assert Location("s3://bucket/a/b").spec == there
    bare_environment("AWS_REGION", "eu-west-3")
    assert Location("s3://bucket/a/b").spec == there | {"aws_region": "eu-west-3"}
    own = json.dumps(plain | {"endpoint": "http://127.0.0.1:10", "aws_region": "own"})
    assert Location(own).spec == json.loads(own)
    assert Location("gs://bucket/a").spec == {"driver": "gcs", "bucket": "bucket", "path": "a/"}
    assert Location("s3://bucket").spec["path"] == ""


def test_keys_in_the_environment_are_taken_without_a_look_for_others(bare_environment):
    assert "aws_credentials" not in Location("s3://bucket/a").spec
    bare_environment("AWS_ACCESS_KEY_ID", "x")
    assert Location("s3://bucket/a").spec["aws_credentials"] == {"type": "environment"}
    own = '{"driver": "s3", "bucket": "bucket", "aws_credentials": {"type": "anonymous"}}'
    assert Location(own).spec["aws_credentials"] == {"type": "anonymous"}
    assert "aws_credentials" not in Location("gs://bucket/a").spec


def test_everything_in_a_process_shares_one_context():
    assert context() is context()
    assert context().spec.to_json()["s3_request_retries"] == {"max_retries": 6}


@pytest.mark.parametrize("text, first, last", [
    ("NOT_FOUND: no [source locations='a.cc:1\nb.cc:2']", "NOT_FOUND: no", "NOT_FOUND: no"),
    ('DATA: shard "/a [1]/b": index "/a": byte range [-36, ?) is bad', 'DATA: shard "/a [1]/b": index "/a": byte '
     "range [-36, ?) is bad", "byte range [-36, ?) is bad"),
    ("X: Y [http_response_code='404'] [body='\"k\": \n']", "X: Y", "X: Y"),
    ("", "ValueError", "ValueError"), ("x" * 300, "x" * 200, "x" * 200),
])  # fmt: skip
def test_of_an_error_its_beginning_or_its_end_is_told(text, first, last):
    assert (short_error(ValueError(text)), last_part(ValueError(text))) == (first, last)
