"""Forked children get an error that names the way out, instead of waiting for ever."""

from __future__ import annotations

import multiprocessing
import os

import jax
import numpy as np
import pytest

from monosem_jax.runtime import forks
from monosem_jax.runtime.ambient import pinned, pool
from monosem_jax.runtime.checkpoint import load_params, read
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location
from monosem_jax.stages.inspect import InspectConfig, inspect

DOORS = {
    "a stage": lambda tmp: inspect(tmp, InspectConfig()),
    "a method that computes": lambda tmp: pinned()(lambda: None)(),
    "a checkpoint": lambda tmp: load_params(tmp),
    "a part of one": lambda tmp: read.load_slice(tmp, 0, "W_dec", 3),
    "a store": lambda tmp: Location(tmp).read("store.json"),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_is_shut_in_a_forked_child(monkeypatch, tmp_path, door):
    monkeypatch.setattr(forks, "_forked", True)
    with pytest.raises(BadInput, match=r'forked.*get_context\("spawn"\)'):
        DOORS[door](tmp_path)


def in_child(action) -> str:
    """What `action` returns or raises in a forked child."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            text = str(action())
        except BaseException as e:
            text = f"{type(e).__name__}: {e}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as f:
        found = f.read()
    os.waitpid(pid, 0)
    return found


@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_child_of_a_process_that_has_used_jax_may_read_arrays_and_no_more():
    jax.devices()
    rows = np.arange(5)
    assert in_child(rows.sum) == "10"
    assert "spawn" in in_child(forks.enter)
    assert "spawn" in in_child(lambda: in_child(forks.enter))  # a child of the child
    forks.enter()  # the parent goes on


@pytest.mark.filterwarnings("ignore:os.fork")
@pytest.mark.parametrize("entered", [False, True])
def test_what_counts_is_whether_the_parent_had_used_it(monkeypatch, entered):
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    monkeypatch.setattr(forks, "_entered", entered)
    assert ("spawn" in in_child(forks.enter)) == entered


def test_started_processes_and_threads_go_on_working():
    with multiprocessing.get_context("spawn").Pool(1) as processes, pool(1, "ours") as threads:
        assert processes.apply(forks.enter) is None and threads.submit(forks.enter).result() is None
