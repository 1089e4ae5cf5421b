"""A dictionary in its published form: for raw activations, each row by itself."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from monosem_jax.models.base import site_width
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import numbers, token_ids
from monosem_jax.runtime.errors import BadInput
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
        """The part [..., M] of rows [..., W] that is reconstructed; raises BadInput on another width."""
        return self.module.targets(self._rows("targets", rows))

    def gain(self, rows: jax.Array) -> jax.Array | None:
        """[...] what activations are multiplied by in the reconstruction of rows [..., W]; None: by 1 in all."""
        return self.module.gain(rows)

    def active(self, f: jax.Array) -> jax.Array:
        """Where features [..., F] fire."""
        return self.module.active(f)

    @pinned()
    def encode(self, rows: ArrayLike) -> jax.Array:
        """Rows [..., W] → feature activations [..., F]; raises BadInput on another width."""
        return self._apply(self.module.encode, self.module.inputs(self._rows("encode", rows)))

    def decode(self, f: ArrayLike, *x: ArrayLike) -> jax.Array:
        """Feature activations [..., F] → reconstructions [..., M]; a skip transcoder and a dictionary that normalises
        rows also need what was encoded, `x`.

        Raises BadInput on other widths.
        """
        f = jnp.asarray(numbers("decode", f, "...", self.n_features))
        x = tuple(numbers("decode", each, *f.shape[:-1], self.module.width_in) for each in x)
        return self._apply(self.module.decode, f, *x)

    def forward(self, rows: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Rows [..., W] → (feature activations [..., F], reconstructions [..., M]); raises BadInput like `encode`."""
        return self._apply(self.module.forward, self._rows("forward", rows))

    @pinned()
    def affine(self, features: Int[np.ndarray, " n"]) -> tuple[Float[np.ndarray, "n M"], Float[np.ndarray, " n"]]:
        """(w, b) of features: their activation before the threshold is x · w + b, for what the encoder reads of a row.
        Where a feature is active, this is its activation. Raises BadInput where rows are normalised one by one."""
        if self.module.rows:
            raise BadInput(
                f"affine: each row is normalised ({self.module.rows}), so no feature is linear in activations"
            )
        p = {name: np.asarray(value, np.float32) for name, value in self.params.items()}
        recipe = self.module.recipe
        gain = np.asarray(recipe.activation.gain(dict(self.params)), np.float32)[features]
        w = p["W_enc"][:, features].T * gain[:, None]
        bias = p["b_enc"][features]
        return w, bias - w @ p["b_dec"] if recipe.apply_b_dec_to_input else bias

    def _rows(self, method: str, rows: ArrayLike) -> jax.Array:
        return jnp.asarray(numbers(method, rows, "...", self.module.width))

    @pinned()
    def _apply(self, method: Any, *arrays: Any) -> Any:
        return self.module.apply({"params": self.params}, *arrays, method=method)


def fitting_contexts(method: str, tapped: TappedModel, sae: PublishedSAE, tokens: ArrayLike) -> np.ndarray:
    """Contexts [C,T] on the host, as int32. Raises BadInput when there are none, when they are not of the model's
    vocabulary, or when the dictionary is for rows of another width than the model has at its site."""
    width = site_width(tapped.model, tapped.site)
    if width != sae.module.width:
        raise BadInput(
            f"{method}: the dictionary is for rows of width {sae.module.width}, but {tapped.site} has width {width}"
        )
    found = np.asarray(token_ids(method, tokens, tapped.model.config.vocab_size))
    if not len(found):
        raise BadInput(f"{method} was given no contexts: expected 1 or more")
    return found
