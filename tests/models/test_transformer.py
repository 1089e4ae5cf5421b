from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.models.attention import frequencies
from monosem_jax.models.attention import rotate as rotated
from monosem_jax.models.base import SITES, parse_site, token_losses
from monosem_jax.models.objective import language_objective
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.training.config import OptimizerConfig, TrainConfig
from monosem_jax.training.optimizer import learning_rate, optimizer
from monosem_jax.training.step import State, make_step
from tests import reference
from tests.conftest import TINY, build_lively

TWO = dataclasses.replace(TINY, n_layers=2)
ALL_SITES = [f"{kind}.{layer}" for layer in range(2) for kind in SITES]


@pytest.fixture(scope="module")
def two():
    return build_lively(TWO)


def tokens(seed: int = 0, n: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, TINY.vocab_size, size=(n, 12)).astype(np.int32)


def halves(model, site):
    """(params, tokens) -> (carry, acts) and (params, carry, acts) -> logits."""
    to_acts = lambda p, t: model.apply({"params": p}, t, site, method=model.to_acts)  # noqa: E731
    from_acts = lambda p, c, a: model.apply({"params": p}, c, a, site, method=model.from_acts)  # noqa: E731
    return to_acts, from_acts


def apply(model, p, t):
    return model.apply({"params": p}, t)


def layer_norm(p, x):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def numpy_logits(params, config: TransformerConfig, context: np.ndarray) -> np.ndarray:
    """[T,V] in float64, a head and a position at a time."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    width = config.d_model // config.n_heads
    frequency = 10_000.0 ** -(np.arange(width // 2) / (width // 2))

    def turned(vector, position):
        z = (vector[: width // 2] + 1j * vector[width // 2 :]) * np.exp(1j * position * frequency)
        return np.concatenate([z.real, z.imag])

    x = p["embed"]["embedding"][context]
    for layer in range(config.n_layers):
        b = p[f"blocks_{layer}"]
        qkv = layer_norm(b["ln_attn"], x) @ b["qkv"]["kernel"]
        mixed = np.zeros_like(x)
        for head in range(config.n_heads):
            q, k, v = (qkv[:, i * config.d_model + head * width :][:, :width] for i in range(3))
            for t in range(len(x)):
                scores = [turned(q[t], t) @ turned(k[s], s) / np.sqrt(width) for s in range(t + 1)]
                weights = np.exp(np.asarray(scores) - max(scores))
                mixed[t, head * width :][:width] = weights @ v[: t + 1] / weights.sum()
        x = x + mixed @ b["attn_proj"]["kernel"]
        hidden = np.maximum(layer_norm(b["ln_mlp"], x) @ b["up"]["kernel"] + b["up"]["bias"], 0)
        x = x + hidden @ b["down"]["kernel"] + b["down"]["bias"]
    return layer_norm(p["ln_final"], x) @ p["unembed"]["kernel"]


def waves(params):
    """Parameters of the same shapes that need no random numbers; no bias is zero."""
    leaves, structure = jax.tree.flatten(params)
    made = [0.4 * np.sin(1.3 * i + 0.7 * np.arange(p.size)).reshape(p.shape) for i, p in enumerate(leaves)]
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), jax.tree.unflatten(structure, made))


def test_logits_equal_a_transformer_in_numpy(two):
    """Nothing is left at its initial 0 or 1, and attention is far from uniform."""
    rng = np.random.default_rng(4)
    model = two[0]
    params = jax.tree.map(lambda p: p + rng.normal(0, 0.3, p.shape).astype(np.float32), two[1])
    found = jax.jit(functools.partial(apply, model))(params, tokens())
    for context, logits in zip(tokens(), found, strict=True):
        np.testing.assert_allclose(logits, numpy_logits(params, TWO, context), rtol=1e-4, atol=1e-4)


def test_token_losses_equal_the_reference(two):
    logits = np.random.default_rng(1).normal(0, 5, size=(3, 12, 40)).astype(np.float32)
    for found, one, context in zip(token_losses(logits, tokens()), logits, tokens(), strict=True):
        np.testing.assert_allclose(found, reference.next_token_losses(one, context), rtol=1e-5)


@pytest.fixture(scope="module")
def eager(two):
    return np.asarray(apply(*two, tokens()))


@pytest.fixture(scope="module")
def compiled(two):
    return np.asarray(jax.jit(functools.partial(apply, two[0]))(two[1], tokens()))


@pytest.mark.parametrize("site", ALL_SITES)
def test_the_halves_composed_are_the_model_bit_for_bit(two, eager, site):
    model, params = two
    to_acts, from_acts = halves(model, site)
    np.testing.assert_array_equal(from_acts(params, *to_acts(params, tokens())), eager)


@pytest.mark.parametrize("site", ALL_SITES)
def test_the_halves_composed_in_one_program_are_the_model_bit_for_bit(two, compiled, site):
    model, params = two
    to_acts, from_acts = halves(model, site)
    composed = jax.jit(lambda p, t: from_acts(p, *to_acts(p, t)))
    np.testing.assert_array_equal(composed(params, tokens()), compiled)


@pytest.mark.parametrize("site", ALL_SITES)
def test_the_halves_compiled_apart_are_the_model_to_rounding(two, compiled, site):
    """Not bit for bit: the compiler fuses across the cut in one and not in the other."""
    model, params = two
    to_acts, from_acts = (jax.jit(half) for half in halves(model, site))
    composed = from_acts(params, *to_acts(params, tokens()))
    np.testing.assert_allclose(composed, compiled, rtol=1e-6, atol=5e-6)


@pytest.mark.parametrize("site", ALL_SITES)
def test_activations_have_the_width_of_their_site(two, site):
    _, acts = jax.eval_shape(halves(two[0], site)[0], two[1], tokens())
    assert acts.shape == (3, 12, two[0].width(site)) and acts.dtype == jnp.float32


def test_activations_of_the_hidden_layer_are_not_negative(two):
    _, acts = halves(two[0], "mlp_hidden.1")[0](two[1], tokens())
    assert float(acts.min()) == 0 and float(acts.max()) > 0.1


def test_no_loss_has_a_gradient_at_later_positions(two):
    model, params = two
    to_acts, from_acts = halves(model, "resid_pre.0")
    one = tokens(n=1)
    losses = lambda x: token_losses(from_acts(params, None, x), one)[0]  # noqa: E731
    slopes = jax.jit(jax.jacrev(losses))(to_acts(params, one)[1])[:, 0]
    size = np.abs(np.asarray(slopes)).sum(axis=-1)
    later = np.arange(12)[None] > np.arange(11)[:, None]
    assert not size[later].any() and (size[~later] > 0).all()


def test_no_loss_changes_with_later_tokens(two):
    losses = jax.jit(lambda t: token_losses(apply(*two, t), t)[0])
    before = np.asarray(losses(tokens(n=1)))
    for t in range(1, 12):
        other = tokens(n=1)
        other[0, t] = (other[0, t] + 7) % 40
        after = np.asarray(losses(other))
        np.testing.assert_array_equal(after[: t - 1], before[: t - 1])
        assert (after[t - 1 :] != before[t - 1 :]).all()


def test_contexts_do_not_affect_each_other(two):
    logits = jax.jit(functools.partial(apply, two[0]))
    other = tokens(seed=5)
    other[1] = tokens()[1]
    np.testing.assert_array_equal(logits(two[1], tokens())[1], logits(two[1], other)[1])


def rotate(x):
    return rotated(x, jnp.arange(x.shape[1])[None], frequencies(x.shape[-1]))


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = np.random.default_rng(2).normal(size=(2, 1, 1, 1, 8)).astype(np.float32)
    every = lambda a: np.asarray(rotate(jnp.tile(a, (1, 20, 1, 1))), np.float64)[0, :, 0]  # noqa: E731
    scores = every(q) @ every(k).T
    for distance in range(-19, 20):
        np.testing.assert_allclose(np.diag(scores, distance), np.diag(scores, distance)[0], atol=1e-5)
    assert np.ptp(scores[0]) > 0.5


def test_rotary_positions_keep_the_norm():
    x = jax.random.normal(jax.random.key(0), (2, 20, 2, 8))
    np.testing.assert_allclose(jnp.linalg.norm(rotate(x), axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)


def test_bfloat16_matmuls_leave_activations_and_logits_in_float32(two):
    model, params = Transformer(TWO, jnp.bfloat16), two[1]
    exact = apply(two[0], params, tokens())
    found = apply(model, params, tokens())
    assert found.dtype == halves(model, "mlp_hidden.0")[0](params, tokens())[1].dtype == jnp.float32
    assert 1e-4 < float(jnp.abs(found - exact).max()) < 0.2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_layers": 0}, "n_layers is 0"),
        ({"d_mlp": 0}, "d_mlp is 0"),
        ({"context_length": 1}, "context_length is 1"),
        ({"n_heads": 3}, "d_model 16 is not divisible by n_heads 3"),
        ({"n_heads": 16}, "head width 1 is odd"),
    ],
)
def test_config_check_names_the_impossible_value(wrong, message):
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(TINY, **wrong).check()


@pytest.mark.parametrize("site", ["mlp_hidden", "mlp_hidden.2", "mlp_hidden.-1", "mlp.0", "mlp_hidden.x", ""])
def test_an_unknown_site_is_refused(site):
    with pytest.raises(BadInput, match=r"does not exist: expected one of resid_pre\.N, .* from 0 to 1"):
        parse_site(site, 2)


GOLDEN = {
    "loss": 3.72131,
    "embed/embedding": 0.128267,
    "blocks_0/attn_proj/kernel": 0.096428,
    "blocks_0/down/bias": 0.0368255,
    "blocks_0/down/kernel": 0.129922,
    "blocks_0/ln_attn/bias": 0.0299892,
    "blocks_0/ln_attn/scale": 0.0185398,
    "blocks_0/ln_mlp/bias": 0.0344487,
    "blocks_0/ln_mlp/scale": 0.0323494,
    "blocks_0/qkv/kernel": 0.091711,
    "blocks_0/up/bias": 0.0326589,
    "blocks_0/up/kernel": 0.0762869,
    "ln_final/bias": 0.039136,
    "ln_final/scale": 0.0387919,
    "unembed/kernel": 0.212531,
}


def test_a_golden_step(two):
    """The loss, and the norm of what one Adam step adds to each parameter; nothing here is drawn at random."""
    model, params = two[0], waves(two[1])
    config = TrainConfig(learning_rate=0.01, optimizer=OptimizerConfig(eps=1e-3, clip_norm=1.0, weight_decay=0.1))
    tx = optimizer(config)
    state = State.create(params, tx, stats={}, hyper={}, key=jax.random.key(0))
    batch = (np.arange(36).reshape(3, 12) ** 2 % 37).astype(np.int32)
    after, metrics = jax.jit(make_step(language_objective(model), tx, config.guard, learning_rate(config)))(
        state, batch
    )
    moved = jax.tree.map(lambda a, b: float(np.linalg.norm(np.float64(a) - np.float64(b))), after.params, params)
    found = {"/".join(k.key for k in path): v for path, v in jax.tree_util.tree_leaves_with_path(moved)}
    found["loss"] = float(metrics["loss"].number())
    found = {name: found[name] for name in GOLDEN}
    advice = f"training has changed; if that is meant, replace the numbers of GOLDEN by those of {found}"
    assert found == pytest.approx(GOLDEN, rel=1e-4), advice
