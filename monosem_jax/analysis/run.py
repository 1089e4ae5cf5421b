"""Opening the run directories of evaluations and analyses."""

from __future__ import annotations

import functools
import importlib
import pathlib
from typing import Any

import numpy as np

from monosem_jax.analysis.records import Category, Feature
from monosem_jax.analysis.records_io import (
    CATEGORIES,
    FEATURES,
    FOLDER,
    Records,
    check_format,
    read_categories,
    read_features_json,
)
from monosem_jax.analysis.records_parse import plain
from monosem_jax.models.run import FromTransformer, TransformerRun
from monosem_jax.runtime.arguments import check_name, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_array, read_arrays, read_json
from monosem_jax.runtime.loaded_run import LoadedRun
from monosem_jax.sae.run import SaeRun

TABLES = (
    "categories",
    "health",
    "proxies",
    "tokens_in_context",
    "probes",
    "logits",
    "judges",
    "effects",
    "sources",
    "gaps",
)


class EvaluateRun(FromTransformer):
    """An evaluation: the metrics in `summary`, `density` [F], and the `dictionary` they are of."""

    @functools.cached_property
    def density(self) -> np.ndarray:
        """[F] the share of tokens on which each feature fired."""
        return np.array(read_array(self.path / "density.npy"))

    @functools.cached_property
    def dictionary(self) -> SaeRun:
        return SaeRun(self.parent("run"))

    @functools.cached_property
    def transformer(self) -> TransformerRun:
        return self.dictionary.transformer


class AnalyzeRun(EvaluateRun):
    """An analysis of a dictionary: records of its features and of the categories of text."""

    @functools.cached_property
    def records(self) -> Records:
        """The records of all sets. Raises BadInput when they are damaged, of a newer format, or of format 1, which had
        no folder of them: `feature_records` reads those too."""
        self._check_format()
        if not (self.path / FOLDER).exists() and (self.path / FEATURES).exists():
            raise BadInput(f"{self.path} has records of format 1, without a folder of sets: use feature_records")
        return Records(self.path / FOLDER)

    @functools.cached_property
    def feature_records(self) -> list[Feature]:
        """The features that have a record. With many features `records.all()` needs less memory.

        Raises BadInput when a file is damaged or of a newer format.
        """
        self._check_format()
        if (self.path / FEATURES).exists():
            return read_features_json(self.path)
        return list(self.records.all())

    @functools.cached_property
    def category_records(self) -> list[Category]:
        """The categories, by falling correlation. Raises BadInput when the file is damaged or of a newer format."""
        self._check_format()
        return read_categories(self.path)

    @property
    def features(self) -> list[dict[str, Any]]:
        """The records as dictionaries, unchecked in directories of format 1."""
        if (self.path / FEATURES).exists():
            return read_json(self.path / FEATURES, list)
        return [plain(record) for record in self.feature_records]

    @functools.cached_property
    def categories(self) -> list[dict[str, Any]]:
        """categories.json as it is; `category_records` has the same, checked and typed."""
        return read_json(self.path / CATEGORIES, list)

    def feature(self, i: int, name: str = "features") -> Feature:
        """The record of feature `i` of the set `name` ("features", "neurons", "control", "random").

        Raises BadInput when it has none.
        """
        i = whole_number(f"feature {i!r} of {self.path}", i, 0)
        if (self.path / FOLDER).exists():
            return self.records.feature(i, name)
        check_name("the set", name, ("features",))
        for record in self.feature_records:
            if record.feature == i:
                return record
        raise BadInput(f"{self.path} has no record of feature {i}: it has {len(self.feature_records)} records")

    def feature_card(self, i: int, name: str = "features") -> Any:
        """The card of feature `i` of the set `name`, which a notebook shows: see
        `monosem_jax.report.feature_card.FeatureCard`. Raises BadInput when there is no record of it."""
        return _above("report.feature_card").FeatureCard(self.feature(i, name), str(self.path))

    def browse(self, folder: str | pathlib.Path | None = None) -> pathlib.Path:
        """Opens the browser of features of this analysis in a web browser and returns its page. It is built first,
        unless it is there: in `folder`, or beside the analysis. See `monosem_jax.stages.browse.open_browser`."""
        return _above("stages.browse").open_browser(self, folder)

    def table(self, name: str) -> Any:
        """A table of the analysis, `NAME.json`, as it is; TABLES has the names. Raises BadInput when it is unknown or
        was not made."""
        check_name("the table", name, TABLES)
        return read_json(self.path / f"{name}.json")

    def _check_format(self) -> None:
        check_format(self.path / "summary.json", (self.summary or {}).get("records_format", 1))


def _above(module: str) -> Any:
    """A module of a layer above this one, which is imported when a user first asks for what it shows."""
    return importlib.import_module(f"monosem_jax.{module}")


class CompareRun(LoadedRun):
    """A comparison of dictionaries: `dictionaries`, `controls` and `crosscoders` are their runs, in the order in which
    they were given."""

    @functools.cached_property
    def dictionaries(self) -> list[SaeRun]:
        return self._parents("run")

    @functools.cached_property
    def controls(self) -> list[SaeRun]:
        return self._parents("control")

    @functools.cached_property
    def crosscoders(self) -> list[SaeRun]:
        return self._parents("crosscoder")

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables that were made."""
        ours = ("config", "summary")
        return tuple(sorted(p.stem for p in self.path.glob("*.json") if p.stem not in ours and p.name[0] != "."))

    def table(self, name: str) -> Any:
        """A table of the comparison, `NAME.json`, as it is. Raises BadInput when it was not made."""
        check_name("the table", name, self.tables)
        return read_json(self.path / f"{name}.json")

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of `NAME.npz` by their names. Raises BadInput when there is no such file, or it is damaged."""
        check_name("the name of the arrays", name, tuple(sorted(p.stem for p in self.path.glob("*.npz"))))
        return read_arrays(self.path / f"{name}.npz")

    def _parents(self, kind: str) -> list[SaeRun]:
        names = [name for name in self.record["parents"] if name.startswith(kind)]
        return [SaeRun(self.parent(name)) for name in names]
