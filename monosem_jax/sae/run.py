"""Opening the run directory of a dictionary, or of a sweep of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from monosem_jax.models.run import FromTransformer
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import Named, finite_numbers, whole_number
from monosem_jax.runtime.checkpoint import checkpoint_steps, load_slice
from monosem_jax.runtime.config import from_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.runtime.loaded_run import TrainedRun
from monosem_jax.runtime.mesh import Rules
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.row_scales import ROW_SCALES

BLOCK_ROWS = 4096  # `encode` and `decode` compute this many rows at a time


class SaeRun(TrainedRun, FromTransformer):
    """A dictionary for raw activations: `params` as NumPy in fp32, published: with any input scale folded in, rows of
    W_dec of norm 1, and a threshold where the architecture has one."""

    @property
    def published(self) -> bool:
        """Whether the checkpoint holds published parameters, as that of an imported dictionary does."""
        return self._input.get("published", self.experiment == "import") is True  # early imports do not say it

    def _finished(self, params: dict[str, Any]) -> dict[str, Any]:
        if not self.published:
            params = self.sae.to_inference(params, self._stats)
        return self.sae.unscale(params, self._scale)

    @functools.cached_property
    def _stats(self) -> dict[str, np.ndarray]:
        """The statistics that published parameters need."""
        step, names = self._newest(), self.sae.recipe.activation.initial_stats()
        return {n: load_slice(self.checkpoints, step, f"stats/{n}", ..., part="rest") for n in names}

    @functools.cached_property
    def _scale(self) -> float | list[float]:
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

        What is read is compared with its checksums, if the checkpoint has them (earlier versions wrote only those of
        whole arrays). Raises BadInput when there is no such feature, or it is not what was saved.
        """
        return self._part(whole_number(f"feature {i!r} of {self.path}", i, 0, self.sae.n_features - 1))

    def features(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The parameters of the features `start` to `stop` - 1 alone, W_enc [M,n], b_enc [n], W_dec [n,M], read and
        compared like those of `feature`. Raises BadInput like it."""
        n = self.sae.n_features
        start = whole_number(f"the first feature {start!r} of {self.path}", start, 0, n - 1)
        stop = whole_number(f"the end {stop!r} of the features of {self.path}", stop, start + 1, n)
        return self._part(slice(start, stop))

    @pinned()
    def _part(self, at: int | slice) -> dict[str, np.ndarray]:
        """Published parameters of a feature or of a range of them."""
        names = set(jax.eval_shape(self.sae.initial, jax.random.key(0)))
        statistics = self.sae.recipe.activation.initial_stats()
        if self.published and ("log_threshold" in names or "threshold" in statistics):
            names = names - {"log_threshold"} | {"threshold"}
        axes = {name: a for name, a in sae_lib.FEATURE_AXIS.items() if name in names}
        step, folder = self._newest(), self.checkpoints
        return self._finished({
            name: load_slice(folder, step, name, (slice(None),) * axis + (at,)) for name, axis in axes.items()
        })  # fmt: skip

    @property
    def site(self) -> str | None:
        """The site whose activations it explains, when it was trained on a store that says so."""
        return self._input["site"]

    @functools.cached_property
    def sae(self) -> SparseAutoencoder:
        """The linen module that takes `params`."""
        width, parts = self._input["width"], self._input.get("widths", ())
        sizes = [width, *parts] if isinstance(parts, (list, tuple)) else [parts]
        if not all(type(n) is int and n > 0 for n in sizes):
            raise BadInput(
                f"{self.path / 'input.json'} has width {width!r} and widths {parts!r}: expected whole numbers"
            )
        rows = self._input.get("rows", "")
        if not isinstance(rows, str) or rows not in ("", *ROW_SCALES):
            raise BadInput(f"{self.path / 'input.json'} has rows {rows!r}: expected {', '.join(ROW_SCALES)} or nothing")
        return sae_lib.build(self._sae_config, width, jnp.float32, tuple(parts), rows)

    def encode(self, x: ArrayLike) -> np.ndarray:
        """Raw activations [..., M] → feature activations [..., F], fp32, on the default device.

        Parameters are put there once. Raises BadInput when the rows are not of width M, or hold what is no finite
        number in fp32.
        """
        return self._by_rows("encode", finite_numbers("encode", x, "...", self.sae.width_in))

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> np.ndarray:
        """Feature activations [..., F] → reconstructions [..., M]; `x` [..., M] are the activations that they were
        computed from, which a skip transcoder and a dictionary that normalises rows need. Raises BadInput like
        `encode`."""
        given = [finite_numbers("decode", f, "...", self.sae.n_features)]
        if x is not None:
            given.append(finite_numbers("decode", x, *given[0].shape[:-1], self.sae.width_in))
        return self._by_rows("decode", *given)

    @functools.cached_property
    @pinned()
    def threshold(self) -> np.ndarray:
        """[F]: a feature is active where (x - b_dec) W_enc + b_enc exceeds its threshold."""
        return np.array(self._program("threshold")(self._params_on_device))

    @functools.cached_property
    def _params_on_device(self) -> dict[str, jax.Array]:
        return jax.device_put(self.params)

    @functools.cached_property
    def _program(self) -> Callable[[str], Callable[..., jax.Array]]:
        """The compiled form of a method of the module: (parameters, arrays…) → array."""

        def compiled(method: str) -> Callable[..., jax.Array]:
            return jax.jit(lambda params, *arrays: self.sae.apply({"params": params}, *arrays, method=method))

        return functools.cache(compiled)

    @pinned()
    def _by_rows(self, method: str, *arrays: np.ndarray | jax.Array) -> np.ndarray:
        """A method of single rows on any number of them, in blocks of sizes 2^n, so that few programs are compiled."""
        leading = arrays[0].shape[:-1]
        n = math.prod(leading)
        flat = [a.reshape(n, a.shape[-1]) for a in arrays]
        size = min(1 << max(n - 1, 0).bit_length(), BLOCK_ROWS)
        found = []
        for start in range(0, max(n, 1), size):
            block = [a[start : start + size] for a in flat]
            lacking = size - len(block[0])
            if lacking:
                block = [(np if isinstance(a, np.ndarray) else jnp).pad(a, ((0, lacking), (0, 0))) for a in block]
            found.append(np.asarray(self._program(method)(self._params_on_device, *block))[: size - lacking])
        rows = np.concatenate(found)  # a copy, which can be written to
        return rows.reshape(*leading, rows.shape[-1])


class SweepRun(FromTransformer):
    """A grid of dictionaries: `members` are their runs, `table` their figures once the sweep is finished."""

    @functools.cached_property
    def members(self) -> dict[str, SaeRun]:
        """name -> run, those of which a checkpoint exists."""
        paths = [p.parent for p in sorted(self.path.glob("members/*/config.json"))]
        found = {p.name: SaeRun(p, self._step) for p in paths if checkpoint_steps(p / "checkpoints")}
        return Named(f"the member of {self.path}", found)

    @property
    def table(self) -> list[dict[str, Any]] | None:
        return read_json(self.path / "summary.json", dict, ("members",))["members"] if self.summary else None
