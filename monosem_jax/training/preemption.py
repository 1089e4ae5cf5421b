"""Stops all processes of a training at the same step after any of them receives a signal.

Each process passes the number of its signal to its next dispatch as an additional input, and the dispatch returns the
largest number of all processes with the metrics. All processes fetch these one dispatch later, at the same step. This
needs no extra message and no waiting. (JAX's preemption service would replace Python's SIGTERM handler, and it ignores
Ctrl-C.)
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.runtime.errors import Stopped
from monosem_jax.runtime.signals import SignalFlag, signal_flag


class PreemptionSync:
    """The signal that asks training to stop. At each step its name, `requested`, is the same in all processes."""

    def __init__(self, own: SignalFlag, mesh: Mesh):
        self._own, self._heard = own, 0
        self._alone = jax.process_count() == 1
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._shape = (mesh.size,)

    def signals(self) -> jax.Array | None:
        """The number of this process's signal, or 0, on each of its devices [devices]; None if there is only one
        process."""
        if self._alone:
            return None
        number = signal.Signals[self._own.requested].value if self._own.requested else 0
        return jax.make_array_from_callback(self._shape, self._sharding, lambda _: np.full(1, number, np.int32))

    def heard(self, number: int) -> None:
        """Records the largest signal number returned with the metrics."""
        self._heard = number

    @property
    def requested(self) -> str:
        if self._alone:
            return self._own.requested
        return signal.Signals(self._heard).name if self._heard else ""

    def check(self) -> None:
        """Raises Stopped if a signal has been received."""
        if self.requested:
            raise Stopped(self.requested)


@contextlib.contextmanager
def preemption_sync(mesh: Mesh) -> Iterator[PreemptionSync]:
    """Collects signals that give notice while the block runs."""
    with signal_flag() as own:
        yield PreemptionSync(own, mesh)
