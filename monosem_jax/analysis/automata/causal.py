"""Whether an edge is a cause: a feature is held at its maximum, and the features of the sampled tokens are looked at.

After a prompt from held-out text, feature i is held at its largest activation on every token, as in the paper's pinned
sampling, and a few tokens are sampled. Then the text is encoded with nothing held: what counts is the share of the
sampled tokens on which feature j fires by itself. (With i held there too, a loop would always be found.) One token
would be the step itself, but most features read what came before: a Greek letter in the middle of English hardly
excites the features of Greek text, three in a row do.

Each text is compared with two others that draw the same random numbers after the same prompt: one where nothing is
held, and those where random features are held, each at its own maximum.

The interval of a difference is Student's, at LEVEL, over the means of the prompts, which are independent where the
texts of one prompt are not. One prompt without any difference is added, so that equal differences still have an
interval of some width.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Int

from monosem_jax.analysis.feature_sets import Encoder, FeatureSet
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, token_ids, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream

LEVEL = 0.99
ROWS = 128  # texts that are encoded together


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
    """How often features fire on the tokens sampled after a prompt: `fires` [n,P,w] the share of them for n features
    held, P prompts and w features watched; `unheld` [P,w] when nothing is held; `beside` [r,P,w] when each of r random
    features is. `features` [n], `random` [r] and `watched` [w] number them."""

    features: np.ndarray
    random: np.ndarray
    watched: np.ndarray
    fires: np.ndarray
    unheld: np.ndarray
    beside: np.ndarray


@dataclasses.dataclass(frozen=True)
class Check:
    """An edge checked: the rates at which the target fires on the sampled tokens when the source is held, when nothing
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
    *, samples: int = 2, n_tokens: int = 6, advance: Callable[[int], Any] = lambda n: None,
) -> Firing:  # fmt: skip
    """Samples `n_tokens` tokens after each prompt, BOS first, for every feature.

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
    found = np.zeros((len(every) + 1, len(prompts), len(watched)))
    for p, prompt in enumerate(prompts):
        number = np.tile(p * samples + np.arange(samples), len(every) + 1)
        texts = sampler(prompt, column, value, n_tokens, samples=number)
        fires = share_firing(features, texts, watched, n_tokens)
        found[:, p] = fires.reshape(len(every) + 1, samples, len(watched)).mean(axis=1)
        advance(1)
    n = len(held)
    return Firing(every[:n], every[n:], np.asarray(watched), found[:n], found[-1], found[n:-1])


def share_firing(
    features: FeatureSet, texts: Int[np.ndarray, "n L"], watched: Int[np.ndarray, " w"], last: int
) -> Float[np.ndarray, "n w"]:
    """The share of the `last` tokens of each text on which some features fire, nothing being held."""
    of = features.on_device
    found = np.zeros((len(texts), len(watched)))
    for start in range(0, len(texts), ROWS):
        part = texts[np.minimum(np.arange(start, start + ROWS), len(texts) - 1)]  # of one shape: compiled once
        here = _share(of.tapped, of.encoder, part.astype(np.int32), np.asarray(watched, np.int32), last)
        found[start : start + ROWS] = np.asarray(here)[: len(texts) - start]
    return found


@functools.partial(jax.jit, static_argnames="last")
def _share(
    tapped: TappedModel, encoder: Encoder, tokens: Int[Array, "n L"], watched: Int[Array, " w"], last: int
) -> Array:
    rows = tapped.rows(tokens)[:, -last:]
    return encoder.active(encoder.encode(rows))[..., watched].mean(axis=1)


def check_edge(firing: Firing, source: int, target: int, least: float) -> Check:
    """The check of one edge, from a feature or from one of the random ones, which is then compared with the others;
    `least` is the difference of the firing rate that counts as an effect."""
    i = int(np.flatnonzero(np.concatenate([firing.features, firing.random]) == source)[0])
    j = int(np.flatnonzero(firing.watched == target)[0])
    n = len(firing.features)
    fires = firing.fires[i] if i < n else firing.beside[i - n]
    held, unheld = fires[:, j], firing.unheld[:, j]
    other = firing.random != source
    beside = firing.beside[other, :, j].mean(axis=0) if other.any() else unheld
    difference, low, high = interval(held - unheld)
    above, above_low, _ = interval(held - beside)
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
