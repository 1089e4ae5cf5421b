"""Two planted models, their dictionaries, and a crosscoder of both whose every feature is known.

Model B is the planted one with its neurons in another order. Features ONLY_A are missing in B's hidden layer, ONLY_B in
A's. The crosscoder has every feature's directions in the models that have it, but for SHRUNK, whose part in B is zero
as L1 would leave it.
"""

from __future__ import annotations

import copy
import functools

import jax.numpy as jnp
import numpy as np

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.relations.base import Compared
from monosem_jax.models.joined import join
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import Transformer
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.published import PublishedSAE
from tests import planted

ONLY_A, ONLY_B, SHRUNK = (6, 7), (8, 9), planted.SET_FEATURE
LACKS = {"a": ONLY_B, "b": ONLY_A}
ORDER = {"a": np.arange(planted.M), "b": np.random.default_rng(4).permutation(planted.M)}
BOTH = sorted(set(planted.LIVE) - {*ONLY_A, *ONLY_B, SHRUNK})
PARTS = (planted.M, planted.M)
CONFIG = CrosscoderConfig(n_features=planted.F)


@functools.cache
def model_params(side: str) -> dict:
    """The transformer's parameters."""
    found = copy.deepcopy(planted.params())
    block, order = found["blocks_0"], ORDER[side]
    up = block["up"]["kernel"].astype(np.float64)
    for i in LACKS[side]:
        up -= np.outer(planted._reader(planted.READ[i]), planted.directions()[i])
    block["up"] = {"kernel": up.astype(np.float32)[:, order], "bias": block["up"]["bias"][order]}
    block["down"]["kernel"] = block["down"]["kernel"][order]
    return found


def dictionary_params(side: str) -> dict[str, np.ndarray]:
    found, order = planted.dictionary_params(), ORDER[side]
    return {**found, "W_enc": found["W_enc"][order], "W_dec": found["W_dec"][:, order]}


def crosscoder_params() -> dict[str, np.ndarray]:
    there = {side: np.isin(np.arange(planted.F), LACKS[side], invert=True) for side in "ab"}
    each = {side: dictionary_params(side) for side in "ab"}
    share = sum(there[side].astype(np.float32) for side in "ab")
    w_enc = np.concatenate([each[side]["W_enc"] * there[side] / share for side in "ab"])
    w_dec = np.concatenate([each[side]["W_dec"] * there[side][:, None] for side in "ab"], axis=1)
    w_dec[SHRUNK, planted.M :] = 0
    return {"W_enc": w_enc, "b_enc": each["a"]["b_enc"], "W_dec": w_dec, "b_dec": np.zeros(sum(PARTS), np.float32)}


@functools.cache
def tapped(side: str) -> TappedModel:
    return TappedModel(Transformer(planted.CONFIG), model_params(side), planted.SITE, planted.BOS)


@functools.cache
def sets() -> tuple[Compared, ...]:
    """The dictionaries of A and B, and the crosscoder."""
    found = []
    for side in "ab":
        sae = PublishedSAE(architectures.build(planted.SAE, planted.M, jnp.float32, ()), dictionary_params(side))
        found.append(Compared(feature_sets.dictionary(side, tapped(side), sae), "dictionary", side, "relu", 0))
    both = join([tapped(side) for side in "ab"])
    sae = PublishedSAE(architectures.build(CONFIG, sum(PARTS), jnp.float32, PARTS), crosscoder_params())
    features = feature_sets.dictionary("crosscoder", both, sae)
    return (*found, Compared(features, "crosscoder", "a+b", "crosscoder (relu)", parts=(0, 1)))
