"""Ablation of single features (paper, "Feature Ablations"): x becomes x - f_i d_i on every token of a context, and the
change of each next token's loss is read off. The dictionary's error stays in x."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from monosem_jax.analysis.effects.hold import PAIRS, Held, Ints, hold
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import Ablation, Example
from monosem_jax.runtime.errors import BadInput

LEAST_TOKENS = 5  # with fewer of a kind the mean change of their loss is left out


@dataclasses.dataclass(frozen=True)
class Ablations:
    """The ablation of `features` [n] in `contexts` [n], a pair at a time: a feature has as many rows as contexts.
    `fires`, `elsewhere` [n,T-1]: the tokens on which the feature fires, and the others but BOS, which never changes."""

    features: np.ndarray
    contexts: np.ndarray
    fires: np.ndarray
    elsewhere: np.ndarray
    held: Held

    @property
    def forward_passes(self) -> int:
        return self.held.forward_passes

    def rows(self, feature: int) -> np.ndarray:
        """The rows of a feature."""
        return np.flatnonzero(self.features == feature)

    def record(self, feature: int) -> Ablation:
        """Mean changes of the next token's loss where the feature fires and where it does not, over all its contexts.

        BOS counts as neither. A mean of fewer than LEAST_TOKENS tokens is left out. Raises BadInput if the feature was
        not ablated.
        """
        rows = self._known(feature)
        change = self.held.loss_change[rows].astype(np.float64)

        def mean(at: np.ndarray) -> float | None:
            return round(float(change[at].mean()), 6) if at.sum() >= LEAST_TOKENS else None

        fires, elsewhere = self.fires[rows], self.elsewhere[rows]
        return Ablation(mean(fires), mean(elsewhere), int(fires.sum()), int(elsewhere.sum()))

    def with_effects(self, feature: int, example: Example) -> Example:
        """The example with `loss_effects`: by how much the loss on each of its tokens rises.

        Raises BadInput if the feature was not ablated in that context.
        """
        rows = self._known(feature)
        row = rows[self.contexts[rows] == example.context]
        if not len(row):
            raise BadInput(f"feature {feature} was not ablated in context {example.context}")
        low = example.position - example.peak
        on_tokens = np.concatenate([[0], self.held.loss_change[row[0]]])  # the first token is not predicted
        effects = tuple(round(float(e), 5) for e in on_tokens[low : low + len(example.tokens)])
        return dataclasses.replace(example, loss_effects=effects)

    def _known(self, feature: int) -> np.ndarray:
        rows = self.rows(feature)
        if not len(rows):
            raise BadInput(
                f"feature {feature} was not ablated: expected one of those that were, {len(set(self.features))} in all"
            )
        return rows


def ablate(
    of: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    features: Ints,
    contexts: Sequence[Ints] | np.ndarray,
    *,
    watch: Ints = (),
    batch: int = PAIRS,
    advance: Callable[[int], Any] = lambda n: None,
) -> Ablations:
    """Ablates each of `features` in contexts of its own: contexts[j] are those of features[j], negative ones left out
    (as a scan fills up the lists of features that fire in few).

    `watch`: tokens whose logits' change is kept too, in `held.logit_change`. `batch` pairs are computed at a time, and
    `advance` is called with the number of pairs done. Raises BadInput like `hold`.
    """
    if len(features) != len(contexts):
        raise BadInput(f"ablate was given {len(features)} features and contexts of {len(contexts)}: expected one each")
    kept = [[int(c) for c in dict.fromkeys(np.asarray(some).tolist()) if c >= 0] for some in contexts]
    pairs = [(int(f), c) for f, some in zip(features, kept, strict=True) for c in some]
    which = np.asarray([c for _, c in pairs], np.int64)
    columns = np.asarray([f for f, _ in pairs], np.int64)
    held = hold(of, tokens, which, columns, np.zeros(len(pairs)), watch=watch, batch=batch, advance=advance)
    fires = np.asarray(of.encoder.active(jnp.asarray(held.activation)))[:, :-1]
    real = np.asarray(tokens)[which][:, :-1] != of.tapped.bos
    return Ablations(columns, which, fires & real, ~fires & real, held)
