"""A model whose activations are known, features planted in it, and what a scan of a text would say, by brute force.

Tokens 1 to 39 stand in groups of five. A row holds what the token is and what the one before it is.
"""

from __future__ import annotations

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.result import INTERVALS, LOG_EDGES, N_LINEAR, Reservoir, SetScan
from monosem_jax.models.tapped import TappedModel
from monosem_jax.text.directory import Source

BOS, VOCAB, GROUP = 0, 40, 5
N_GROUPS = VOCAB // GROUP
HALF = VOCAB + N_GROUPS
AFTER, FAMILY, DEAD, ALWAYS, PAIRS, RARE = range(6)  # the planted features
FIRST, SECOND = 7, 12  # AFTER fires on SECOND where FIRST comes before it
OF_FAMILY = (20, 21, 22, 23, 24)


@dataclasses.dataclass(frozen=True)
class PlantedConfig:
    vocab_size: int = VOCAB
    n_layers: int = 1
    context_length: int = 24
    architecture: str = "planted"


class PlantedModel(nn.Module):
    """Rows [this token and its group, the token before and its group], one-hot."""

    config: PlantedConfig = PlantedConfig()

    @nn.nowrap
    def width(self, site: str) -> int:
        return 2 * HALF

    def to_acts(self, tokens, site):
        table = jnp.concatenate([jnp.eye(VOCAB), jnp.eye(N_GROUPS)[jnp.arange(VOCAB) // GROUP]], axis=1)
        before = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
        return None, jnp.concatenate([table[tokens], table[before]], axis=-1)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights", "bias"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Planted:
    """f = max(x W + b, 0)."""

    weights: jax.Array
    bias: jax.Array

    @property
    def n_features(self) -> int:
        return self.weights.shape[1]

    def encode(self, rows):
        return jax.nn.relu(rows @ self.weights + self.bias)

    def active(self, f):
        return f > 0


def planted_set(name: str = "features") -> FeatureSet:
    w, b = np.zeros((2 * HALF, 6), np.float32), np.zeros(6, np.float32)
    w[SECOND, AFTER] = w[HALF + FIRST, AFTER] = 2
    b[AFTER] = -2
    w[VOCAB + OF_FAMILY[0] // GROUP, FAMILY] = 3
    w[list(OF_FAMILY), FAMILY] = np.arange(5) * 0.2
    b[DEAD] = -1
    b[ALWAYS], w[3, ALWAYS] = 1, 1
    w[30, PAIRS], w[HALF + 31, PAIRS], b[PAIRS] = 1, 1, -0.5
    w[33, RARE] = 1
    model = PlantedModel()
    return FeatureSet(name, TappedModel(model, {}, "site", BOS), Planted(jnp.asarray(w), jnp.asarray(b)), w.T.copy())


@dataclasses.dataclass(frozen=True)
class PlantedText:
    tokens: np.ndarray
    documents: np.ndarray
    strings: tuple[str, ...]
    sources: tuple[Source, ...]


def planted_text(contexts: int = 400, length: int = 24, seed: int = 0) -> PlantedText:
    """Random tokens; FIRST SECOND often, RARE's token seldom. Half of the contexts are of the label "family", and only
    they hold OF_FAMILY."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, VOCAB, (contexts, length))
    tokens[tokens == 33] = 34
    tokens[:3, 9] = 33
    other = np.isin(tokens, OF_FAMILY) & (np.arange(contexts) % 2 == 0)[:, None]
    tokens[other] = 1
    for c in range(0, contexts):
        at = rng.integers(2, length)
        tokens[c, at - 1 : at + 1] = FIRST, SECOND
    tokens[:, 0] = BOS
    documents = np.broadcast_to(np.arange(contexts)[:, None], tokens.shape)
    sources = tuple(Source(f"file {c}", ("other", "family")[c % 2]) for c in range(contexts))
    return PlantedText(tokens, np.ascontiguousarray(documents), tuple(f"<{t}>" for t in range(VOCAB)), sources)


def brute_scan(
    features: FeatureSet, tokens: np.ndarray, *, k: int = 20, per_interval: int = 12, seed: int = 0
) -> SetScan:
    """A scan by looking at all activations at once."""
    f = features.activations(tokens).astype(np.float64)
    real = tokens != features.tapped.bos
    n, rng, flat = int(real.sum()), np.random.default_rng(seed), f.reshape(-1, f.shape[-1])
    fired, maximum, total = (flat > 0).sum(0), flat.max(0), flat.sum(0)
    by_context = f.max(axis=1)  # [C,F]
    top = np.argsort(-by_context, axis=0, kind="stable")[:k].T
    value = np.take_along_axis(by_context.T, top, 1)
    position = np.take_along_axis(f.argmax(axis=1).T, top, 1)
    random = np.argwhere(real)[rng.permutation(n)[:60]]
    return SetScan(
        name=features.name, tokens=n, contexts=len(tokens), fired=fired, maximum=maximum.astype(np.float32),
        mean=total / np.maximum(fired, 1), total=total, square=np.square(flat).sum(0),
        log_counts=np.zeros((len(fired), len(LOG_EDGES) + 1), np.int64),
        linear_counts=np.zeros((len(fired), N_LINEAR), np.int64),
        top_context=np.where(value > 0, top, -1).astype(np.int32),
        top_position=np.where(value > 0, position, -1).astype(np.int32), top_value=value.astype(np.float32),
        intervals={n: _reservoir(f, maximum, n, per_interval, rng) for n in INTERVALS},
        random_context=random[:, 0].astype(np.int32), random_position=random[:, 1].astype(np.int32),
        token_id=np.zeros((len(fired), 0), np.int32), token_fired=np.zeros((len(fired), 0), np.int64),
        token_total=np.zeros((len(fired), 0)), token_occurrences=np.bincount(tokens.ravel(), minlength=VOCAB),
        tokens_exact=True, labels=(), label_correlation=np.zeros((0, len(fired))),
        label_fired=np.zeros((0, len(fired)), np.int64), label_tokens=np.zeros(0, np.int64),
        proxies=None, neighbours={},
    )  # fmt: skip


def _reservoir(f: np.ndarray, maximum: np.ndarray, n: int, k: int, rng: np.random.Generator) -> Reservoir:
    shape = (f.shape[-1], n, k)
    context, position = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    value, count = np.zeros(shape, np.float32), np.zeros(shape[:2], np.int64)
    for j in range(f.shape[-1]):
        if not maximum[j]:
            continue
        interval = np.ceil(f[..., j] / maximum[j] * n).astype(int) - 1
        for i in range(n):
            at = np.argwhere(interval == i)
            count[j, i] = len(at)
            at = at[rng.permutation(len(at))[:k]]
            context[j, i, : len(at)], position[j, i, : len(at)] = at.T
            value[j, i, : len(at)] = f[at[:, 0], at[:, 1], j]
    return Reservoir(context, position, value, count)
