"""The results of a step of every architecture: gradients, terms and statistics, compared with `tests.family`."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae import trainer as dictionaries
from monosem_jax.sae.objective import dictionary_objective, dictionary_optimizer
from tests import engine, family
from tests.conftest import mesh_of
from tests.engine import close
from tests.family import Given
from tests.sae.problems import (
    CASES,
    DEAD,
    SITUATIONS,
    TRAIN,
    B,
    compiled,
    given_of,
    in_situation,
    sae_of,
    scale_of,
    state_of,
    step_of,
)

AUXILIARY = [name for name, case in CASES.items() if case.with_aux]
BATCHES = [name for name, case in CASES.items() if case.activates == "batchtopk"]


def assert_found(name, given, found, rtol: float = 1e-5, but: tuple[str, ...] = ()) -> None:
    """All that a step found out is what the reference does."""
    grads, stats, metrics = found
    expected = family.evaluate(CASES[name], given)
    assert grads.keys() == given.params.keys()
    for key in grads.keys() - set(but):
        close(grads[key], expected.grads[key], rtol, key)
    assert {k: float(v) for k, v in metrics.items()} == pytest.approx(expected.terms, rel=rtol, abs=1e-30)
    fired = expected.fired
    np.testing.assert_array_equal(stats["last_fired"], np.where(fired, given.step + 1, given.last_fired))
    if "threshold" in stats:
        decay = min(given.step / (given.step + 10), CASES[name].options.get("threshold_decay", 0.999))
        kept = decay * given.threshold + (1 - decay) * expected.least if fired.any() else given.threshold
        assert float(stats["threshold"]) == pytest.approx(kept, rel=rtol)
    for key, value in family.next_stats(CASES[name], given, expected.terms).items():
        assert float(stats[key]) == pytest.approx(value, rel=rtol), key


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_step_finds_out_what_the_formulas_say(name, situation):
    given = in_situation(name, situation)
    assert_found(name, given, step_of(name, given))


@pytest.mark.parametrize(
    ("name", "key"),
    [("april_2024", "l1_coefficient"), ("gated", "l1_coefficient"),
     ("p_anneal", "l1_coefficient"), ("jumprelu", "l0_coefficient")],
)  # fmt: skip
@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (4, 0.5), (9, 1.0), (30, 1.0)])
def test_the_coefficient_of_sparsity_rises_from_the_first_step_to_the_last_of_its_warm_up(name, key, step, share):
    given = given_of(name, step=step)
    found = step_of(name, given, l1_warmup=10)
    given.hyper[key] *= share
    assert_found(name, given, found)


@pytest.mark.parametrize("name", ["april_2024", "multi_topk", "jumprelu", "gated", "matryoshka", "transcoder"])
def test_bfloat16_operands_give_fp32_sums_close_to_those_of_fp32(name):
    """A few features are chosen otherwise, which is no error."""
    given = given_of(name)
    (grads, _, metrics), expected = step_of(name, given, dtype="bfloat16"), family.evaluate(CASES[name], given)
    assert {x.dtype for x in (*grads.values(), *metrics.values())} == {jnp.dtype(jnp.float32)}
    for key, want in expected.grads.items():
        off = np.linalg.norm(grads[key] - want) / max(np.linalg.norm(want), 1e-30)
        assert off < (0.6 if key == "log_threshold" else 0.25), (key, off)
    assert any(not np.allclose(grads[key], want, rtol=1e-4, atol=0) for key, want in expected.grads.items())
    assert float(metrics["loss"]) == pytest.approx(expected.terms["loss"], rel=0.03)


@pytest.mark.parametrize("name", ["multi_topk", "gated", "matryoshka", "transcoder"])
def test_all_products_of_matrices_take_bfloat16_operands(name):
    """In the backward pass too: of two matrices in fp32 none is multiplied."""
    given = given_of(name)
    text = compiled(name, "bfloat16").lower(state_of(name, given), jnp.asarray(given.rows)).as_text()
    dots = re.findall(r"stablehlo\.dot_general.*: \(tensor<(.*)>, tensor<(.*)>\) -> tensor<(.*)>", text)
    matrices = [dot for dot in dots if all(shape.count("x") == 2 for shape in dot)]
    assert len(matrices) >= 7
    assert all(a.endswith("xbf16") and b.endswith("xbf16") and out.endswith("xf32") for a, b, out in matrices)


def test_bfloat16_rows_are_summed_in_full():
    """257 equal rows: their number is no bfloat16 number, nor is the sum of their gradients, which are 1/2 each."""
    n = 257
    options = {"n_features": 1, "k": 1, "aux_coefficient": 0.0}
    sae = sae_lib.build(sae_lib.find("matryoshka")(groups=(1,), activation="topk", **options), 1, jnp.bfloat16)
    params = {"W_enc": np.ones((1, 1)), "b_enc": np.zeros(1), "W_dec": np.full((1, 1), 0.5), "b_dec": np.zeros(1)}
    given = Given(params, np.ones((n, 1)), {**sae.config.hyper(), "input_scale": 1.0}, 0, np.zeros(1, np.int32))
    objective = jax.jit(dictionary_objective(sae, mesh_of(1, 1)))
    found = objective(state_of("matryoshka of topk", given, sae), jnp.ones((n, 1)))
    grads, terms = found.grads, engine.in_batch(found)
    # Errors are -1 of the empty prefix and -1/2 of the whole; half of the latter's gradient goes through the encoder.
    assert {key: float(g.sum()) for key, g in grads.items()} == {
        "W_enc": -0.25, "b_enc": -0.25, "W_dec": -0.5, "b_dec": -1.25,
    }  # fmt: skip
    assert float(terms["mse"]) == n / 4 and float(terms["loss"]) == n * 0.625 and float(terms["l0"]) == n


@pytest.mark.parametrize("name", AUXILIARY)
def test_a_latent_that_was_silent_for_more_rows_than_fp32_or_int32_can_count_is_dead(name):
    """2³² of them, or 2³¹ and more: 300,000 steps of 8192 rows."""
    for step in (2**32 // B, 2**31 // B + 5):
        given = given_of(name, step=step)
        given.last_fired[:] = np.where(DEAD, 0, step)
        assert_found(name, given, step_of(name, given))


@pytest.mark.parametrize("name", ["april_2024", "crosscoder"])
def test_a_vector_of_zeros_has_a_gradient(name):
    """Of its norm that is zero by definition, as the error's is where a feature is silent."""
    given = given_of(name)
    given.params["W_dec"][DEAD], given.params["b_enc"][DEAD] = 0, -100
    grads, _, metrics = step_of(name, given)
    assert all(np.isfinite(g).all() for g in (*grads.values(), metrics["loss"]))
    assert not np.any(grads["W_dec"][DEAD])


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("step", [0, 1, 1_000_000])
def test_the_threshold_is_a_mean_over_more_and_more_steps(name, step):
    """At first it is the batch's."""
    given = given_of(name, step=step)
    stats = step_of(name, given)[1]
    decay = {0: 0.0, 1: 1 / 11}.get(step, CASES[name].options.get("threshold_decay", 0.999))
    least = family.evaluate(CASES[name], given).least
    assert float(stats["threshold"]) == pytest.approx(decay * given.threshold + (1 - decay) * least, rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_it_begins_as_its_docstring_says(name):
    """As `dictionaries.initial_state` makes it, from the median and the variance of activations."""
    case, sae = CASES[name], sae_of(name)
    median, variance = np.arange(1.0, sum(case.parts) + 1), np.linspace(1, 2, sum(case.parts))
    statistics = dictionaries.InputStatistics(scale_of(name), median, variance, case.parts)
    state = dictionaries.initial_state(sae, dictionary_optimizer(TRAIN, sae), statistics, 3, sae.config.hyper())
    p, free = family.doubles(state.params), case.architecture in family.FREE_ROWS and case.activates == "relu"
    assert {k: v.shape for k, v in p.items()} == {k: v.shape for k, v in given_of(name).params.items()}
    np.testing.assert_allclose(np.linalg.norm(p["W_dec"], axis=1), 0.1 if free else 1.0, rtol=1e-5)
    assert np.abs(p["W_dec"].mean()) < 0.2 * np.abs(p["W_dec"]).mean()
    if case.architecture == "transcoder":
        bound = case.parts[0] ** -0.5
        assert 0.8 * bound < np.abs(p["W_enc"]).max() <= bound
    else:
        np.testing.assert_array_equal(p["W_enc"], p["W_dec"].T)
    at_median = case.architecture in ("topk", "abs_topk", "batchtopk", "matryoshka", "transcoder")
    np.testing.assert_array_equal(p["b_dec"], at_median * case.split(median)[1])
    theta = np.log(case.initial_threshold) if case.architecture == "jumprelu" else 0.0
    for key in p.keys() - {"W_enc", "W_dec", "b_dec"}:
        np.testing.assert_allclose(p[key], theta if key == "log_threshold" else 0.0, rtol=1e-6, err_msg=key)
    hyper = {key: np.asarray(v, np.float64) for key, v in state.hyper.items()}
    np.testing.assert_array_equal(hyper.pop("input_scale"), np.asarray(scale_of(name)))
    if case.architecture in family.IN_VARIANCES:
        assert float(hyper.pop("variance")) == pytest.approx(case.split(variance)[1].mean())
    assert {key: float(v) for key, v in hyper.items()} == pytest.approx(sae.config.hyper())


def test_the_default_groups_of_matryoshka_are_halved_from_the_last_to_the_first():
    config = sae_lib.find("matryoshka")
    assert config(n_features=4096).ends() == (256, 512, 1024, 2048, 4096)
    assert config(n_features=24, groups=(2, 4, 18)).ends() == (2, 6, 24)
    for groups in (
        (2, 4), (0.5, 0.25), (), (24, 0), (-1, 25), (0.01, 0.99), (math.nan, 1), (math.inf,), (1.5, 1.0, 21.5),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=r"sae\.groups is .*: expected shares, or numbers of features, that make 24"):
            config(n_features=24, groups=groups, k=3).check()
