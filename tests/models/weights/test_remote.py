"""Models in a bucket: the same as on disk, of which only the bytes that are needed are read."""

import jax
import numpy as np
import pytest

from monosem_jax.load import load_model
from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.models.weights import files
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location
from tests.conftest import mesh_of
from tests.models.small import LLAMA, write_model
from tests.models.weights.gguf_files import gguf_of
from tests.models.weights.test_hf import FIRST, line
from tests.s3 import s3_server


@pytest.fixture(scope="module", params=["s3", "memory"])
def url(request, tmp_path_factory):
    with s3_server():
        yield f"{request.param}://bucket/weights/{tmp_path_factory.getbasetemp().name}"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local") / "model"
    write_model(folder, LLAMA)
    gguf_of(folder, folder / "model.gguf")
    return folder


@pytest.fixture(scope="module")
def copied(url, local):
    place = Location(f"{url}/model")
    for file in local.iterdir():
        place.write(file.name, file.read_bytes())
    return f"{url}/model"


@pytest.fixture(params=["", "/model.gguf"], ids=["directory", "gguf"])
def pair(request, local, copied):
    return open_pretrained(f"{local}{request.param}"), open_pretrained(f"{copied}{request.param}")


def test_a_model_in_a_bucket_is_that_on_disk(pair):
    near, far = pair
    assert far.config == near.config and far.sha256 == near.sha256 and far.source.shapes == near.source.shapes
    jax.tree.map(np.testing.assert_array_equal, far.params(), near.params())


def test_its_parts_are_read_onto_a_mesh(pair):
    near, far = pair
    jax.tree.map(np.testing.assert_array_equal, far.params(mesh_of(2, 4)), near.params())


def test_only_the_bytes_that_are_needed_are_read(pair, monkeypatch):
    near, far = pair
    asked = []
    plain = Location.read_ranges

    def noted(self, file, ranges):
        asked.extend(b - a for a, b in ranges if b is not None)
        return plain(self, file, ranges)

    name = "model.layers.1.mlp.gate_proj.weight"
    expected = near.source.read(name)
    _ = far.source.shapes
    monkeypatch.setattr(Location, "read_ranges", noted)
    np.testing.assert_array_equal(far.source.read(name, (slice(8, 16), slice(None))), expected[8:16])
    assert asked == [8 * 32 * 4]


def test_a_large_part_is_read_in_pieces(copied, local, monkeypatch):
    monkeypatch.setattr(files, "PIECE", 1000)
    far, near = open_pretrained(copied).source, open_pretrained(str(local)).source
    for name, shape in near.shapes.items():
        np.testing.assert_array_equal(far.read(name), near.read(name))
        part = tuple(slice(n // 3, n) for n in shape)
        np.testing.assert_array_equal(far.read(name, part), near.read(name, part))


def test_a_file_that_is_cut_short_or_missing_is_one_line(url, local):
    place = Location(f"{url}/cut")
    for file in local.iterdir():
        place.write(file.name, file.read_bytes())
    content = (local / FIRST).read_bytes()
    for damaged in (content[:-1], content + b"\0", content[:50], content[:3]):
        place.write(FIRST, damaged)
        assert f"{url}/cut/{FIRST}" in line(open_pretrained(f"{url}/cut").check)
    place.write("model.gguf", (local / "model.gguf").read_bytes()[:-2000])
    assert "model.gguf has fewer bytes than its header says" in line(open_pretrained(f"{url}/cut/model.gguf").check)
    assert "x.gguf is not a readable GGUF file" in line(lambda: open_pretrained(f"{url}/cut/x.gguf").config)
    assert "has no config.json: expected" in line(lambda: open_pretrained(f"{url}/nothing"))
    assert "is a single file: give its directory" in line(lambda: open_pretrained(f"{url}/cut/{FIRST}"))


@pytest.mark.timeout(60)
def test_a_bucket_that_does_not_exist_is_one_line(url):
    if url.startswith("s3"):
        assert "s3://nobody/m" in line(lambda: open_pretrained("s3://nobody/m"))
    with pytest.raises(BadInput, match="expected a path, or a URL with two slashes"):
        load_model("s3:/bucket/model")
