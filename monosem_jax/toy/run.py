"""Opening the run directory of toy models."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from monosem_jax.runtime.arguments import check_name
from monosem_jax.runtime.files import read_arrays, read_json
from monosem_jax.runtime.loaded_run import LoadedRun

TABLES = "toy.json"
ARRAYS = ("polygons", "geometry", "graded", "phase", "learning")  # NAME.npz


class ToyRun(LoadedRun):
    """Toy models: their tables, and the weights that were trained."""

    @functools.cached_property
    def tables(self) -> dict[str, Any]:
        """name -> rows, as in toy.json."""
        return read_json(self.path / TABLES, dict)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a study, such as W [I,m,n] of "geometry". Raises BadInput on an unknown name."""
        check_name("the study", name, ARRAYS)
        return read_arrays(self.path / f"{name}.npz")
