"""A dictionary in its published form: for raw activations, each row by itself."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from monosem_jax.runtime.ambient import pinned
from monosem_jax.sae.base import SparseAutoencoder


@functools.partial(jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["module"])
@dataclasses.dataclass(frozen=True)
class PublishedSAE:
    """A linen module and published parameters for it: input scale folded in, thresholds in place of batch statistics.

    The parameters are its only leaves, so compiled functions take it as an argument, and dictionaries of one module,
    such as the members of a sweep, share one program. W is the width of a row, M of what is read or reconstructed.
    """

    module: SparseAutoencoder
    params: Mapping[str, Any]

    @property
    def n_features(self) -> int:
        return self.module.n_features

    @property
    def width_out(self) -> int:
        """M of the activations that are reconstructed."""
        return self.module.width_out

    def targets(self, rows: ArrayLike) -> jax.Array:
        """The part [..., M] of rows [..., W] that is reconstructed."""
        return self.module.targets(jnp.asarray(rows))

    def active(self, f: jax.Array) -> jax.Array:
        """Where features [..., F] fire."""
        return self.module.active(f)

    @pinned()
    def encode(self, rows: ArrayLike) -> jax.Array:
        """Rows [..., W] → feature activations [..., F]."""
        return self._apply(self.module.encode, self.module.inputs(jnp.asarray(rows)))

    def decode(self, f: ArrayLike, *x: ArrayLike) -> jax.Array:
        """Feature activations [..., F] → reconstructions [..., M]; a skip transcoder also needs what it read, `x`."""
        return self._apply(self.module.decode, f, *x)

    def forward(self, rows: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Rows [..., W] → (feature activations [..., F], reconstructions [..., M])."""
        return self._apply(self.module.forward, rows)

    @pinned()
    def _apply(self, method: Any, *arrays: Any) -> Any:
        return self.module.apply({"params": self.params}, *arrays, method=method)
