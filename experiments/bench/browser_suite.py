"""The benchmark suite "browser": how fast a browser of features is written, its size, and how fast it is used."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from experiments.bench import browser_pages
from experiments.bench.browser_records import write_records
from monosem_jax.runtime.errors import BadInput

LEAST_RATE = 500  # records per second
LARGEST = 25_000  # bytes per feature
FIRST = 1_000_000  # bytes before something is shown
SECONDS = {"few": 1.0, "many": 2.0}  # until something is shown
FRAMES = 60.0  # per second


@dataclasses.dataclass(frozen=True)
class BrowserBenchConfig:
    """The suite "browser": made-up records, all different for the first `distinct` features and then again."""

    features: tuple[int, ...] = (4096, 131_072)
    """Sizes of the dictionaries."""
    distinct: int = 4096
    """Features with a text of their own."""
    contexts: int = 10
    """Top contexts of a feature, of 33 tokens each; each interval has a third as many examples of 9 tokens."""
    frames: int = 300
    """Frames over which scrolling is timed."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if not self.features or min(self.features) < 64 or any(n % 64 for n in self.features):
            raise BadInput(f"config.browser.features is {self.features}: multiples of 64 are needed")
        if self.distinct < 64 or self.distinct % 64:
            raise BadInput(f"config.browser.distinct is {self.distinct}: a multiple of 64 is needed")
        if self.contexts < 1:
            raise BadInput(f"config.browser.contexts is {self.contexts}: 1 or more is needed")
        if self.frames < 10:
            raise BadInput(f"config.browser.frames is {self.frames}: 10 or more are needed")


def suite(data: pathlib.Path, config: BrowserBenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for every size: building, then pages where there is a Chromium to open them."""
    peaks: dict[int, float] = {}
    missing = browser_pages.missing()
    for n in config.features:
        write_records(data / "records", n, config.distinct, config.contexts)
        figures = building(data / "records", data / "site")
        peaks[n] = figures["peak memory, MB"]["building"]
        shutil.rmtree(data / "records")
        yield f"building, {n:,} features", figures
        if not missing:
            yield f"pages, {n:,} features", pages(data / "site", n, config.frames)
        shutil.rmtree(data / "site")
    if len(peaks) > 1:
        few, many = min(peaks), max(peaks)
        yield "memory of building", {"sizes": f"{few:,} and {many:,}", "ratios": {
            "bytes more per feature more": ((peaks[many] - peaks[few]) * 1e6 / (many - few), None),
            "peak, large / small": (peaks[many] / peaks[few], None),
        }}  # fmt: skip
    if missing:
        yield "pages", {"not measured": missing, "ratios": {}}


def building(records: pathlib.Path, site: pathlib.Path) -> dict[str, Any]:
    """Writes a browser in a process of its own, and looks at its files."""
    command = [sys.executable, "-m", "experiments.bench.browser_records", str(records), str(site)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"building a browser failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    sizes = {file.relative_to(site).as_posix(): file.stat().st_size for file in site.rglob("*") if file.is_file()}
    words = [size for name, size in sizes.items() if "/search-" in name]
    return {
        "peak memory, MB": {"before": found["before_mb"], "building": found["peak_mb"]},
        "bytes": {
            "all": sum(sizes.values()), "index": sum(s for n, s in sizes.items() if "/index-" in n),
            "search": sum(words), "largest file of the search": max(words, default=0),
            "directory of the search": sizes.get("data/bench/features/search.js", 0), "files": len(sizes),
        },
        "ratios": {
            "records per second": (found["records"] / found["seconds"], f"at least {LEAST_RATE}"),
            "records per second of one core": (found["records"] / found["cpu_seconds"], None),
            "bytes per feature": (sum(sizes.values()) / found["records"], LARGEST),
        },
    }  # fmt: skip


def pages(site: pathlib.Path, n: int, frames: int) -> dict[str, Any]:
    """Times pages of a browser in Chromium, from disk."""
    found = browser_pages.measured(site, frames)
    seconds = SECONDS["many" if n > 16_384 else "few"]
    ratios: dict[str, tuple[float, Any]] = {}
    for name, (shown, loaded) in found.first.items():
        ratios[f"{name}: seconds until it shows"] = (shown, seconds)
        ratios[f"{name}: bytes before"] = (loaded, FIRST)
    ratios["features: seconds until all are there"] = (found.complete, None)
    ratios["search: seconds until the answer"] = (found.search, None)
    for name, rate in found.frames.items():
        ratios[f"{name}: frames per second"] = (rate, f"about {FRAMES:g}")
    return {"ratios": ratios}
