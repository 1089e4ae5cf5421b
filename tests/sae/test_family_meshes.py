"""Three steps of every architecture: one device agrees with the formulas, any mesh or stack agrees with one device."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import device_put_sharded
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.objective import dictionary_objective, dictionary_optimizer
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import Ensemble
from monosem_jax.training.step import State
from tests import engine, family, reference
from tests.conftest import mesh_of
from tests.engine import close
from tests.sae.problems import (
    CASES,
    STEP,
    TRAIN,
    config_of,
    given_of,
    in_situation,
    placed,
    rows_of,
    sae_of,
    state_of,
    step_of,
)
from tests.small_loop import assert_same, member

MESHES = {"8x1": (8, 1), "2x4": (2, 4)}
NAMES = (
    "april_2024", "multi_topk", "batchtopk", "jumprelu to a target", "gated", "matryoshka", "transcoder", "crosscoder",
    "p_anneal", "abs_topk",
)  # fmt: skip
CROSSING = ("multi_topk", "abs_topk", "batchtopk", "matryoshka")  # whose features know of each other
COEFFICIENTS = {"april_2024": "l1_coefficient", "jumprelu to a target": "target_l0"}  # in which members differ


def given(name: str, i: int = 0):
    """What member i begins with: parameters, dead features and a coefficient of its own."""
    found = given_of(name, seed=i)
    found.last_fired = np.roll(found.last_fired, i)
    if name in COEFFICIENTS:
        found.hyper[COEFFICIENTS[name]] *= 1 + 0.5 * i
    return found


def first(name: str, i: int = 0) -> State:
    return state_of(name, given(name, i), seed=i, moments=True)


ADAM = TRAIN.optimizer


@functools.cache
def trained(name: str, shape: tuple[int, int] = (1, 1), members: tuple[int, ...] = (0,), together: int = 0):
    """(the state, summed metrics) of each member after three steps."""
    sae, mesh = sae_of(name), mesh_of(*shape)
    state = engine.stacked([first(name, i) for i in members]) if together else first(name, *members)
    state, tx = placed(state, mesh, together > 0), dictionary_optimizer(TRAIN, sae)
    objective = dictionary_objective(sae, mesh, n_steps=TRAIN.steps)
    group = Ensemble(state, objective, tx, [], sae_lib.RULES, mesh, together)
    state, found = jax.device_get(
        group.compile(TRAIN)(group.state, device_put_sharded(rows_of(name, 0, 3), mesh, PartitionSpec(None, "data")))
    )
    metrics = engine.totals(found.metrics)
    if not together:
        return [(state, metrics)]
    return [(member(state, i), {key: v[i] for key, v in metrics.items()}) for i in range(len(members))]


def assert_close(found, expected) -> None:
    engine.assert_close(found[0], expected[0], 2e-5)
    np.testing.assert_array_equal(found[0].stats["last_fired"], expected[0].stats["last_fired"])
    for key, value in expected[1].items():
        close(found[1][key], value, 1e-5, key)


@pytest.mark.parametrize("name", NAMES)
def test_three_steps_on_one_device_are_those_of_the_formulas(name):
    """Adam's too, with the constraint of unit vectors where the architecture has it."""
    ((state, metrics),) = trained(name)
    g, (mu, nu) = given(name), engine.moments(first(name))
    g.params, sums, case = reference.doubles(g.params), {}, CASES[name]
    unit = case.architecture not in family.FREE_ROWS
    for count in (1, 2, 3):
        g.rows = rows_of(name, count - 1)[0]
        found = family.evaluate(case, g)
        sums = {key: sums.get(key, 0) + value for key, value in found.terms.items()}
        if unit:
            found.grads["W_dec"] = reference.project(found.grads["W_dec"], g.params["W_dec"])
        for key, grad in found.grads.items():
            mu[key] = ADAM.b1 * mu[key] + (1 - ADAM.b1) * grad
            nu[key] = ADAM.b2 * nu[key] + (1 - ADAM.b2) * grad**2
            step = (mu[key] / (1 - ADAM.b1**count)) / (np.sqrt(nu[key] / (1 - ADAM.b2**count)) + ADAM.eps)
            g.params[key] = g.params[key] - TRAIN.learning_rate * step
        if unit:
            g.params["W_dec"] /= np.linalg.norm(g.params["W_dec"], axis=1, keepdims=True)
        g.last_fired = np.where(found.fired, g.step + 1, g.last_fired)
        decay = min(g.step / (g.step + 10), case.options.get("threshold_decay", 0.999))
        g.stats = family.next_stats(case, g, found.terms)
        g.threshold, g.step = decay * g.threshold + (1 - decay) * found.least, g.step + 1
    for key, value in g.params.items():
        close(state.params[key], value, 2e-5, key)
    for key, value in sums.items():
        close(metrics[key], value, 1e-5, key)
    np.testing.assert_array_equal(state.stats["last_fired"], g.last_fired)
    for key, value in g.stats.items():
        assert float(state.stats[key]) == pytest.approx(value, rel=1e-5), key
    if case.activates == "batchtopk":
        assert float(state.stats["threshold"]) == pytest.approx(g.threshold, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name in NAMES for shape in MESHES if shape == "2x4" or name in CROSSING],
)  # fmt: skip
def test_three_steps_are_the_same_on_any_mesh(name, shape):
    assert_close(trained(name, MESHES[shape])[0], trained(name)[0])


@pytest.mark.parametrize(
    ("name", "shape", "together"),
    [
        ("jumprelu to a target", (1, 1), 1), ("jumprelu to a target", (2, 4), 2), ("april_2024", (2, 4), 1),
        ("batchtopk", (2, 4), 2), ("multi_topk", (1, 1), 2), ("p_anneal", (2, 4), 2),
    ],
)  # fmt: skip
def test_stacked_members_are_what_each_is_alone(name, shape, together):
    """One at a time on one device, bit for bit."""
    for i, found in enumerate(trained(name, shape, (0, 1), together)):
        alone = trained(name, (1, 1), (i,))[0]
        assert_close(found, alone)
        if shape == (1, 1) and together == 1:
            assert_same(found[0], alone[0])
    a, b = (trained(name, (1, 1), (i,))[0][0] for i in (0, 1))
    assert np.abs(np.asarray(a.params["W_enc"]) - np.asarray(b.params["W_enc"])).max() > 0.1


@pytest.mark.parametrize("situation", ["as it comes", "ties", "all dead", "nothing positive", "few positive"])
@pytest.mark.parametrize("name", CROSSING)
def test_what_is_selected_on_eight_devices_is_that_of_the_formulas(name, situation):
    """Equal activations lie on several devices; some devices have none that is positive or dead."""
    g = in_situation(name, situation)
    if situation == "few positive":
        g.params["b_enc"][:4] = -100
        g.last_fired[8:] = STEP
    expected = family.evaluate(CASES[name], g)
    grads, stats, metrics = step_of(name, g, shape=(1, 8))
    for key, value in expected.grads.items():
        close(grads[key], value, 1e-5, key)
    assert {key: float(v) for key, v in metrics.items()} == pytest.approx(expected.terms, rel=1e-5, abs=1e-30)
    fired = expected.fired
    np.testing.assert_array_equal(stats["last_fired"], np.where(fired, STEP + 1, g.last_fired))


@pytest.mark.parametrize("name", ["april_2024", "jumprelu", "gated", "matryoshka of relu", "crosscoder", "p_anneal"])
def test_a_batch_in_parts_is_one_batch(name):
    g = given_of(name)
    (grads, stats, metrics), expected = step_of(name, g, micro_batches=2), family.evaluate(CASES[name], g)
    for key, value in expected.grads.items():
        close(grads[key], value, 1e-5, key)
    assert {key: float(v) for key, v in metrics.items()} == pytest.approx(expected.terms, rel=1e-5)
    fired = expected.fired
    assert not np.array_equal(fired, (expected.f[:4] > 0).any(axis=0))
    np.testing.assert_array_equal(stats["last_fired"], np.where(fired, STEP + 1, g.last_fired))


WHOLE = (
    "topk", "multi_topk", "batchtopk", "jumprelu to a target", "matryoshka", "matryoshka of topk", "transcoder",
    "transcoder of batchtopk", "abs_topk", "crosscoder of batchtopk",
)  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_parts_of_a_batch_are_refused_where_it_is_looked_at_as_a_whole(name):
    config = SaeRunConfig(
        source="x", sae=config_of(name), train=TrainConfig(micro_batches=2), resample=ResampleConfig(steps=())
    )  # fmt: skip
    if name in WHOLE:
        with pytest.raises(BadInput, match=r"train\.micro_batches is 2: .* looks at a batch as a whole, expected 1"):
            config.check()
    else:
        config.check()


@pytest.mark.parametrize("name", ["april_2024", "crosscoder", "transcoder", "topk", "jumprelu", "gated", "matryoshka"])
def test_resampling_is_refused_where_there_is_none(name):
    config = SaeRunConfig(source="x", sae=config_of(name))
    if name in ("april_2024", "crosscoder", "transcoder"):
        with pytest.raises(BadInput, match=r"resample\.steps is .*is trained without, expected \(\)"):
            config.check()
    else:
        config.check()
