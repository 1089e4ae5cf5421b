"""How the exponent of p-annealing falls, and that the penalty's strength does not."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.architectures.p_anneal import FLOOR, AnnealedLp, PAnnealConfig, power
from monosem_jax.sae.ops.strategy import Dense
from monosem_jax.sae.step_context import StepContext

N = 1000
PENALTY = AnnealedLp(start=0.1, p_end=0.2, updates=10)


def exponent(step: int, n_steps: int = N) -> float:
    return float(PENALTY.exponent(PENALTY.updates_done(step, n_steps)))


def test_the_exponent_falls_in_ten_equal_parts_after_a_constant_phase():
    found = [exponent(step) for step in range(0, N, 10)]
    assert found[:10] == [1.0] * 10 and exponent(99) == 1.0 and exponent(100) < 1.0
    np.testing.assert_allclose(found[10::9], np.arange(0.92, 0.19, -0.08), rtol=1e-6)
    assert exponent(909) > exponent(910) == exponent(N - 1) == pytest.approx(0.2)


def test_without_a_length_of_training_it_stays_one():
    assert exponent(5000, 0) == 1.0


@pytest.mark.parametrize(("step", "changes"), [(98, False), (99, True), (150, False), (189, True)])
def test_an_update_keeps_the_strength_of_the_penalty(step, changes):
    """Of activations that are the same on every batch, to the last digit."""
    f = jnp.asarray(np.random.default_rng(0).exponential(0.1, 64), jnp.float32)
    stats = {"lp_scale": jnp.float32(1.5), "lp_sum": jnp.float32(0), "lp_sum_next": jnp.float32(0)}
    ctx = StepContext(Axes(1, 1), {}, stats, jnp.int32(step), 1, 64, Dense(), N)
    now, after = (jnp.sum(power(f, jnp.float32(exponent(step + later)))) for later in (0, 1))
    done = PENALTY.updates_done(step, N)
    following = jnp.sum(power(f, PENALTY.exponent(done + 1)))
    new = PENALTY.update_stats(ctx, {"lp": now, "lp_next": following})
    assert (float(new["lp_scale"]) != 1.5) == changes
    assert float(new["lp_scale"] * after) == pytest.approx(1.5 * float(now), rel=1e-6)
    assert (float(new["lp_sum"]) == 0) == changes


def test_where_nothing_is_active_the_coefficient_stays():
    zero = {"lp_scale": jnp.float32(1.5), "lp_sum": jnp.float32(0), "lp_sum_next": jnp.float32(0)}
    ctx = StepContext(Axes(1, 1), {}, zero, jnp.int32(99), 1, 64, Dense(), N)
    new = PENALTY.update_stats(ctx, {"lp": jnp.float32(0), "lp_next": jnp.float32(0)})
    assert float(new["lp_scale"]) == 1.5


def test_powers_are_a_line_near_zero():
    f = jnp.asarray([0.0, FLOOR / 2, FLOOR, 0.25], jnp.float32)
    found = power(f, jnp.float32(0.5))
    np.testing.assert_allclose(found, [0, FLOOR**0.5 / 2, FLOOR**0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"p_end": 1.2}, r"sae\.p_end is 1\.2: expected 0 to 1"),
        ({"p_updates": 0}, r"sae\.p_updates is 0: expected 1 or more"),
        ({"anneal_start": -1.0}, r"sae\.anneal_start is -1\.0: expected a number of steps"),
    ],
)
def test_impossible_keys_are_named(values, message):
    with pytest.raises(BadInput, match=message):
        PAnnealConfig(**values).check()


def test_a_constant_phase_as_long_as_the_training_is_refused():
    late = AnnealedLp(start=2000.0)
    with pytest.raises(BadInput, match=r"sae\.anneal_start is 2000\.0: expected fewer than the 1000 of train\.steps"):
        late.updates_done(0, N)
