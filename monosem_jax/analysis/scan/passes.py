"""One pass over the text: every accumulator is given every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.batch import Accumulator
from monosem_jax.analysis.scan.checkpoints import Checkpoints
from monosem_jax.analysis.scan.encoding import Encoding
from monosem_jax.analysis.scan.reader import Input, Reader
from monosem_jax.runtime.processes import this_process


def run_pass(
    number: int,
    reader: Reader,
    accumulators: Mapping[str, Accumulator],
    others: Sequence[int],
    checkpoints: Checkpoints | None,
    advance: Callable[[int], Any],
) -> None:
    """Reads the text from where the last saved state of this pass ends; afterwards the accumulators of every process
    have the sums of all. `others`: see `Reader.batches`. `advance` is called with the contexts done."""
    done = checkpoints.restore(number, accumulators) if checkpoints else 0
    if done:
        advance(sum(reader.contexts_in(i) for i in range(done)))
    for i, batches in enumerate(reader.batches(done, others), done):
        for batch in batches:
            for accumulator in accumulators.values():
                accumulator.add(batch)
        if checkpoints and checkpoints.due(i + 1, reader.n_batches):
            checkpoints.save(number, i + 1, accumulators)
        advance(reader.contexts_in(i))
    for accumulator in accumulators.values():
        merge_processes(accumulator)


def read_once(
    sets: Sequence[FeatureSet],
    tokens: Int[np.ndarray, "C T"],
    accumulators: Mapping[str, Accumulator],
    *,
    batch: int,
    mesh: Mesh | None,
    advance: Callable[[int], Any],
) -> None:
    """One pass over contexts [C,T] without labels and proxies, with the activations of all sets on all tokens: the
    first one's are `Batch.firings`, the others' in `Batch.others` by their names."""
    given = Input(tokens, np.broadcast_to(np.int32(-1), tokens.shape), None, np.ones(len(tokens), bool))
    reader = Reader(given, sets, Encoding(sets, mesh), batch=batch, cache_bytes=0, signed=False)
    run_pass(1, reader, accumulators, range(1, len(sets)), None, advance)


def merge_processes(accumulator: Accumulator) -> None:
    """Merges the states of all processes into that of each, in the same order everywhere."""
    count = this_process()[1]
    if count == 1:
        return
    states = {name: _from_all(x) for name, x in accumulator.state.items()}
    for name, x in accumulator.state.items():
        x[...] = states[name][0]
    for i in range(1, count):
        accumulator.merge({name: every[i] for name, every in states.items()})


def _from_all(x: np.ndarray) -> np.ndarray:
    """[processes, …] an array of every process. It travels as bytes: JAX would round what has 64 bits."""
    from jax.experimental import multihost_utils

    sent = np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8)
    every = np.asarray(multihost_utils.process_allgather(sent))
    return np.stack([np.frombuffer(e.tobytes(), x.dtype).reshape(x.shape) for e in every])
