"""Runs a benchmark suite: prints a table and writes bench.json into the run directory."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import jax

from experiments.bench import browser_suite as bench_browser
from experiments.bench import family_suite as bench_family
from experiments.bench import harvest_suite as bench_harvest
from experiments.bench import peers, store
from experiments.bench import scan_suite as bench_scan
from experiments.bench.browser_suite import BrowserBenchConfig
from experiments.bench.family_suite import FamilyBenchConfig
from experiments.bench.harvest_suite import HarvestBenchConfig
from experiments.bench.scan_suite import ScanBenchConfig
from experiments.bench.timing import machine
from experiments.bench.train import peer_device
from experiments.bench.train_suite import TrainBenchConfig, TrainSuite
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.store.store import Store
from monosem_jax.runtime.config import to_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.locations import local_path, located

UNITS = {
    "rows_per_second": "rows/s",
    "tokens_per_second": "tokens/s",
    "tokens_per_processor_second": "tokens/s of a processor",
}
SUITES = ("store", "train", "family", "scan", "browser", "harvest")


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What is measured, and on how much data. Data is made in the run directory and deleted afterwards."""

    suite: str = "store"
    """The suite: store, train, family, scan, browser or harvest."""
    rows: int = 1 << 21
    """Suite store: rows of width 512 (1 KB each in bfloat16) for reading and mixing, and in the largest of the stores
    whose peak memory is compared; the smallest has a sixteenth."""
    harvest_rows: int = 1 << 19
    """Suite store: rows that are harvested."""
    batch_size: int = 8192
    """Suite store: rows per batch."""
    steps_per_dispatch: int = 8
    """Suite store: batches that are read together."""
    window_blocks: int = 64
    """Suites store and train: blocks of 1,024 rows mixed at a time."""
    rounds: int = 5
    """Suites store and train: how often each side of a comparison has its turn."""
    train: TrainBenchConfig = TrainBenchConfig()
    """Suite train."""
    family: FamilyBenchConfig = FamilyBenchConfig()
    """Suite family."""
    scan: ScanBenchConfig = ScanBenchConfig()
    """Suite scan."""
    browser: BrowserBenchConfig = BrowserBenchConfig()
    """Suite browser."""
    harvest: HarvestBenchConfig = HarvestBenchConfig()
    """Suite harvest."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.suite not in SUITES:
            raise BadInput(f"suite is {self.suite!r}: expected {', '.join(SUITES)}")
        if self.suite == "store" and self.rows < 16 * self.batch_size * self.steps_per_dispatch:
            raise BadInput(f"config.rows is {self.rows}: at least 16 x batch_size x steps_per_dispatch are needed")
        self.train.check()
        if self.suite == "family":
            self.family.check()
        if self.suite == "scan":
            self.scan.check()
        if self.suite == "browser":
            self.browser.check()
        if self.suite == "harvest":
            self.harvest.check()


def run(workdir: str | pathlib.Path, config: BenchConfig) -> dict[str, Any]:
    """Runs a suite, prints its table, writes and returns its figures. If a part fails, the others still run, and then
    RuntimeError is raised."""
    path, config = local_path(workdir, "--workdir"), located(config)
    config.check()
    path.mkdir(parents=True, exist_ok=True)
    # Other processes and libraries use the same device in turns.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    found = {"config": to_dict(config), "platform": jax.default_backend(), **machine(), "suites": {}}
    if getattr(getattr(config, config.suite, None), "peers", False):
        found["peers"] = peers.versions(peer_device())
        print("\n".join(f"{name}: {version}" for name, version in found["peers"].items()))
    data = path / "data"
    shutil.rmtree(data, ignore_errors=True)  # left by an earlier run with unknown settings
    try:
        suites = {"store": store_suite, "train": train_suite, "family": family_suite, "scan": scan_suite}
        suites |= {"browser": browser_suite, "harvest": harvest_suite}
        for name, figures in suites[config.suite](data, config):
            found["suites"][name] = figures
            print_figures(name, figures)
            sys.stdout.flush()
            write_json(path / "bench.json", found)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    print(f"\n{path / 'bench.json'}")
    failed = [name for name, figures in found["suites"].items() if "failed" in figures]
    if failed:
        raise RuntimeError(f"failed: {', '.join(failed)}")
    return found


def store_suite(data: pathlib.Path, config: BenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for every benchmark of the store."""
    yield "harvesting", store.harvesting(data / "h", n_rows=config.harvest_rows, rounds=config.rounds)
    shutil.rmtree(data / "h")
    whole = HarvestConfig(rows_per_context=store.PER_CONTEXT)
    made = store.make_source(config.rows, "bfloat16")
    store.make_store(data / "s", made, whole)
    sizes = {"batch": config.batch_size, "steps": config.steps_per_dispatch, "rounds": config.rounds}
    for kind in ("warm", "cold"):
        figures = store.reading(data / "s", **sizes, window_blocks=config.window_blocks, cold=kind == "cold")
        yield f"reading, files {'in' if kind == 'warm' else 'not in'} the page cache", figures
    yield "mixing", store.mixing(Store(data / "s"), config.batch_size, config.window_blocks)
    shutil.rmtree(data / "s")
    yield "peak memory", store.memory(data / "m", n_rows=config.rows // 16)


def train_suite(data: pathlib.Path, config: BenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for every benchmark of training."""
    yield from TrainSuite(data, config.train, rounds=config.rounds, window_blocks=config.window_blocks)


def family_suite(data: pathlib.Path, config: BenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for every architecture, and for other libraries' dictionaries."""
    yield from bench_family.suite(config.family)


def scan_suite(data: pathlib.Path, config: BenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for the costs of a scan, and its memory."""
    yield from bench_scan.suite(config.scan)


def browser_suite(data: pathlib.Path, config: BenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for building browsers of features, and for using them."""
    yield from bench_browser.suite(data, config.browser)


def harvest_suite(data: pathlib.Path, config: BenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for the harvest of a middle layer and of the last one."""
    yield from bench_harvest.suite(data, config.harvest)


def print_figures(name: str, figures: dict[str, Any]) -> None:
    """Prints one benchmark's table: the measurements, then the ratios with their required bounds."""
    print(f"\n{name}")
    tflops = dict(figures.get("tflops", {}))
    for key, values in figures.items():
        if key in UNITS:
            for way, value in values.items():
                beside = f"{tflops.pop(way):>10.4g} TFLOP/s" if way in tflops else ""
                print(f"  {way:<45} {value:>14,.0f} {UNITS[key]}{beside}")
        elif key == "tflops":
            for way, value in tflops.items():
                print(f"  {way:<45} {'':>21}{value:>10.4g} TFLOP/s")
        elif key == "peak_mb":
            for what, peaks in values.items():
                print(f"  {what:<45} {', '.join(f'{p:,.0f}' for p in peaks)} MB at x{figures['sizes']}")
        elif key == "megabytes":
            for size, needed in values.items():
                print(f"  {size:<10} {_together(needed)}")
        elif isinstance(values, dict) and key != "ratios":
            print(f"  {key:<45} {_together(values)}")
        elif isinstance(values, (int, str)):
            print(f"  {key:<45} {values}")
    for what, (value, bound) in figures["ratios"].items():
        limit = "" if bound is None else f"   (bound {bound})"
        print(f"  {what:<45} {value:>14.3g}{limit}")


def _together(values: dict[str, Any]) -> str:
    """A small table in one line."""
    shown = lambda v: f"{v:,.4g}" if isinstance(v, float) else str(v)  # noqa: E731
    show = lambda v: "[" + ", ".join(map(shown, v)) + "]" if isinstance(v, list) else shown(v)  # noqa: E731
    return ", ".join(f"{name} {show(value)}" for name, value in values.items())
