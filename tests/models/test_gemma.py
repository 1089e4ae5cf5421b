"""What is Gemma's own, apart from the values of `transformers` in test_golden.py."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.models import build_model
from monosem_jax.models.gemma import GemmaConfig
from monosem_jax.runtime.errors import BadInput

CONFIG = GemmaConfig(
    n_layers=2, d_model=24, d_mlp=32, n_heads=2, n_kv_heads=1, head_dim=8, vocab_size=40, query_scalar=8.0,
    attn_softcap=5.0, final_softcap=3.0, windows=(3, 0),
)  # fmt: skip


@pytest.fixture(scope="module")
def gemma():
    """(model, params) with norms whose scales are far from 1."""
    model = build_model(CONFIG)
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    keys = iter(jax.random.split(jax.random.key(1), 99))
    return model, jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape) * (0.5 if p.ndim == 1 else 0.2), params)


@pytest.mark.parametrize("site", ["mlp_hidden.1", "attn_z.1", "mlp_out.1", "resid_post.1"])
def test_direct_effects_are_the_logits_of_a_direction_alone_up_to_a_factor(gemma, site):
    model, params = gemma
    directions = np.random.default_rng(0).normal(size=(5, model.width(site))).astype(np.float32)
    effect = model.direct_effect(params, site, directions)
    # Nothing but the direction is in the residual stream, and no MLP adds to it.
    silent = {**params, "blocks_1": {**params["blocks_1"], "up": {"kernel": jnp.zeros((24, 32))}}}
    zero = jnp.zeros((1, 5, 24))
    carry = None if site.startswith("resid_post") else zero
    logits = model.apply({"params": silent}, carry, directions[None], site, method=model.from_acts)[0]
    unbound = CONFIG.final_softcap * np.arctanh(np.asarray(logits, np.float64) / CONFIG.final_softcap)
    factor = unbound / effect
    assert (factor > 0).all()
    np.testing.assert_allclose(
        factor, np.broadcast_to(np.median(factor, axis=1, keepdims=True), factor.shape), rtol=2e-2
    )
    assert (np.argsort(logits) == np.argsort(effect)).all()


def test_there_is_no_direct_effect_through_an_mlp(gemma):
    model, params = gemma
    with pytest.raises(BadInput, match=r"logit weights at mlp_in.0: the MLP after it is not linear"):
        model.direct_effect(params, "mlp_in.0", np.ones((1, 24), np.float32))


def test_the_factor_of_the_embedding_has_the_type_of_the_weights(gemma):
    model, params = gemma
    tokens = np.arange(6)[None]
    for dtype in ("float32", "bfloat16"):
        table = params["embed"]["embedding"].astype(dtype)
        found = model.apply({"params": {**params, "embed": {"embedding": table}}}, tokens, "resid_pre.0",
                            method=model.to_acts)[1]  # fmt: skip
        scale = np.asarray(24**0.5, dtype).astype(np.float32)
        np.testing.assert_array_equal(found[0], np.asarray(table[:6], np.float32) * scale)
    assert np.asarray(24**0.5, jnp.bfloat16) != np.float32(24**0.5)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"query_scalar": 0.0}, "query_scalar is 0.0: expected a number above 0"),
        ({"attn_softcap": -1.0}, "attn_softcap is -1.0: expected a number above 0, or 0 for no bound"),
        ({"windows": (3,)}, r"windows are \(3,\): expected one for each of 2 layers"),
        ({"n_kv_heads": 3}, "n_heads 2 is not divisible by n_kv_heads 3"),
    ],
)
def test_an_impossible_shape_is_refused(changes, line):
    with pytest.raises(BadInput, match=line):
        dataclasses.replace(CONFIG, **changes).check()
