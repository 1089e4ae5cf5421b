"""Twenty steps of dictionaries and an event between them: the same on any mesh, alone and stacked, but for rounding."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest

from monosem_jax.sae.resample import make_resampling
from monosem_jax.training.step import State
from tests import engine, reference
from tests.conftest import mesh_of
from tests.engine import CONFIG, DEAD, SCALE, STEP, WINDOW, B, Batches, F, M, moments
from tests.small_loop import assert_same, member

BEGIN, N_INPUTS = STEP - 10, 4 * B - 5
OWN = [(0, 0.05), (1, 0.1), (2, 0.02)]  # seed and L1 coefficient of the members
TRAIN = dataclasses.replace(CONFIG, steps_per_dispatch=2)
ADAM = CONFIG.optimizer


def first(i: int) -> State:
    seed, l1 = OWN[i]
    return engine.state_at(BEGIN, np.roll(DEAD, i), seed, l1)


@functools.cache
def trained(shape: tuple[int, int], members: tuple[int, ...], together: int = 0, micro_batches: int = 1):
    """(states after all steps, drawn inputs) of each member."""
    mesh, stacked = mesh_of(*shape), together > 0
    state = engine.stacked([first(i) for i in members]) if stacked else first(*members)
    group = engine.group(
        engine.placed(state, mesh, stacked), mesh, TRAIN, together=together, micro_batches=micro_batches
    )
    resampler = engine.resampler("paper", shape, together)
    dispatch, batches, drawn = group.compile(TRAIN), Batches(mesh), []
    event = make_resampling([Noted(resampler, drawn)], (STEP,), N_INPUTS, TRAIN)
    state = dispatch(dispatch(group.state, batches(BEGIN, 5))[0], batches(BEGIN + 5, 5))[0]
    (state,) = event.apply([state], STEP, batches)
    state = dispatch(dispatch(state, batches(STEP, 5))[0], batches(STEP + 5, 5))[0]
    state, draws = jax.device_get(state), np.asarray(drawn[0]).reshape(len(members), F)
    return [member(state, i) for i in range(len(members))] if stacked else [state], draws


class Noted:
    """A resampler whose draws are noted."""

    def __init__(self, resampler, drawn: list):
        self._resampler, self._drawn = resampler, drawn

    def draw(self, *args):
        self._drawn.append(self._resampler.draw(*args))
        return self._drawn[-1]

    def __getattr__(self, name: str):
        return getattr(self._resampler, name)


def alone(i: int):
    states, drawn = trained((1, 1), (i,))
    return states[0], drawn[0]


def assert_rounding(found: State, expected: State) -> None:
    engine.assert_close(found, expected, 1e-5)
    np.testing.assert_array_equal(found.stats["last_fired"], expected.stats["last_fired"])


def dead(i: int) -> np.ndarray:
    return np.roll(DEAD, i)


def test_one_device_is_the_reference():
    """Twenty steps of Adam with constraints and an event with the inputs that were drawn, in float64."""
    state, drawn = alone(0)
    p, (mu, nu), count = reference.doubles(first(0).params), moments(first(0)), 0
    rates = {"lr": CONFIG.learning_rate, "b1": ADAM.b1, "b2": ADAM.b2, "eps": ADAM.eps}
    fired = np.asarray(first(0).stats["last_fired"])
    for i in range(20):
        if BEGIN + i == STEP:
            assert list(np.flatnonzero(STEP - fired >= WINDOW)) == list(np.flatnonzero(dead(0)))
            x = engine.rows(STEP, 4).reshape(-1, M)
            p, mu, nu, fired = reference.resample(p, mu, nu, fired, STEP, WINDOW, x, dict(enumerate(drawn)))
        x = engine.rows(BEGIN + i, 1)[0] * SCALE
        fired = np.where((reference.encode(p, x) > 0).any(axis=0), BEGIN + i + 1, fired)
        p, (mu, nu, count) = reference.adam_step(p, (mu, nu, count), x, l1=OWN[0][1], **rates)
    for name in p:
        engine.close(state.params[name], p[name], 1e-5, name)
        engine.close(moments(state)[0][name], mu[name], 1e-5, f"mu of {name}")
        engine.close(moments(state)[1][name], nu[name], 1e-5, f"nu of {name}")
    np.testing.assert_array_equal(state.stats["last_fired"], fired)


def test_the_event_replaces_the_dead_features_whose_vectors_hardly_move_otherwise():
    state, _ = alone(0)
    moved = np.linalg.norm(np.asarray(state.params["W_dec"]) - np.asarray(first(0).params["W_dec"]), axis=1)
    assert moved[DEAD].min() > 0.5 > moved[~DEAD].max()


@pytest.mark.parametrize(
    ("shape", "micro_batches"), [((8, 1), 1), ((1, 8), 1), ((2, 4), 1), ((2, 4), 4)],
    ids=["8x1", "1x8", "2x4", "2x4 in four parts"],
)  # fmt: skip
def test_a_dictionary_alone_is_the_same_on_any_mesh(shape, micro_batches):
    (state,), drawn = trained(shape, (0,), 0, micro_batches)
    np.testing.assert_array_equal(drawn[0][dead(0)], alone(0)[1][dead(0)])
    assert_rounding(state, alone(0)[0])


@pytest.mark.parametrize(("shape", "together"), [((8, 1), 2), ((1, 8), 1), ((2, 4), 3)], ids=str)
def test_stacked_dictionaries_are_on_any_mesh_what_each_is_alone(shape, together):
    states, drawn = trained(shape, (0, 1, 2), together)
    for i, state in enumerate(states):
        np.testing.assert_array_equal(drawn[i][dead(i)], alone(i)[1][dead(i)])
        assert_rounding(state, alone(i)[0])


@pytest.mark.parametrize("members", [(1,), (0, 1, 2)], ids=["1", "3"])
def test_stacked_dictionaries_that_are_computed_one_at_a_time_are_bit_for_bit_what_each_is_alone(members):
    states, _ = trained((1, 1), members, 1)
    for i, state in zip(members, states, strict=True):
        assert_same(state, alone(i)[0])


def test_members_draw_other_inputs_and_end_elsewhere():
    (a, _, c), drawn = trained((1, 1), (0, 1, 2), 1)
    assert len({tuple(d[dead(i)]) for i, d in enumerate(drawn)}) == 3
    assert np.abs(np.asarray(a.params["W_enc"]) - np.asarray(c.params["W_enc"])).max() > 0.1
