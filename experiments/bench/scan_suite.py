"""The benchmark suite "scan": what a scan costs beside the bare encoding of the same tokens, and its memory."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from experiments.bench.scan_work import AT_ONCE, LABELS, MODEL, Work
from monosem_jax.runtime.errors import BadInput

BOUND = 2.5  # times the bare encoding, for both passes of a scan together


@dataclasses.dataclass(frozen=True)
class ScanBenchConfig:
    """The suite "scan": contexts of 128 tokens of a one-layer transformer with 512 neurons."""

    features: tuple[int, ...] = (4096, 131_072)
    """Sizes of the dictionaries."""
    contexts: tuple[int, ...] = (1024, 32)
    """Contexts scanned, for each size."""
    batch_contexts: tuple[int, ...] = (32, 4)
    """Contexts per forward pass, for each size."""
    rounds: int = 3
    """How often the sides of a comparison have their turn."""
    dashboard_batches: int = 2
    """Feature batches for which SAEDashboard's way is timed; the rest is multiplied."""
    memory_contexts: tuple[int, ...] = (64, 512)
    """Contexts of the two scans whose peak memory is compared, in processes of their own."""
    memory_features: int = 1024
    """Features in them."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        lists = {name: getattr(self, name) for name in ("features", "contexts", "batch_contexts", "memory_contexts")}
        for name, values in lists.items():
            if not values or min(values) < 1:
                raise BadInput(f"config.scan.{name} is {values}: positive numbers are needed")
        if not len(self.features) == len(self.contexts) == len(self.batch_contexts):
            raise BadInput("config.scan: features, contexts and batch_contexts must have the same length")
        for name in ("rounds", "dashboard_batches", "memory_features"):
            if getattr(self, name) < 1:
                raise BadInput(f"config.scan.{name} is {getattr(self, name)}: 1 or more is needed")
        if min(self.features) < AT_ONCE * self.dashboard_batches:
            raise BadInput(f"config.scan.features is {self.features}: {AT_ONCE} per dashboard batch are needed")


def suite(config: ScanBenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for every part."""
    bare: dict[int, float] = {}
    scans: dict[int, float] = {}
    sizes = zip(config.features, config.contexts, config.batch_contexts, strict=True)
    for n_features, contexts, batch in sizes:
        figures = costs(n_features, contexts, batch, config)
        per_token = {k: v / figures["tokens"] for k, v in figures["seconds"].items()}
        bare[n_features], scans[n_features] = per_token["bare encoding"], per_token["scan, nothing kept"]
        yield f"cost, {n_features:,} features", figures
    if len(scans) > 1:
        few, many = min(scans), max(scans)
        ratios = {
            what: (x[many] / x[few] / (many / few), None) for what, x in (("scan", scans), ("bare encoding", bare))
        }
        yield "growth with features", {"sizes": f"{few:,} and {many:,}", "ratios": {
            f"{what}: seconds per token and feature, large / small": value for what, value in ratios.items()
        }}  # fmt: skip
    yield "peak memory", memory(config)


def costs(n_features: int, contexts: int, batch: int, config: ScanBenchConfig) -> dict[str, Any]:
    """Seconds of a scan in two passes and of what it is compared with, the median over rounds."""
    work = Work.of(n_features, contexts, batch)
    compared = {} if n_features * n_features <= 1 << 25 else {"neighbours": 0}
    ways: dict[str, Callable[[], Any]] = {
        "bare encoding": work.bare,
        "scan": lambda: work.scan(**compared),
        "scan, nothing kept": lambda: work.scan(**compared, cache_megabytes=0),
        "one pass": lambda: work.scan(**compared, passes=1),
        "feature batches": lambda: work.dashboard(config.dashboard_batches),
    }
    found = _interleaved(ways, config.rounds)
    seconds, cpu = ({name: statistics.median(x[i] for x in both) for name, both in found.items()} for i in range(2))
    batches = -(-n_features // AT_ONCE)
    theirs = seconds.pop("feature batches") / config.dashboard_batches * batches
    del cpu["feature batches"]
    scans = {"scan": BOUND, "scan, nothing kept": BOUND, "one pass": None}
    return {
        "tokens": work.n_tokens,
        "compared with": f"{LABELS} labels" + ("" if compared else f", {MODEL.d_mlp} neurons, each other"),
        "seconds": {**seconds, "feature by feature, from a part": theirs},
        "seconds of all cores": cpu,
        "reads of the text": {"scan": 2, "feature by feature": batches},
        "seconds of all cosines, from a part": {"estimate": work.seconds_of_cosines()},
        "ratios": {
            **{f"{name} / bare encoding, seconds": (_ratio(found, name, 0), bound) for name, bound in scans.items()},
            **{f"{name} / bare encoding, seconds of all cores": (_ratio(found, name, 1), None) for name in scans},
            "feature by feature / scan, seconds": (theirs / seconds["scan"], None),
        },
    }


def _interleaved(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(seconds, seconds of all cores of the processor) of every way in every round, after one that is not counted. The
    latter say more on a machine that is busy with other things."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for r in range(rounds + 1):
        for name, way in ways.items():
            begin, cpu = time.perf_counter(), time.process_time()
            way()
            if r:
                found[name].append((time.perf_counter() - begin, time.process_time() - cpu))
    return found


def _ratio(found: dict[str, list[tuple[float, float]]], name: str, of: int) -> float:
    """The median over rounds of the ratio to the bare encoding in the same round."""
    return statistics.median(x[of] / y[of] for x, y in zip(found[name], found["bare encoding"], strict=True))


def memory(config: ScanBenchConfig) -> dict[str, Any]:
    """Peak memory in MB of processes that scan short and long texts."""
    peaks = []
    for contexts in config.memory_contexts:
        command = [sys.executable, "-m", "experiments.bench.scan_work", str(config.memory_features), str(contexts)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks.append(float(done.stdout.split()[-1]))
    return {
        "sizes": [c * MODEL.context_length for c in config.memory_contexts],
        "peak_mb": {"scan": peaks},
        "ratios": {"longest text / shortest text, peak memory": (peaks[-1] / peaks[0], 1.1)},
    }
