"""Matryoshka dictionaries (Bussmann et al., 2025): their first features are a smaller dictionary themselves.

    x̂_p = Σ_{f < p} f W_dec,f + b_dec        loss = mean over prefixes p of mean_M (x - x̂_p)², and what keeps f sparse

Among the prefixes is the empty one. `activation` "batchtopk" selects over all features as in
`monosem_jax.sae.architectures.batchtopk`, with AuxK on the error of all of them; "relu" has λ Σ_F f.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import gradients as learning
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import AnyConfig
from monosem_jax.sae.step_context import Encoded, StepContext


@dataclasses.dataclass(frozen=True)
class MatryoshkaConfig(AnyConfig):
    """`groups`: how many features each prefix has more than the one before, as shares of all of them or as numbers."""

    architecture: str = "matryoshka"
    groups: tuple[float, ...] = (1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2)

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        super().check()
        self.ends()

    def ends(self) -> tuple[int, ...]:
        """The sizes of the prefixes; raises BadInput when they are not what `n_features` can be divided into."""
        n = self.n_features
        sizes = [g * n if 0 < g < 1 else g for g in self.groups]
        possible = all(math.isfinite(g) and g >= 1 for g in sizes)
        ends = tuple(round(sum(sizes[: i + 1])) for i in range(len(sizes))) if possible else ()
        if ends[-1:] != (n,) or len(set(ends)) < len(ends):  # none is empty by rounding
            raise BadInput(f"sae.groups is {self.groups}: expected shares, or numbers of features, that make {n}")
        return ends


class Matryoshka(SparseAutoencoder):
    """The dictionary and its loss."""

    def reconstruct(self, code: Encoded, here: StepContext) -> Float[Array, "G b M"]:
        """What each group of features adds."""
        size, ends = self.n_features, self.config.ends()
        starts = (0, *ends[:-1])

        def of_device(i: int, f: Array, w: Array, visit: Array) -> Array:
            parts = []
            for start, end in zip(starts, ends, strict=True):
                a, z = (min(max(at - i * size, 0), size) for at in (start, end))
                nothing = jnp.zeros((len(f), w.shape[1]))
                part = learning.decode(f[:, a:z], w[a:z], visit[:, a:z], here, self.dtype) if a < z else nothing
                parts.append(part)
            return jnp.stack(parts)

        if here.axes.model == 1:
            return of_device(0, code.f, self.W_dec, code.visit)
        # Where groups end is known for each device, but differs between them.
        branches = [lambda *a, i=i: of_device(i, *a) for i in range(here.axes.model)]
        return jax.lax.switch(jax.lax.axis_index("model"), branches, code.f, self.W_dec, code.visit)

    def reconstructed(self, sums: dict[str, Array], x: Any) -> Float[Array, "b M"]:
        return jnp.sum(sums["y_hat"], axis=0) + self.b_dec

    def loss(self, sums, x, y, here):
        prefixes = jnp.concatenate([jnp.zeros_like(sums["y_hat"][:1]), jnp.cumsum(sums["y_hat"], axis=0)])
        errors = prefixes + self.b_dec - y
        squares = jnp.sum(jnp.square(errors), axis=(1, 2))
        loss = self.weigh(jnp.mean(squares), here)
        return self.penalise(loss, {"mse": squares[-1] / self.width_out}, sums, errors[-1], here)
