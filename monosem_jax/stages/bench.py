"""Suites of benchmarks → a table, and bench.json in the run directory."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from typing import Any

from monosem_jax.bench import store
from monosem_jax.bench.timing import machine
from monosem_jax.config import to_dict
from monosem_jax.errors import BadInput
from monosem_jax.harvest import HarvestConfig
from monosem_jax.run import write_json
from monosem_jax.store.arrays import Store

SUITES = ("store",)


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What is measured, on how much. Data is made in the run directory, and deleted afterwards.

    `rows` of width 512 (1 KB each in bfloat16) for reading and mixing; a sixteenth of it is the smallest of the stores
    whose peak memory is compared, so the largest has as many.
    """

    suite: str = "store"
    rows: int = 1 << 21
    harvest_rows: int = 1 << 19
    batch_size: int = 8192
    steps_per_dispatch: int = 8
    window_blocks: int = 64
    rounds: int = 5

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.suite not in SUITES:
            raise BadInput(f"suite is {self.suite!r}: expected {', '.join(SUITES)}")
        if self.rows < 16 * self.batch_size * self.steps_per_dispatch:
            raise BadInput(f"config.rows is {self.rows}: at least 16 x batch_size x steps_per_dispatch are needed")


def run(workdir: str | pathlib.Path, config: BenchConfig) -> dict[str, Any]:
    """Runs a suite; prints its table, and writes and returns its figures."""
    config.check()
    path = pathlib.Path(workdir)
    path.mkdir(parents=True, exist_ok=True)
    found = {"config": to_dict(config), **machine(), "suites": {}}
    for name, figures in store_suite(path, config):
        found["suites"][name] = figures
        print_figures(name, figures)
        write_json(path / "bench.json", found)
    print(f"\n{path / 'bench.json'}")
    return found


def store_suite(path: pathlib.Path, config: BenchConfig):
    """Yields (name, figures) of every benchmark of the store."""
    data = path / "data"
    shutil.rmtree(data, ignore_errors=True)  # of an earlier run: what it was made with is not known
    try:
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
    finally:
        shutil.rmtree(data, ignore_errors=True)


def print_figures(name: str, figures: dict[str, Any]) -> None:
    """One benchmark's table: what was measured, then ratios with the bound they are held against."""
    print(f"\n{name}")
    for key, values in figures.items():
        if key == "rows_per_second":
            for way, value in values.items():
                print(f"  {way:<45} {value:>14,.0f} rows/s")
        elif key == "peak_mb":
            for what, peaks in values.items():
                print(f"  {what:<45} {', '.join(f'{p:,.0f}' for p in peaks)} MB at x{figures['sizes']}")
        elif key != "ratios" and isinstance(values, dict):
            print(f"  {key:<45} {values}")
    for what, (value, bound) in figures["ratios"].items():
        limit = "" if bound is None else f"   (bound {bound})"
        print(f"  {what:<45} {value:>14.3g}{limit}")
