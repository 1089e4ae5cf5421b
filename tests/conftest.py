"""Eight virtual CPU devices for every test, and a transformer small enough to check by hand."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import os
import pathlib
import platform
import shutil

import jax
import jaxlib
import numpy as np
import pytest
from jax._src.compilation_cache import decompress_executable
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import AxisType, Mesh

from monosem_jax.models.transformer import Transformer, TransformerConfig

# With fewer passes of LLVM the same programs compile faster: test_sweep.py, with none kept, takes 84 s instead of 109.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=1"
if not jax.config.jax_platforms:
    jax.config.update("jax_platforms", "cpu")  # tolerances are those of fp32; JAX_PLATFORMS overrides
jax.config.update("jax_num_cpu_devices", 8)


TESTS = pathlib.Path(__file__).parent


def slow_tests() -> set[str]:
    """The files and tests that slow.txt lists."""
    lines = (TESTS / "slow.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if not line.startswith("#")}


@pytest.hookimpl(tryfirst=True)  # before -m is applied
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what slow.txt lists; leaves drills out unless they are asked for, also where -m says something else."""
    listed = slow_tests()
    for item in items:
        file, test = item.path.relative_to(TESTS).as_posix(), getattr(item, "originalname", item.name)
        if file in listed or f"{file}::{test}" in listed:
            item.add_marker(pytest.mark.slow)
    if "drill" not in config.option.markexpr:
        drills = [item for item in items if item.get_closest_marker("drill")]
        items[:] = [item for item in items if not item.get_closest_marker("drill")]
        config.hook.pytest_deselected(items=drills)


def mesh_of(data: int, model: int) -> Mesh:
    """A mesh over the first data x model devices."""
    devices = np.asarray(jax.devices()[: data * model]).reshape(data, model)
    return Mesh(devices, ("data", "model"), axis_types=(AxisType.Auto,) * 2)


@pytest.fixture
def mesh1() -> Mesh:
    """One device."""
    return mesh_of(1, 1)


@pytest.fixture
def mesh8() -> Mesh:
    """Eight devices as 2x4 (data x model): what is wrong on one axis alone is wrong here."""
    return mesh_of(2, 4)


@pytest.fixture(params=[(8, 1), (1, 8), (2, 4)], ids=lambda p: f"{p[0]}x{p[1]}")
def any_mesh8(request) -> Mesh:
    """Eight devices, in turn as 8x1, 1x8 and 2x4 (data x model), for contracts that hold on every mesh."""
    return mesh_of(*request.param)


@contextlib.contextmanager
def keeping_programs(path: str):
    """Keeps compiled programs in a folder."""
    options = {
        "jax_compilation_cache_dir": path,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}

    def put(values) -> None:
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # it looks at the options once

    put(options)
    try:
        yield
    finally:
        put(before)


def programs_of(cache: pytest.Cache) -> pathlib.Path:
    """The folder in pytest's cache for programs of this version of JAX on this kind of machine; others are removed.

    JAX's keys know the program, the options and the version, but not the instructions that the machine has.
    """
    found = [platform.machine(), jax.__version__, jaxlib.__version__]
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        found += sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    own = cache.mkdir("programs") / hashlib.sha256("".join(found).encode()).hexdigest()[:16]
    own.mkdir(exist_ok=True)
    return own


def tidy(own: pathlib.Path) -> None:
    """Removes what is of no use: programs of other versions, and those that a killed process wrote half of, which JAX
    would neither read nor write again."""
    for other in own.parent.iterdir():
        if other != own:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    for entry in own.glob("*-cache"):
        try:
            decompress_executable(entry.read_bytes())
        except Exception:  # zlib and zstd raise their own
            entry.unlink()


def pytest_sessionstart(session: pytest.Session) -> None:
    cache = getattr(session.config, "cache", None)
    if cache and not hasattr(session.config, "workerinput"):  # before any worker looks at it
        tidy(programs_of(cache))


MOST_MAPS = 25_000  # of memory, after which compiled programs are dropped: Linux gives a process 65,530


@pytest.fixture(scope="module", autouse=True)
def few_maps():
    """Drops compiled programs where many are held: each takes several maps, and a process aborts at the limit. They are
    compiled or read again where they are needed."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session", autouse=True)
def program_folder(request, tmp_path_factory):
    """Where compiled programs are kept: one folder for this process, those that tests start, and the next session."""
    cache = getattr(request.config, "cache", None)
    path = str(programs_of(cache) if cache else tmp_path_factory.mktemp("programs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", path)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        with keeping_programs(path):
            yield path


TINY = TransformerConfig(n_layers=1, d_model=16, d_mlp=32, n_heads=2, context_length=12, vocab_size=40)


@pytest.fixture(scope="session")
def tiny():
    """(model, params) of a one-layer transformer. Matrices are ten times as large as at initialisation, so that
    attention and MLP matter to the loss."""
    return build_lively(TINY)


@functools.cache
def build_lively(config: TransformerConfig, seed: int = 0):
    """(model, params) whose matrices are ten times as large as at initialisation."""
    model = Transformer(config)
    params = jax.jit(model.init)(jax.random.key(seed), np.zeros((1, 2), np.int32))["params"]
    return model, jax.tree.map(lambda p: p * 10 if p.ndim > 1 else p, params)


def write_words(path: pathlib.Path) -> None:
    """A corpus of 100 documents of ten words in random order, under two labels."""
    rng = np.random.default_rng(0)
    words = ["the", "cat", "dog", "sat", "on", "mat", "and", "ran", "to", "me"]
    lines = [json.dumps({"text": " ".join(rng.choice(words, 40)), "label": "ab"[i % 2]}) for i in range(100)]
    path.write_text("\n".join(lines))


@pytest.fixture(scope="session")
def small_analysis(tmp_path_factory) -> pathlib.Path:
    """The directory of a finished analysis, its dictionary and transformer beside it: see tests/small_analysis.py."""
    from tests.small_analysis import make  # what it imports takes a second

    return make(tmp_path_factory.mktemp("small_analysis"))
