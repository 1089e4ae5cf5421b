"""Opening a run directory of any experiment, on any machine, whatever mesh wrote it. Nothing is read before it is used.

run = monosem_jax.load_run("runs/a1")
run.params["W_dec"]        # NumPy, without reading the optimizer's state
run.params_on(mesh)        # the same, each device reading its own part
run.feature(17)["W_dec"]   # one feature, without reading the others
"""

from __future__ import annotations

import functools
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax import sae as sae_lib
from monosem_jax.checkpoint import checkpoint_steps, load_slice
from monosem_jax.config import from_dict
from monosem_jax.errors import BadInput
from monosem_jax.loaded import LoadedRun, TrainedRun, TransformerRun
from monosem_jax.run import read_array, read_json, read_record
from monosem_jax.sharding import Rules
from monosem_jax.store.arrays import Store


class HarvestRun(LoadedRun):
    """`store` is the activation store."""

    @functools.cached_property
    def store(self) -> Store:
        return Store(self.path)


class SaeRun(TrainedRun):
    """A dictionary for raw activations: `params` as NumPy in fp32, published: with any input scale folded in, rows of
    W_dec of norm 1, and a threshold where the architecture has one."""

    def _finished(self, params: dict[str, Any]) -> dict[str, Any]:
        if self.experiment != "import":  # those are published ones already
            params = self.sae.publish(params, self._stats)
        return self.sae.fold(params, self._scale)

    @functools.cached_property
    def _stats(self) -> dict[str, np.ndarray]:
        """The statistics that are numbers."""
        step, names = self._newest(), [n for n in self.sae.initial_stats() if n != "last_fired"]
        return {n: load_slice(self.path / "checkpoints", step, f"stats/{n}", ..., part="rest") for n in names}

    @functools.cached_property
    def _scale(self) -> Any:
        scale, n = self._input["input_scale"], len(self.sae.parts)
        scales = scale if n > 1 and isinstance(scale, list) else [scale]
        if len(scales) != n or any(type(s) not in (int, float) or not 0 < s < math.inf for s in scales):
            what = "a positive number" if n == 1 else f"a list of {n} positive numbers"
            raise BadInput(f"{self.path / 'input.json'} has input_scale {scale!r}: expected {what}")
        return scale

    @property
    def _input(self) -> dict[str, Any]:
        return read_json(self.path / "input.json", dict, ("input_scale", "site", "width"))

    @property
    def rules(self) -> Rules:
        return sae_lib.RULES

    @functools.cached_property
    def _sae_config(self) -> sae_lib.SaeConfig:
        values = self.config.get("sae")
        if not isinstance(values, dict) or not isinstance(values.get("architecture"), str):
            raise BadInput(f"{self.path} is not the run of a dictionary: its configuration has no sae.architecture")
        return from_dict(sae_lib.SaeConfig, values, prefix="config.sae")

    def feature(self, i: int) -> dict[str, np.ndarray]:
        """The parameters of feature `i` alone, W_enc [M], b_enc [], W_dec [M], reading about 1 MB of each.

        They are not compared with the checkpoint's checksums, which are of the whole. Raises BadInput when there is no
        such feature.
        """
        names = set(jax.eval_shape(self.sae.initial, jax.random.key(0)))
        if self.experiment == "import" and "log_threshold" in names:  # published ones are stored
            names = names - {"log_threshold"} | {"threshold"}
        n, axes = self.sae.n_features, {name: a for name, a in sae_lib.FEATURE_AXIS.items() if name in names}
        if not 0 <= i < n:
            raise BadInput(f"feature {i} of {self.path}: expected 0 to {n - 1}")
        step, folder = self._newest(), self.path / "checkpoints"
        return self._finished({
            name: load_slice(folder, step, name, (slice(None),) * axis + (i,)) for name, axis in axes.items()
        })  # fmt: skip

    @property
    def site(self) -> str | None:
        """The site whose activations it explains, when it was trained on a store that says so."""
        return self._input["site"]

    @functools.cached_property
    def sae(self) -> Any:
        """The linen module that takes `params`."""
        width, parts = self._input["width"], self._input.get("widths", ())
        sizes = [width, *parts] if isinstance(parts, (list, tuple)) else [parts]
        if not all(type(n) is int and n > 0 for n in sizes):
            raise BadInput(
                f"{self.path / 'input.json'} has width {width!r} and widths {parts!r}: expected whole numbers"
            )
        return sae_lib.build(self._sae_config, width, jnp.float32, tuple(parts))

    def encode(self, x: Any) -> np.ndarray:
        """Raw activations [..., M] → feature activations [..., F]."""
        return np.asarray(self._call(self.sae.encode, x))

    def decode(self, f: Any, x: Any = None) -> np.ndarray:
        """Feature activations [..., F] → reconstructions [..., M]; `x` are the activations that they are of, which a
        skip transcoder needs."""
        return np.asarray(self._call(self.sae.decode, f, *(() if x is None else (x,))))

    @property
    def threshold(self) -> np.ndarray:
        """[F]: what W_enc, b_dec and b_enc make of x must exceed it for a feature to be active."""
        return np.asarray(self._call(self.sae.threshold))

    def _call(self, method: Any, *arrays: Any) -> jax.Array:
        return self.sae.apply({"params": self.params}, *(jnp.asarray(a, jnp.float32) for a in arrays), method=method)


class SweepRun(LoadedRun):
    """A grid of dictionaries: `members` are their runs, `table` their figures once the sweep is finished."""

    @functools.cached_property
    def members(self) -> dict[str, SaeRun]:
        """name -> run, those of which a checkpoint exists."""
        paths = sorted(self.path.glob("members/*/config.json"))
        return {
            p.parent.name: SaeRun(p.parent, self._step) for p in paths if checkpoint_steps(p.parent / "checkpoints")
        }

    @property
    def table(self) -> list[dict[str, Any]] | None:
        return read_json(self.path / "summary.json", dict, ("members",))["members"] if self.summary else None


class EvaluateRun(LoadedRun):
    """Figures of a dictionary: `summary`, `density` [F], and the `dictionary` itself."""

    @functools.cached_property
    def density(self) -> np.ndarray:
        """The share of tokens on which each feature was active [F]."""
        return np.array(read_array(self.path / "density.npy"))

    @functools.cached_property
    def dictionary(self) -> SaeRun:
        return load_run(self.parent("run"))

    @property
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


class ReportRun(LoadedRun):
    """`page` is the report's file."""

    @property
    def page(self) -> pathlib.Path:
        return self.path / "index.html"


class QuickstartRun(LoadedRun):
    """All stages in one directory; those that were begun are opened by `stages`."""

    @functools.cached_property
    def stages(self) -> dict[str, LoadedRun]:
        """name -> run: transformer, store, sae, analysis, report."""
        return {p.parent.name: load_run(p.parent) for p in sorted(self.path.glob("*/config.json"))}


KINDS: dict[str, type[LoadedRun]] = {
    "train_transformer": TransformerRun, "harvest": HarvestRun, "train_sae": SaeRun, "import": SaeRun,
    "sweep": SweepRun, "evaluate": EvaluateRun, "analyze": AnalyzeRun, "report": ReportRun,
    "quickstart": QuickstartRun,
}  # fmt: skip


def load_run(path: str | pathlib.Path, step: int | None = None) -> Any:
    """Opens the run directory of any experiment; `step` chooses a checkpoint other than the newest.

    Raises BadInput when `path` is not a run directory, holds no such step, or was written by a newer version.
    """
    run = KINDS.get(read_record(pathlib.Path(path))["experiment"], LoadedRun)(path, step)
    if step is not None and step not in run.steps and not isinstance(run, SweepRun):
        raise BadInput(f"{path} holds no checkpoint of step {step}: it holds {run.steps}")
    return run
