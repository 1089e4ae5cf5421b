"""Times several ways of doing a task in turn, so that drift of the machine affects all of them equally."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from monosem_jax.runtime.provenance import versions


def rates(ways: dict[str, Callable[[], float]], rounds: int, *, uncounted: int = 1) -> dict[str, list[float]]:
    """Units per second of every way in every round, after `uncounted` warm-up rounds. A way returns its units."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for r in range(1 - uncounted, rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            units = way()
            seconds = time.perf_counter() - begin
            if r:
                found[name].append(units / seconds)
    return found


def ratio(found: dict[str, list[float]], a: str, b: str) -> float:
    """The median over rounds of a's rate divided by b's rate in the same round."""
    return statistics.median(x / y for x, y in zip(found[a], found[b], strict=True))


def machine() -> dict[str, Any]:
    """The machine and versions that the figures were measured with."""
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "devices": [d.device_kind for d in jax.devices()],
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
        **versions(),
    }
