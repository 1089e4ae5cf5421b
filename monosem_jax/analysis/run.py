"""Opening the run directories of evaluations and analyses."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from monosem_jax.models.run import FromTransformer, TransformerRun
from monosem_jax.runtime.files import read_array, read_json
from monosem_jax.sae.run import SaeRun


class EvaluateRun(FromTransformer):
    """Figures of a dictionary: `summary`, `density` [F], and the `dictionary` itself."""

    @functools.cached_property
    def density(self) -> np.ndarray:
        """The share of tokens on which each feature was active [F]."""
        return np.array(read_array(self.path / "density.npy"))

    @functools.cached_property
    def dictionary(self) -> SaeRun:
        return SaeRun(self.parent("run"))

    @functools.cached_property
    def transformer(self) -> TransformerRun:
        return self.dictionary.transformer


class AnalyzeRun(EvaluateRun):
    """Records of features and of categories, as the report shows them."""

    @functools.cached_property
    def features(self) -> list[dict[str, Any]]:
        return read_json(self.path / "features.json", list)

    @functools.cached_property
    def categories(self) -> list[dict[str, Any]]:
        return read_json(self.path / "categories.json", list)
