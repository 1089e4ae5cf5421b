"""A folder of a published dictionary, opened where it lies as if it were a run directory."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from monosem_jax.interop.exported import ExportedSAE
from monosem_jax.interop.model_names import location_of
from monosem_jax.interop.readers import format_of, inside, read_folder
from monosem_jax.runtime.arguments import check_mesh_axes
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.mesh import tree_shardings
from monosem_jax.sae.params import FEATURE_AXIS
from monosem_jax.sae.run import SaeRun


class PublishedRun(SaeRun):
    """The dictionary in a folder of another program. It has no checkpoints, no store and no model."""

    def __init__(self, path: str | pathlib.Path, site: str | None = None):
        """Raises BadInput when the dictionary cannot be read exactly."""
        self.path, self._step = local_path(path, "path"), None
        self.dictionary: ExportedSAE = read_folder(self.path, site)
        self.config = {"sae": self.dictionary.settings, "site": self.dictionary.site}
        self.record = {"experiment": "import", "config": self.config, "parents": {}}

    @property
    def summary(self) -> dict[str, Any]:
        return {"n_features": self.dictionary.n_features}

    @property
    def steps(self) -> list[int]:
        return [0]

    @property
    def checkpoints(self) -> pathlib.Path:
        raise BadInput(f"{self.path} is a folder of another program: it has no checkpoints")

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        return dict(self.dictionary.params)

    def params_on(self, mesh: Mesh) -> dict[str, Any]:
        check_mesh_axes("params_on", mesh)
        return {n: jax.device_put(p, s) for (n, p), s in zip(
            self.params.items(), tree_shardings(self.params, self.rules, mesh).values(), strict=True
        )}  # fmt: skip

    def _part(self, at: int | slice) -> dict[str, np.ndarray]:
        axes = {name: axis for name, axis in FEATURE_AXIS.items() if name in self.params}
        return {name: np.array(self.params[name][(slice(None),) * axis + (at,)]) for name, axis in axes.items()}

    @property
    def _input(self) -> dict[str, Any]:
        return {**self.dictionary.input, "site": self.dictionary.site}


def open_folder(path: pathlib.Path) -> PublishedRun | None:
    """The dictionary in a folder, None where the folder is of no known format.

    Raises BadInput when it cannot be read exactly, and on a folder of several dictionaries.
    """
    if format_of(path) is None and not inside(path):
        return None
    return PublishedRun(path)


def model_wanted(path: object, dictionary: ExportedSAE, key: str) -> str:
    """The line that says which model a dictionary needs, and where it can be had."""
    location, of = location_of(dictionary.model_name), dictionary.model_name or "a model that it does not name"
    at = f" at {dictionary.site}" if dictionary.site else ""
    known = f" (on the hub it is {location})" if location else ""
    return (
        f"{path} explains activations of {of}{at}{known}: give {key}, a directory or file of that model, or a run of it"
    )
