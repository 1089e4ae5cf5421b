"""Compiled programs are kept between test runs, except those left by a killed process or another version."""

from __future__ import annotations

import os
import pathlib

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests.conftest import keeping_programs, tidy


@pytest.fixture
def kept(tmp_path) -> pathlib.Path:
    """A folder with the programs of one function."""
    own = tmp_path / "programs" / "own"
    own.mkdir(parents=True)
    before = jax.config.jax_compilation_cache_dir
    with keeping_programs(str(own)):
        jax.jit(lambda x: jnp.cos(x) * 3 + len("of this test alone"))(jnp.ones(7)).block_until_ready()
    assert jax.config.jax_compilation_cache_dir == before
    compilation_cache.reset_cache()
    return own


def test_whole_programs_stay(kept):
    before = {p.name: p.read_bytes() for p in kept.iterdir()}
    assert before
    tidy(kept)
    assert {p.name: p.read_bytes() for p in kept.iterdir()} == before


def test_half_a_program_and_those_of_other_versions_go(kept):
    (kept.parent / "of another version").mkdir()
    (kept.parent / "a file-cache").touch()
    for entry in kept.iterdir():
        os.truncate(entry, entry.stat().st_size // 2)
    tidy(kept)
    assert list(kept.iterdir()) == [] and list(kept.parent.iterdir()) == [kept]


def test_tests_and_the_programs_that_they_start_share_one_folder(program_folder):
    assert jax.config.jax_compilation_cache_dir == os.environ["JAX_COMPILATION_CACHE_DIR"] == program_folder
