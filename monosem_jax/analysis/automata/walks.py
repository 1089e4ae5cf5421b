"""An automaton let loose: its first feature is held for a few tokens, released, and the next tokens are followed."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from monosem_jax.analysis.automata.causal import Sampler
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.runtime.ambient import pinned


@dataclasses.dataclass(frozen=True)
class Walk:
    """`texts` [n,S+h+N]: a prompt, h tokens sampled while the feature was held, and N more while nothing was; `fires`
    [n,h+N,k] which of the automaton's k features fire on each token after the prompt. `plain_texts` and `plain_fires`
    are sampled with the same random numbers, and nothing is ever held."""

    n_prompt: int
    texts: np.ndarray
    fires: np.ndarray
    plain_texts: np.ndarray
    plain_fires: np.ndarray

    @property
    def running(self) -> Float[np.ndarray, " steps"]:
        """[h+N] the share of the texts in which some feature of the automaton fires, by steps after the prompt."""
        return self.fires.any(axis=2).mean(axis=0)

    @property
    def plain_running(self) -> Float[np.ndarray, " steps"]:
        return self.plain_fires.any(axis=2).mean(axis=0)


@pinned()
def walk(
    features: FeatureSet, sampler: Sampler, prompt: Int[np.ndarray, " S"], nodes: Int[np.ndarray, " k"], maximum: float,
    *, n_texts: int, n_held: int, n_tokens: int,
) -> Walk:  # fmt: skip
    """Holds nodes[0] at `maximum` on the prompt (BOS first) while `n_held` tokens are sampled, then samples `n_tokens`
    more with nothing held.

    Raises BadInput when a text would be longer than the model's contexts.
    """
    number = np.arange(n_texts)
    first = sampler(
        prompt, np.repeat(nodes[0], 2 * n_texts), np.repeat([maximum, np.nan], n_texts), n_held,
        samples=np.tile(number, 2)
    )  # fmt: skip
    rest = [
        sampler(text, [int(nodes[0])], [np.nan], n_tokens, samples=[int(k)])[0]
        for text, k in zip(first, np.tile(number, 2), strict=True)
    ]
    texts = np.stack(rest)
    f = jnp.asarray(features.activations(texts, nodes))
    fires = np.asarray(features.encoder.active(f))[:, len(prompt) :]
    return Walk(len(prompt), texts[:n_texts], fires[:n_texts], texts[n_texts:], fires[n_texts:])
