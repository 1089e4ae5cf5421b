"""Ratings of people → medians of features and neurons: the blind rating of an analysis, read back."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from monosem_jax.analysis.rating.ratings import read_ratings, summarise
from monosem_jax.analysis.records_parse import plain
from monosem_jax.runtime.config import field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.formatting import text_table


@dataclasses.dataclass(frozen=True)
class RateConfig:
    """Which ratings are read."""

    seed: int = 0
    """Decides the bootstrap."""
    ratings: str = field("", identity=False)
    """Files of one or more raters, with commas between."""


@stage
def rate(workdir: str | pathlib.Path, config: RateConfig) -> dict[str, Any]:
    """Reads the ratings of the items of the analysis `workdir`, prints the medians of the sets and writes
    `rating_summary.json` there.

    Raises BadInput on a directory without rating material, and on a mistake in a file, naming it.
    """
    folder = pathlib.Path(workdir)
    files = [pathlib.Path(name) for name in config.ratings.split(",") if name]
    if not files:
        raise BadInput("--ratings is empty: expected a file of ratings, or several with commas between")
    given = [read_ratings(file, folder) for file in files]
    sets, differences = summarise(given, folder, seed=config.seed)
    found = {
        "raters": len(given),
        "sets": plain(sets),
        "differences": plain(differences),
        "missing": [list(r.missing) for r in given],
    }
    rows = [["set", "items", "intervals", "median", "95 %", "share above 8"]]
    rows += [
        [s.set, str(s.items), str(s.intervals), f"{s.median:g}", f"{s.low:g} to {s.high:g}", f"{s.good:.0%}"]
        for s in sets
    ]
    print("\n".join(text_table(rows, left=[0])))
    for r, file in zip(given, files, strict=True):
        if r.missing:
            print(f"{file}: {len(r.missing)} items or intervals were not rated")
    write_json(folder / "rating_summary.json", found)
    return found
