"""Matryoshka dictionaries (Bussmann et al., 2025): each prefix of the features is a smaller dictionary.

    x̂_p = Σ_{f < p} f W_dec,f + b_dec        loss = mean over prefixes p of mean_M (x - x̂_p)², plus a sparsity penalty

The empty prefix is one of the prefixes. `activation` "batchtopk" selects over all features as in
`monosem_jax.sae.architectures.batchtopk`, with AuxK on the error of all features; "relu" has the penalty λ Σ_F f.
"""

from __future__ import annotations

import dataclasses
import math

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.choice import chosen
from monosem_jax.sae.config import AnyConfig
from monosem_jax.sae.errors import MeanSquares, Prefixes
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class MatryoshkaConfig(AnyConfig):
    """On the activation function that `activation` names."""

    architecture: str = "matryoshka"
    groups: tuple[float, ...] = (1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
    """How many features each prefix has more than the one before, as shares of all features or as numbers."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        super().check()
        self.ends(checked=True)

    def ends(self, *, checked: bool = True) -> tuple[int, ...]:
        """The sizes of the prefixes; raises BadInput if the groups do not add up to `n_features` or one is empty."""
        n = self.n_features
        sizes = [g * n if 0 < g < 1 else g for g in self.groups]
        possible = all(math.isfinite(g) and g >= 1 for g in sizes)
        ends = tuple(round(sum(sizes[: i + 1])) for i in range(len(sizes))) if possible else ()
        if checked and (ends[-1:] != (n,) or len(set(ends)) < len(ends)):  # rounding must not make a group empty
            raise BadInput(f"sae.groups is {self.groups}: expected shares, or numbers of features, that make {n}")
        return ends

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        activation, penalty = chosen(self)
        return Recipe(
            activation=activation,
            error=Prefixes(MeanSquares(), self.ends(checked=False)),
            penalties=(penalty,),
            initial=DecoderFirst(self.tied_norm),
            traced=("l1_coefficient",),
        )
