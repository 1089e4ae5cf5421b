"""Opening the run directories of evaluations and analyses."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from monosem_jax.analysis import records
from monosem_jax.analysis.records import Category, Feature
from monosem_jax.models.run import FromTransformer, TransformerRun
from monosem_jax.runtime.arguments import whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_array, read_json
from monosem_jax.sae.run import SaeRun


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
    def features(self) -> list[dict[str, Any]]:
        """features.json as it is; `feature_records` has the same, checked and typed."""
        return read_json(self.path / records.FEATURES, list)

    @functools.cached_property
    def categories(self) -> list[dict[str, Any]]:
        """categories.json as it is; `category_records` has the same, checked and typed."""
        return read_json(self.path / records.CATEGORIES, list)

    @functools.cached_property
    def feature_records(self) -> list[Feature]:
        """The features that have a record. Raises BadInput when the file is damaged or of a newer format."""
        records.check_format(self.path, self.summary)
        return records.read_features(self.path)

    @functools.cached_property
    def category_records(self) -> list[Category]:
        """The categories, by falling correlation. Raises BadInput when the file is damaged or of a newer format."""
        records.check_format(self.path, self.summary)
        return records.read_categories(self.path)

    def feature(self, i: int) -> Feature:
        """The record of feature `i`; raises BadInput when it has none."""
        i = whole_number(f"feature {i!r} of {self.path}", i, 0)
        for record in self.feature_records:
            if record.feature == i:
                return record
        raise BadInput(f"{self.path} has no record of feature {i}: it has {len(self.feature_records)} records")
