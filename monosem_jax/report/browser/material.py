"""What a browser is made from. The stage gathers it; the writers know no run directories."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class RecordsReader(Protocol):
    """An opened folder of records: `header` is its records.json, `index` the columns of a set."""

    header: dict[str, Any]

    @property
    def sets(self) -> tuple[str, ...]: ...
    def vocabulary(self) -> list[str]: ...
    def index(self, name: str) -> dict[str, list[Any]]: ...


@dataclasses.dataclass(frozen=True)
class DictionaryMaterial:
    """A dictionary with its records.

    `id` names it in addresses and files, `name` to readers. `run` says what was trained on what, in the order in which
    it is shown: names → text or numbers. `overview` is everything that the overview shows, `figures` the few numbers of
    it that stand in the manifest (see `overview.py`). `vectors`: the dictionary vectors [F, M] and `rating`: the rating
    material, if there are any. `model` writes the transformer and the dictionary for the page "Try it" (see
    `model.py`), given the folder and the prefix of keys, and returns the size in bytes. `logits`: features → the
    histogram of the logit weights of each, as the page of a feature shows it. `absent` says why something is not there:
    its name → one sentence.
    """

    id: str
    name: str
    run: Mapping[str, str | float | None]
    site: str
    n_features: int
    records: RecordsReader
    records_folder: pathlib.Path
    overview: Mapping[str, Any]
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    vectors: np.ndarray | None = None
    rating: Mapping[str, Any] | None = None
    model: Callable[[pathlib.Path, str], int] | None = None
    logits: Callable[[Sequence[int]], Sequence[Mapping[str, Any]]] | None = None
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ComparisonMaterial:
    """A comparison of dictionaries.

    `sets` are those of its table of sets, each with `dictionary`: the id of the dictionary in this browser that has its
    records, or None, and `set`: which of the sets of that dictionary. `tables` are what it wrote by name; `arrays`
    opens those of a name and gives None where there are none, so that few are in memory at a time.
    """

    sets: Sequence[Mapping[str, Any]]
    tables: Mapping[str, Any]
    arrays: Callable[[str], Mapping[str, np.ndarray] | None]
    summary: Mapping[str, Any]
