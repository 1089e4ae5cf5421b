"""Whether an edge is a cause: a feature is held at its maximum, and the features of the next token are looked at.

After a prompt from held-out text, feature i is held at its largest activation, as in the paper's pinned sampling, and
one token is sampled. Nothing is held when that token is encoded in its context: what counts is whether feature j fires
on it by itself. (With i held there too, a loop would always be found.) Each text is compared with two others that draw
the same random numbers after the same prompt: one where nothing is held, and those where random features are held,
each at its own maximum.

The interval of a difference is Student's, at LEVEL, over the means of the prompts, which are independent where the
texts of one prompt are not. One prompt without any difference is added, so that equal differences still have an
interval of some width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
import scipy.stats
from jaxtyping import Array, Bool, Float, Int

from monosem_jax.analysis.feature_sets import Encoder, FeatureSet
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, token_ids, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream

LEVEL = 0.99
ROWS = 256  # texts that are encoded together


class Sampler(Protocol):
    """Texts continued by sampled tokens while a feature is held, as `monosem_jax.analysis.effects.sampling.sample`
    does for one set: features[j] at values[j] (NaN: nothing) in text j, with the random numbers of samples[j]."""

    def __call__(
        self,
        prompt: Int[np.ndarray, " S"],
        features: Sequence[int] | np.ndarray,
        values: Sequence[float] | np.ndarray,
        n_tokens: int,
        *,
        samples: Sequence[int] | np.ndarray,
    ) -> Int[np.ndarray, "n S+N"]: ...


@dataclasses.dataclass(frozen=True)
class Firing:
    """What fires on the token after a prompt, when features are held: `fires` [n,P,s,w] for n features, P prompts, s
    texts each, and w features watched; `unheld` [P,s,w] when nothing is held; `beside` [r,P,s,w] when each of r random
    features is. `features` [n], `random` [r] and `watched` [w] number them, `token` [n,P,s] is what was sampled."""

    features: np.ndarray
    random: np.ndarray
    watched: np.ndarray
    fires: np.ndarray
    unheld: np.ndarray
    beside: np.ndarray
    token: np.ndarray


@dataclasses.dataclass(frozen=True)
class Check:
    """An edge checked: the rates at which the target fires on the sampled token when the source is held, when nothing
    is, and when a random feature is; the difference to nothing, and to random features, each with its interval.
    `confirmed`: both intervals lie above 0, and the first difference is large enough."""

    held: float
    unheld: float
    random: float
    difference: float
    low: float
    high: float
    above_random: float
    above_random_low: float
    confirmed: bool


@pinned()
def firing_when_held(
    features: FeatureSet, sampler: Sampler, prompts: Int[np.ndarray, "P S"], held: Int[np.ndarray, " n"],
    random: Int[np.ndarray, " r"], maximum: Float[np.ndarray, " F"], watched: Int[np.ndarray, " w"],
    *, samples: int = 2, advance: Callable[[int], Any] = lambda n: None,
) -> Firing:  # fmt: skip
    """Samples one token after each prompt, BOS first, for every feature.

    Args:
      maximum: each feature's largest activation, at which it is held.
      samples: texts for each prompt and feature.
      advance: called with the number of prompts done.

    Raises BadInput on prompts that do not fit the model, and when a feature to be held never fires.
    """
    prompts = np.asarray(token_ids("firing_when_held: prompts", prompts, features.tapped.model.config.vocab_size))
    samples = whole_number(f"samples is {samples!r}", samples, 1)
    check_shape("firing_when_held: maximum", np.shape(maximum), features.n_features)
    every = np.concatenate([np.asarray(held, np.int64), np.asarray(random, np.int64)])
    silent = every[~(np.asarray(maximum)[every] > 0)]
    if len(silent):
        raise BadInput(f"automata of {features.name}: feature {silent[0]} never fires: expected one that does")
    column = np.repeat(np.append(every, 0), samples)
    value = np.repeat(np.append(np.asarray(maximum, np.float64)[every], np.nan), samples)
    texts = []
    for p, prompt in enumerate(prompts):
        number = np.tile(p * samples + np.arange(samples), len(every) + 1)
        texts.append(sampler(prompt, column, value, 1, samples=number))
        advance(1)
    read = fires_on_last(features, np.concatenate(texts), watched)
    shape = (len(prompts), len(every) + 1, samples)
    fires = np.moveaxis(read.reshape(*shape, len(watched)), 1, 0)
    token = np.moveaxis(np.stack([t[:, -1] for t in texts]).reshape(shape), 1, 0)
    n = len(held)
    return Firing(every[:n], every[n:], np.asarray(watched), fires[:n], fires[-1], fires[n:-1], token[:n])


def fires_on_last(
    features: FeatureSet, texts: Int[np.ndarray, "n L"], watched: Int[np.ndarray, " w"]
) -> Bool[np.ndarray, "n w"]:
    """Which of some features fire on the last token of each text, nothing being held."""
    of = features.on_device
    found = np.zeros((len(texts), len(watched)), bool)
    for start in range(0, len(texts), ROWS):
        part = texts[np.minimum(np.arange(start, start + ROWS), len(texts) - 1)]  # of one shape: compiled once
        here = np.asarray(_last(of.tapped, of.encoder, part.astype(np.int32), np.asarray(watched, np.int32)))
        found[start : start + ROWS] = here[: len(texts) - start]
    return found


@jax.jit
def _last(tapped: TappedModel, encoder: Encoder, tokens: Int[Array, "n L"], watched: Int[Array, " w"]) -> Array:
    rows = tapped.rows(tokens)[:, -1]
    return encoder.active(encoder.encode(rows))[:, watched]


def check_edge(firing: Firing, source: int, target: int, least: float) -> Check:
    """The check of one edge, from a feature or from one of the random ones, which is then compared with the others;
    `least` is the difference of the firing rate that counts as an effect."""
    i = int(np.flatnonzero(np.concatenate([firing.features, firing.random]) == source)[0])
    j = int(np.flatnonzero(firing.watched == target)[0])
    n = len(firing.features)
    fires = firing.fires[i] if i < n else firing.beside[i - n]
    held, unheld = fires[..., j].astype(np.float64), firing.unheld[..., j].astype(np.float64)
    other = firing.random != source
    beside = firing.beside[other][..., j].astype(np.float64).mean(axis=0) if other.any() else unheld
    difference, low, high = interval((held - unheld).mean(axis=1))
    above, above_low, _ = interval((held - beside).mean(axis=1))
    return Check(
        float(held.mean()), float(unheld.mean()), float(beside.mean()), difference, low, high, above, above_low,
        bool(low > 0 and above_low > 0 and difference >= least),
    )  # fmt: skip


def interval(by_prompt: Float[np.ndarray, " P"]) -> tuple[float, float, float]:
    """(mean, its interval at LEVEL) of differences by prompt: see the head of this file."""
    x = np.append(np.asarray(by_prompt, np.float64), 0)
    spread = x.std(ddof=1) / np.sqrt(len(x)) * scipy.stats.t.ppf(0.5 + LEVEL / 2, len(x) - 1)
    return float(np.mean(by_prompt)), float(x.mean() - spread), float(x.mean() + spread)


def draw_prompts(tokens: Int[np.ndarray, "C T"], bos: int, n: int, length: int, seed: int = 0) -> np.ndarray:
    """[n,1+length] the beginnings of `n` contexts drawn at random among those whose first tokens are BOS and then
    `length` tokens of one document. Raises BadInput when there are fewer."""
    tokens = np.asarray(tokens)
    head = tokens[:, : length + 1]
    fits = np.flatnonzero((head[:, 0] == bos) & (head[:, 1:] != bos).all(axis=1))
    if tokens.shape[1] < length + 1 or len(fits) < n:
        raise BadInput(
            f"automata: {len(fits)} of {len(tokens)} contexts begin with {length} tokens of one document: expected {n}"
        )
    return head[np.sort(stream("automata.prompts", seed).permutation(fits)[:n])].astype(np.int32)
