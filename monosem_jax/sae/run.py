"""Opening the run directory of a dictionary, or of a sweep of them."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.models.run import FromTransformer
from monosem_jax.runtime.checkpoint import checkpoint_steps, load_slice
from monosem_jax.runtime.config import from_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.runtime.loaded_run import TrainedRun
from monosem_jax.runtime.mesh import Rules
from monosem_jax.sae import architectures as sae_lib


class SaeRun(TrainedRun, FromTransformer):
    """A dictionary for raw activations: `params` as NumPy in fp32, published: with any input scale folded in, rows of
    W_dec of norm 1, and a threshold where the architecture has one."""

    def _finished(self, params: dict[str, Any]) -> dict[str, Any]:
        if self.experiment != "import":  # those are published ones already
            params = self.sae.to_inference(params, self._stats)
        return self.sae.unscale(params, self._scale)

    @functools.cached_property
    def _stats(self) -> dict[str, np.ndarray]:
        """The statistics that published parameters need."""
        step, names = self._newest(), self.sae.recipe.activation.initial_stats()
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


class SweepRun(FromTransformer):
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
