"""The state of a pass on disk, so that a scan that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from monosem_jax.analysis.scan.batch import Accumulator
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_arrays, write_arrays
from monosem_jax.runtime.processes import barrier_next, this_process

KEPT = 2  # states per pass: processes may be killed when only some have written the newest


class Checkpoints:
    """Files `pass1-00000012-p0.npz`: the accumulators of process 0 after 12 batches of the first pass.

    `identity` says what is scanned and how; a folder with states of anything else is refused.
    """

    def __init__(self, folder: pathlib.Path, identity: str, every: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._identity, self._every = folder, identity, every

    def due(self, done: int, n_batches: int) -> bool:
        """Whether a state is saved after so many batches."""
        return done == n_batches or (self._every > 0 and done % self._every == 0)

    def save(self, number: int, done: int, accumulators: Mapping[str, Accumulator]) -> None:
        """Writes the state of pass `number` after `done` batches, then deletes older ones."""
        arrays = {f"{name}/{key}": x for name, a in accumulators.items() for key, x in a.state.items()}
        write_arrays(self._path(number, done), {**arrays, "identity": np.asarray(self._identity)})
        barrier_next(f"state {number} {done}")
        for old in self._saved(number)[:-KEPT]:
            self._path(number, old).unlink(missing_ok=True)

    def restore(self, number: int, accumulators: Mapping[str, Accumulator]) -> int:
        """Reads the newest state of pass `number` that every process has, and returns the batches done: 0 if none.

        Raises BadInput on the state of another scan.
        """
        saved = common(self._saved(number))
        if not saved:
            return 0
        path = self._path(number, saved[-1])
        found = read_arrays(path)
        if str(found.get("identity")) != self._identity:
            raise BadInput(f"{path} is the state of another scan (text, features or settings): choose another folder")
        for name, a in accumulators.items():
            for key, x in a.state.items():
                x[...] = found[f"{name}/{key}"]
        return saved[-1]

    def _path(self, number: int, done: int) -> pathlib.Path:
        return self._folder / f"pass{number}-{done:08d}-p{this_process()[0]}.npz"

    def _saved(self, number: int) -> list[int]:
        """The batches done of this process's states, in rising order."""
        pattern = re.compile(rf"pass{number}-(\d+)-p{this_process()[0]}\.npz")
        return sorted(int(m[1]) for p in self._folder.iterdir() if (m := pattern.fullmatch(p.name)))


def common(mine: list[int]) -> list[int]:
    """The numbers that every process has."""
    if this_process()[1] == 1:
        return mine
    from jax.experimental import multihost_utils

    padded = np.full(KEPT + 1, -1, np.int32)
    padded[: len(mine[-KEPT - 1 :])] = mine[-KEPT - 1 :]
    every = np.asarray(multihost_utils.process_allgather(padded))
    return sorted(set.intersection(*(set(row.tolist()) for row in every)) - {-1})


def identity(parts: Mapping[str, Any]) -> str:
    """A hash of names, numbers and arrays."""
    h = hashlib.sha256()
    for name, value in parts.items():
        h.update(name.encode())
        if isinstance(value, np.ndarray):
            h.update(f"{value.dtype}{value.shape}".encode())
            for block in np.array_split(value, max(1, value.nbytes >> 26)) if value.size else ():
                h.update(np.ascontiguousarray(block).tobytes())
        else:
            h.update(repr(value).encode())
    return h.hexdigest()
