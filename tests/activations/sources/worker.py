"""One of several processes that read batches of a source; it writes what it read and holds on its devices to a file."""

from __future__ import annotations

import pathlib
import pickle
import sys

import numpy as np

from monosem_jax.activations.sources import open_source
from monosem_jax.runtime.mesh import make_mesh
from monosem_jax.runtime.processes import start_processes, this_process
from monosem_jax.stages import train_sae


class Counted:
    """Rows that note which of them are read."""

    def __init__(self, rows):
        self._rows, self.reads = rows, []
        self.n_rows, self.width, self.dtype = rows.n_rows, rows.width, rows.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        self.reads.append((start, stop))
        return self._rows.read(start, stop)


def take(config: train_sae.SaeRunConfig, requests: list[tuple[int, int]], mesh) -> dict:
    """The parts of each request's batches that lie here, as (first slot, [n,b,M]); the rows that the first request
    read; the sample."""
    stream = open_source(config.source_request()).stream(mesh)
    if config.source != "online":
        stream.source = Counted(stream.source)
    parts, reads = [], None
    for start, n in requests:
        shards = stream(start, n).addressable_shards
        parts.append([(s.index[1].start or 0, np.asarray(s.data)) for s in shards])
        reads = list(stream.source.reads) if reads is None and config.source != "online" else reads
    return {"kind": stream.kind, "parts": parts, "reads": reads, "sample": stream.sample(200)}


def main(folder: pathlib.Path) -> None:
    """Does what `jobs.pkl` says: batches to take, and dictionaries to train."""
    start_processes()
    jobs = pickle.loads((folder / "jobs.pkl").read_bytes())
    mesh = make_mesh(jobs["mesh"])
    found = {name: take(config, requests, mesh) for name, (config, requests) in jobs["take"].items()}
    for job in jobs["train"]:
        train_sae.train_sae(*job)
    (folder / f"{this_process()[0]}.pkl").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
