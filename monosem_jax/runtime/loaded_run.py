"""The base classes of opened run directories, with and without checkpoints: see `monosem_jax.load`."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

from jax.sharding import Mesh, PartitionSpec

from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_mesh_axes
from monosem_jax.runtime.checkpoint import checkpoint_steps, load_params, load_placed
from monosem_jax.runtime.errors import BadInput, listed
from monosem_jax.runtime.files import read_json
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.mesh import Rules, tree_shardings
from monosem_jax.runtime.metric_writers import read_metrics
from monosem_jax.runtime.run_table import run_table, run_tree
from monosem_jax.runtime.workdir import read_record, resolve_parent


class LoadedRun:
    """A run directory opened for reading. `config`: the resolved configuration; `summary`: None until it finished."""

    def __init__(self, path: str | pathlib.Path, step: int | None = None):
        self.path = local_path(path, "path")
        self.record: dict[str, Any] = read_record(self.path)
        self.config: dict[str, Any] = self.record["config"]
        self._step = step

    @property
    def experiment(self) -> str:
        return self.record["experiment"]

    @property
    def summary(self) -> dict[str, Any] | None:
        file = self.path / "summary.json"
        return read_json(file, dict) if file.exists() else None

    @property
    def steps(self) -> list[int]:
        """The checkpointed steps, oldest first."""
        return checkpoint_steps(self.path / "checkpoints")

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: {"step", the metrics of that step…}."""
        return [{"step": step, **numbers} for step, numbers in read_metrics(self.path)]

    def parent(self, name: str) -> pathlib.Path:
        """The directory that this run was made from; raises BadInput when it has no such parent, or it is gone."""
        if name not in self.record["parents"]:
            made_from = listed(name, self.record["parents"])
            raise BadInput(f"{self.path} was made without a {name}: it was made from {made_from}")
        return resolve_parent(self.path, self.record["parents"][name])

    def __repr__(self) -> str:
        return f"<{self.experiment} run {str(self.path)!r}, steps {self.steps}>"

    def _repr_html_(self) -> str:
        return str(run_table(self))

    def __treescope_repr__(self, path: str | None, subtree_renderer: Any) -> Any:
        return run_tree(self, path, subtree_renderer)


class TrainedRun(LoadedRun):
    """A directory with checkpoints."""

    @property
    def checkpoints(self) -> pathlib.Path:
        """The directory of the steps; raises BadInput when another run was begun here since this one was opened."""
        if read_record(self.path).get("identity") != self.record.get("identity"):
            raise BadInput(f"{self.path} holds another run than the one that was opened: open it again")
        return self.path / "checkpoints"

    @property
    def rules(self) -> Rules:
        """How parameters are sharded, by name."""
        return {"*": PartitionSpec()}

    @functools.cached_property
    @pinned()
    def params(self) -> dict[str, Any]:
        """The parameters as NumPy in fp32; neither optimizer nor statistics are read."""
        return self._finished(load_params(self.checkpoints, self._step)["params"])

    @pinned()
    def params_on(self, mesh: Mesh) -> dict[str, Any]:
        """The parameters on a mesh with the axes data and model; each process reads what its devices hold.

        Raises BadInput when the checkpoint is damaged, or the mesh has other axes.
        """
        check_mesh_axes("params_on", mesh)

        def place(shapes: Any) -> Any:
            return tree_shardings(shapes, self.rules, mesh)

        return self._finished(load_placed(self.checkpoints, self._newest(), place))

    def state(self) -> dict[str, Any]:
        """Everything in a checkpoint, as NumPy: {"params": as trained, "rest": step, optimizer state, …}."""
        return load_params(self.checkpoints, self._step, ("params", "rest"))

    def _newest(self) -> int:
        if not self.steps:
            raise BadInput(f"{self.path} holds no checkpoint")
        return self.steps[-1] if self._step is None else self._step

    def _finished(self, params: dict[str, Any]) -> dict[str, Any]:
        return params
