"""A small text, a dictionary with a feature of every kind, proxies, and the scan that tests look at."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.config import ScanConfig
from monosem_jax.analysis.scan.encoding import Encoding
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.models.tapped import TappedModel
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.text.batches import context_batches
from tests import reference
from tests.conftest import TINY, build_lively
from tests.engine import relu_sae

BOS, SITE, N_FEATURES, LENGTH, N_CONTEXTS = 0, "mlp_hidden.0", 20, 12, 50
DEAD, CONSTANT = 5, 6
LABELS = ("a", "b", "c", "no tokens")
SMALL = ScanConfig(batch_contexts=8, top_contexts=4, per_interval=3, random_tokens=9, top_tokens=4, neighbours=5)


@functools.cache
def contexts() -> np.ndarray:
    """BOS at every beginning and within some contexts; some tokens are frequent."""
    rng = np.random.default_rng(0)
    tokens = np.minimum(rng.geometric(0.12, size=(N_CONTEXTS, LENGTH)), 39)
    tokens[:, 0] = tokens[2, 5] = tokens[7, 10] = BOS
    return tokens.astype(np.int32)


@functools.cache
def token_labels() -> np.ndarray:
    """0 to 2 and none; no token has label 3."""
    return np.random.default_rng(1).integers(-1, 3, size=(N_CONTEXTS, LENGTH))


class Proxies:
    """One with few positive values, one with many, one that never varies."""

    names = ("rare", "common", "constant")

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.all = rng.normal(size=(3, N_CONTEXTS, LENGTH)).astype(np.float32)
        self.all[0] -= 1.5
        self.all[2] = -0.25

    def values(self, first_context: int, stop_context: int) -> np.ndarray:
        return self.all[:, first_context:stop_context]


def parameters(seed: int = 2, n: int = N_FEATURES) -> dict[str, np.ndarray]:
    p = reference.random_dictionary(seed, 32, n)
    p["W_enc"][:, [DEAD, CONSTANT]] = 0
    p["b_enc"][[DEAD, CONSTANT]] = -1, 0.1
    return p


@functools.cache
def tapped() -> TappedModel:
    return TappedModel(*build_lively(TINY), SITE, BOS)


@functools.cache
def features(seed: int = 2, n: int = N_FEATURES, name: str = "features") -> FeatureSet:
    return feature_sets.dictionary(name, tapped(), PublishedSAE(relu_sae(32, n), parameters(seed, n)))


@functools.cache
def others() -> tuple[FeatureSet, ...]:
    return feature_sets.neurons(tapped()), features(4, 24, "other")


def scanned(feature_set: FeatureSet | None = None, more=None, **changes) -> SetScan:
    """The scan of the text above with these changes of SMALL; `more` are arguments of `scan`."""
    config = dataclasses.replace(SMALL, **changes)
    given = {"proxies": Proxies(), "against": others(), **(more or {})}
    tokens = given.pop("tokens", contexts())
    return scan(feature_set or features(), tokens, token_labels(), labels=LABELS, config=config, **given)


@functools.cache
def found() -> SetScan:
    return scanned()


@functools.cache
def activations(which: int | None = None) -> np.ndarray:
    """[C,T,F] what `found` is a scan of, 0 at BOS: fp32 numbers as float64. They come from batches of the same size,
    because the last bit may depend on it. `which`: of `others`."""
    encoding, size = Encoding([features() if which is None else others()[which]], None), SMALL.batch_contexts
    parts = []
    for tokens, weight in context_batches(contexts(), size):
        (block,) = encoding.collect(encoding.start(tokens, weight, [0]))
        parts.append(block.firings.dense().reshape(size, LENGTH, -1))
    return np.concatenate(parts)[:N_CONTEXTS].astype(np.float64)


@functools.cache
def real() -> np.ndarray:
    """[C,T] where there is a token but BOS."""
    return contexts() != BOS


def assert_same(a: SetScan, b: SetScan) -> None:
    """The same bits in every array."""
    leaves = [jax.tree_util.tree_leaves_with_path(as_tree(x)) for x in (a, b)]
    assert len(leaves[0]) == len(leaves[1])
    for (path, x), (_, y) in zip(*leaves, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


def as_tree(x):
    """Nested dictionaries of arrays."""
    if dataclasses.is_dataclass(x):
        return {f.name: as_tree(getattr(x, f.name)) for f in dataclasses.fields(x)}
    if isinstance(x, dict):
        return {str(k): as_tree(v) for k, v in x.items()}
    return np.asarray(x) if not isinstance(x, str) and x is not None else np.asarray(str(x))
