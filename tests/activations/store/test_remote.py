"""Stores on a real S3 server: written, resumed, streamed and verified as on a local disk."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorstore as ts

from monosem_jax.activations.store.store import Store, open_rows, source_identity
from monosem_jax.activations.store.verify import verify_store
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.runtime import kvstore as module
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location, context
from tests.activations.store.small import (
    MOMENTS,
    SHARD,
    Died,
    Mortal,
    bits,
    content,
    open_writer,
    values,
    write_store,
    write_together,
)
from tests.conftest import mesh_of
from tests.s3 import s3_server


@pytest.fixture(scope="module")
def endpoint():
    with s3_server() as url:
        yield url


@pytest.fixture
def url(endpoint, request) -> str:
    """A place of its own for every test."""
    return f"s3://bucket/{abs(hash(request.node.name))}/s"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    path = tmp_path_factory.mktemp("local")
    write_store(path)
    return path


def objects(url: str) -> dict[str, bytes]:
    location = Location(url)
    return {key: location.read(key) for key in location.list()}


@pytest.mark.parametrize("n", [1, 2])
def test_a_store_is_the_same_objects_as_the_files_of_a_local_one(url, local, n):
    write_together(url, n)
    assert objects(url) == content(local)
    found = open_rows(url)
    assert np.array_equal(found.read(0, found.n_rows), values())
    assert found.run is None and source_identity(url)["sha256"] == source_identity(local)["sha256"]


@pytest.mark.parametrize("kind", ["disk", "resident"])
def test_a_stream_is_the_same_as_from_a_local_store(url, local, kind):
    write_store(url)
    far, near = (Store(p).stream(96, 3, mesh_of(2, 4), config=StreamConfig(kind, 4)) for p in (url, local))
    for start, n in ((0, 5), (92, 3), (1000, 1)):
        assert np.array_equal(bits(far(start, n)), bits(near(start, n)))
    assert np.array_equal(far.sample(200), near.sample(200))


@pytest.mark.parametrize("at", range(0, len(MOMENTS), 2))
def test_an_interrupted_store_is_finished_with_the_same_objects(url, local, at):
    with pytest.raises(Died):
        write_store(Mortal(url, at))
    write_store(url)
    assert objects(url) == content(local)


def test_a_death_while_preparing_costs_nothing_but_time(url, local):
    def die(writer):
        raise Died

    with pytest.raises(Died):
        open_writer(url, prepare=die)
    write_store(url)
    assert objects(url) == content(local)


def test_damaged_objects_are_found(url):
    write_store(url)
    place = Location(url)
    assert verify_store(place) == ([], 9000)
    place.delete("activations/c/1/")
    shard = bytearray(place.read("origin/c/2/0"))
    shard[5] ^= 4
    place.write("origin/c/2/0", bytes(shard))
    found, _ = verify_store(place)
    assert found[0] == f"activations/c/1/0: rows {SHARD} to {2 * SHARD - 1}: missing"
    assert found[1].startswith(f"origin/c/2/0: rows {2 * SHARD} to {2 * SHARD + 1023}: Digest mismatch")
    assert len(found) == 2
    with pytest.raises(BadInput, match=r"rows 2048 to 2049 cannot be read: .*missing"):
        Store(url).read(2048, 2050)


@pytest.mark.parametrize("driver, file", [("zarr3", "zarr.json"), ("zarr", ".zarray")])
def test_a_zarr_array_is_a_source(url, driver, file):
    dtype = {"zarr3": {"data_type": "float32"}, "zarr": {"dtype": "<f4"}}[driver]
    spec = {"driver": driver, "kvstore": Location(url).spec, "metadata": {"shape": [9000, 4], **dtype}}
    array = ts.open(spec, create=True, context=context()).result()
    array.write(values()).result()
    found = open_rows(url)
    assert found.file == file and (found.n_rows, found.width) == (9000, 4)
    assert np.array_equal(found.read(100, 9999), values()[100:])
    assert source_identity(url)["sha256"] == source_identity(url + "/")["sha256"]


def test_a_run_directory_leads_to_its_store_in_a_bucket(url, local, tmp_path):
    write_store(url)
    (tmp_path / "config.json").write_text(json.dumps({"config": {"store": url}}))
    found = open_rows(tmp_path)
    assert np.array_equal(found.read(0, 100), values()[:100]) and found.run == tmp_path


@pytest.mark.parametrize("action", [open_writer, open_rows, Store, lambda p: Location(p).write("x", b"1")])
@pytest.mark.timeout(60)
def test_a_bucket_that_does_not_exist_is_an_error_of_one_line(endpoint, action):
    with pytest.raises(BadInput) as e:
        action("s3://nobody/a")
    line = str(e.value)
    assert len(line.splitlines()) == 1 and len(line) < 150 and "s3://nobody/a" in line
    assert "The specified bucket does not exist" in line or action is Store


def test_what_is_not_in_the_bucket_is_an_error_of_one_line(url):
    with pytest.raises(BadInput, match=f"^source {url} is neither a store directory"):
        open_rows(url)
    with pytest.raises(BadInput, match=f"^{url}/store.json does not exist$"):
        Store(url)


def test_a_server_that_does_not_answer_is_given_up_with_one_line(endpoint, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    hasty = ts.Context({"s3_request_retries": {"max_retries": 1}})
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(module, "context", lambda: hasty)
    with pytest.raises(BadInput, match=r"^s3://bucket/a: store.json cannot be read: .*Could not connect") as e:
        open_rows("s3://bucket/a")
    assert len(str(e.value).splitlines()) == 1


def test_nothing_is_said_on_the_side(url, tmp_path):
    """The AWS library complains on stderr when it looks for keys in a home directory that has none."""
    write_store(url, buckets=1)
    program = f"from monosem_jax.activations.store.store import Store; print(Store({url!r}).read(0, 5).shape)"
    home = {**module.os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=home, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(5, 4)\n", "")
