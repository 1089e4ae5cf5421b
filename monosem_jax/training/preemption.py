"""Stopping all processes of a training at the same step, whichever of them a signal reached.

A process passes the number of its signal to its next dispatch as one more input, and the largest number of all
processes comes back with the metrics. All processes fetch these one dispatch later, at the same step. This needs no
message of its own and no waiting. (JAX's preemption service would take SIGTERM away from Python, and ignores Ctrl-C.)
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
    """The signal that training should stop for. `requested`, its name, is the same in all processes at a step."""

    def __init__(self, own: SignalFlag, mesh: Mesh):
        self._own, self._heard = own, 0
        self._alone = jax.process_count() == 1
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._shape = (mesh.size,)

    def signals(self) -> jax.Array | None:
        """The number of this process's signal, or 0, on each of its devices [devices]; None when there is only one
        process."""
        if self._alone:
            return None
        number = signal.Signals[self._own.requested].value if self._own.requested else 0
        return jax.make_array_from_callback(self._shape, self._sharding, lambda _: np.full(1, number, np.int32))

    def heard(self, number: int) -> None:
        """Notes the largest number that came back with the metrics."""
        self._heard = number

    @property
    def requested(self) -> str:
        if self._alone:
            return self._own.requested
        return signal.Signals(self._heard).name if self._heard else ""

    def check(self) -> None:
        """Raises Stopped if a signal has come."""
        if self.requested:
            raise Stopped(self.requested)


@contextlib.contextmanager
def preemption_sync(mesh: Mesh) -> Iterator[PreemptionSync]:
    """Collects SIGTERM and SIGINT while the block runs."""
    with signal_flag() as own:
        yield PreemptionSync(own, mesh)
