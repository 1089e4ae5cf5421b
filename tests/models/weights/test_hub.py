"""The hub: a cached model needs no network, and without a network there is one line within seconds."""

import builtins
import shutil
import socket
import time

import pytest
from huggingface_hub import constants, hf_api

from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.models.weights import hub
from tests.models.small import LLAMA, write_model
from tests.models.weights.gguf_files import gguf_of
from tests.models.weights.test_hf import line

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with the model org/name at its revisions main and v2, as the library lays it out, and no network."""
    place = tmp_path / "models--org--name"
    write_model(place / "files", LLAMA)
    gguf_of(place / "files", place / "files" / "m.gguf")
    (place / "blobs").mkdir()
    (place / "snapshots" / COMMIT).mkdir(parents=True)
    for i, file in enumerate(sorted((place / "files").iterdir())):
        shutil.move(file, place / "blobs" / f"b{i}")
        (place / "snapshots" / COMMIT / file.name).symlink_to(f"../../blobs/b{i}")
    (place / "refs").mkdir()
    for name in ("main", "v2"):
        (place / "refs" / name).write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as s:
        address = f"http://127.0.0.1:{s.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    return tmp_path


@pytest.mark.parametrize("name", ["org/name", "org/name@v2", f"org/name@{COMMIT}"])
def test_a_cached_model_needs_no_network(cache, name):
    found = open_pretrained(f"hub:{name}")
    found._shapes, found.params()
    assert found.config.n_layers == 2 and found.location == f"hub:{name}"


@pytest.mark.parametrize("name", ["org/name/m.gguf", "org/name/m.gguf@v2"])
def test_a_file_of_a_repository_can_be_named(cache, name):
    assert open_pretrained(f"hub:{name}").config == open_pretrained("hub:org/name").config
    assert "has no x.gguf" in line(lambda: open_pretrained("hub:org/name/x.gguf"))


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_there_is_one_line(cache, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert open_pretrained("hub:org/name").config.n_layers == 2
    begin = time.perf_counter()
    for name in ("org/other", "org/name@v3", "gpt2"):
        text = line(lambda name=name: open_pretrained(f"hub:{name}"))
        assert f"hub:{name} cannot be downloaded, and is not in the cache: " in text and "can be given instead" in text
    assert time.perf_counter() - begin < 5


def test_a_server_that_does_not_answer_is_given_up(cache, monkeypatch):
    monkeypatch.setattr(hub, "ANSWERS_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(hf_api.api, "endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.perf_counter()
        assert open_pretrained("hub:org/name").config.n_layers == 2
        assert "timed out" in line(lambda: open_pretrained("hub:org/other"))
        assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("name", ["", "a/b/c", "org/", "/name", "../x/y", "org/name/x.bin", "a b/c"])
def test_what_is_no_name_is_refused(name):
    assert f"hub:{name} is no name of a model: expected hub:ORG/NAME" in line(lambda: hub.fetch(name))


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    plain = builtins.__import__

    def without(name, *rest):
        if name == "huggingface_hub":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "needs the package huggingface_hub: pip install 'monosem_jax[hub]'" in line(lambda: hub.fetch("org/name"))
