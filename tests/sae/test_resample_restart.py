"""Adam's count of steps restarted by a resampling event, and the steps that follow it, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig, Resampler, make_resampling
from monosem_jax.sae.trainer import InputStatistics, SaeMember, make_ensemble
from monosem_jax.training.config import TrainConfig
from tests import engine, reference
from tests.conftest import mesh_of
from tests.engine import CONFIG, DEAD, L1, RULES, SAE, SCALE, STEP, WINDOW, B, Batches, F, M, moments, state_at
from tests.small_loop import assert_same

LATE = 5_000  # steps that Adam has counted before the event


def counted(state, count: int = LATE):
    """The state with every count of its optimizer at `count`."""
    scalars = lambda x: x if jnp.ndim(x) else jnp.int32(count)  # noqa: E731
    return state.replace(opt_state=jax.tree.map(scalars, state.opt_state))


def event(restart: bool, state=None, method: str = "paper", batches=None):
    state = counted(state_at()) if state is None else state
    resampler = Resampler(SAE, mesh_of(1, 1), RULES, window=WINDOW, method=method, restart_adam=restart)
    transform = make_resampling([resampler], (STEP,), 6 * B, TrainConfig(batch_size=B, steps_per_dispatch=4))
    return transform.apply([state], STEP, batches or Batches(mesh_of(1, 1)))[0]


def counts(state) -> list[int]:
    return [int(x) for x in jax.tree.leaves(state.opt_state) if not jnp.ndim(x)]


@pytest.mark.parametrize("method", ["paper", "kaiming"])
def test_adam_counts_from_the_event_and_all_else_is_as_without(method):
    found, expected = event(True, method=method), event(False, method=method)
    assert counts(expected) == [LATE] * len(counts(expected))
    assert counts(found)[0] == 0 and set(counts(found)[1:]) <= {LATE}
    assert_same(found, expected, but=[".count"])


def test_adam_counts_on_where_no_feature_was_dead():
    assert set(counts(event(True, counted(state_at(dead=np.zeros(F, bool)))))) == {LATE}


@pytest.mark.parametrize("restart", [True, False])
def test_the_steps_after_an_event_equal_the_reference(restart):
    """With the count at 0 no weight of a new feature moves by more than the learning rate; else by several."""
    batches = Batches(mesh_of(1, 1))
    state = event(restart, batches=batches)
    p, (mu, nu), count = reference.doubles(state.params), moments(state), 0 if restart else LATE
    before = np.array(state.params["W_enc"], np.float64)
    adam = CONFIG.optimizer
    rates = {"lr": CONFIG.learning_rate, "b1": adam.b1, "b2": adam.b2, "eps": adam.eps}
    step = engine.group(state, mesh_of(1, 1)).compile(CONFIG)
    after, _ = step(state, jnp.asarray(engine.rows(STEP, 1)))
    p, (mu, nu, count) = reference.adam_step(p, (mu, nu, count), engine.rows(STEP, 1)[0] * SCALE, l1=L1, **rates)
    for name in p:
        engine.close(after.params[name], p[name], 1e-5, name)
    largest = np.abs(np.asarray(after.params["W_enc"], np.float64) - before)[:, DEAD].max() / CONFIG.learning_rate
    assert 0.5 < largest < 1.001 if restart else 2 < largest < 3.2


def test_members_restart_only_where_they_had_a_dead_feature():
    """Two dictionaries in one program: the first has dead features, the second none."""
    members = [counted(state_at(seed=1)), counted(state_at(seed=2, dead=np.zeros(F, bool)))]
    state = engine.stacked(members)
    resampler = Resampler(SAE, mesh_of(1, 1), RULES, window=WINDOW, method="paper", restart_adam=True, together=1)
    transform = make_resampling([resampler], (STEP,), 6 * B, TrainConfig(batch_size=B, steps_per_dispatch=4))
    found = transform.apply([engine.placed(state, mesh_of(1, 1), stacked=True)], STEP, Batches(mesh_of(1, 1)))[0]
    adam = [x for x in jax.tree.leaves(found.opt_state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(x, "mu")]
    assert np.asarray(adam[0].count).tolist() == [0, LATE]


def test_the_paper_does_not_restart_and_the_configuration_is_handed_on():
    train = TrainConfig(steps=1000, batch_size=B)
    assert ResampleConfig().restart_adam is False and not ResampleConfig().resolve(train).restart_adam
    assert ResampleConfig(restart_adam=True).resolve(train).restart_adam
    for restart in (True, False):
        schedule = ResampleConfig(steps=(STEP,), window=WINDOW, n_inputs=6 * B, restart_adam=restart).resolve(train)
        own = SaeMember(0, ReluConfig(n_features=F))
        made = make_ensemble(SAE, [own], InputStatistics.unseen((M,)), mesh_of(1, 1), train, schedule)
        transform = make_resampling([made.resampler], (STEP,), 6 * B, TrainConfig(batch_size=B, steps_per_dispatch=4))
        found = transform.apply([counted(state_at())], STEP, Batches(mesh_of(1, 1)))[0]
        assert counts(found)[0] == (0 if restart else LATE)
