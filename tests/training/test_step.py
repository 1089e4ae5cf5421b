"""One step, and a dispatch of many steps, as pure functions; states are created directly on their devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.objective import dictionary_optimizer
from monosem_jax.sae.params import RULES
from monosem_jax.training.config import OptimizerConfig, TrainConfig
from monosem_jax.training.optimizer import learning_rate, optimizer
from monosem_jax.training.step import State, create_state, make_dispatch, make_step, over_members
from tests import engine, reference
from tests import small_loop as toy
from tests.conftest import mesh_of
from tests.engine import CONFIG, L1, SCALE, STEP, B, F, M
from tests.small_loop import assert_same

TOY = toy.config_of()


def toy_state(**values) -> State:
    return toy.initial(optimizer(TOY), **values)


def steps_of(n: int, state: State | None = None, batches: toy.Batches | None = None):
    """[(state, metrics)] after each of n steps, one at a time."""
    step, found = (
        jax.jit(make_step(toy.objective, optimizer(TOY), TOY.guard, learning_rate(TOY))),
        [(state or toy_state(), {})],
    )
    for i in range(n):
        found.append(step(found[-1][0], (batches or toy.Batches())(i, 1)[0]))
    return found[1:]


def test_a_new_state_has_done_and_skipped_nothing_and_is_not_frozen():
    state = toy_state()
    assert int(state.step) == 0 and not any(bool(x.any()) for x in jax.tree.leaves(state.opt_state))
    assert {name: float(v) for name, v in state.guard.items()} == {
        "skipped": 0, "in_a_row": 0, "frozen_at": -1, "level": 0,
    }  # fmt: skip


def test_a_step_counts_itself_and_changes_neither_key_nor_hyper():
    state, (after, _) = toy_state(), steps_of(1)[0]
    assert int(after.step) == 1
    assert_same(after, state, but=[".step", ".params", ".opt_state", ".stats", ".guard"])


def test_statistics_are_those_that_the_objective_returns():
    found = [float(state.stats["seen"]) for state, _ in steps_of(2)]
    noise = [float(jax.random.uniform(jax.random.fold_in(jax.random.key(toy.SEED), i))) for i in range(2)]
    assert found == pytest.approx(np.cumsum(noise))


def test_the_norm_of_the_gradient_is_a_metric_that_counts_as_the_others_do():
    _, result = engine.group(engine.state_at(), mesh_of(1, 1)).compile(CONFIG)(engine.state_at(), engine.rows(0, 1))
    grads = reference.gradients(engine.state_at().params, engine.rows(0, 1)[0] * SCALE, L1)
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    assert float(result.metrics["grad_norm"].number()) == pytest.approx(norm, rel=1e-5)


def test_a_dispatch_is_its_steps_one_by_one():
    state, result = jax.jit(make_dispatch(toy.objective, optimizer(TOY), TOY))(toy_state(), toy.Batches()(0, 5))
    alone = steps_of(5)
    for (name, found), expected in zip(toy.bits(state).items(), toy.bits(alone[-1][0]).values(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=name)
    assert result.frozen_at == -1 and result.signal is None
    assert result.metrics.keys() == alone[0][1].keys() == {"loss", "grad_norm", "learning_rate", "skipped"}
    for name in ("loss", "grad_norm"):
        total, count = (sum(float(m[name][i]) for _, m in alone) for i in (0, 1))
        assert tuple(map(float, result.metrics[name])) == pytest.approx((total, count), rel=1e-6), name
    assert float(result.metrics["skipped"].number()) == 0
    assert float(result.metrics["learning_rate"].number()) == pytest.approx(TOY.learning_rate)


def test_gradients_are_clipped_by_the_norm_of_all_of_them_together(mesh8):
    """Adam hides a factor of the gradients but for its eps, which is large here."""
    config = TrainConfig(batch_size=B, learning_rate=1e-2, optimizer=OptimizerConfig(eps=1.0, clip_norm=0.05))
    state = engine.state_at()
    state = state.replace(opt_state=dictionary_optimizer(config).init(state.params))
    group = engine.group(engine.placed(state, mesh8), mesh8, config)
    state, _ = group.compile(config)(group.state, engine.Batches(mesh8)(0, 1))
    grads = reference.gradients(engine.state_at().params, engine.rows(0, 1)[0] * SCALE, L1)
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    assert norm > 0.1
    g = 0.05 / norm * grads["b_enc"]
    moved = np.asarray(state.params["b_enc"]) - np.asarray(engine.state_at().params["b_enc"])
    np.testing.assert_allclose(moved, -1e-2 * g / (np.abs(g) + 1), rtol=1e-3, atol=1e-7)


def make_state() -> State:
    return engine.state_at(seed=1)


def test_a_state_is_made_where_the_rules_say(any_mesh8):
    state = create_state(make_state, RULES, any_mesh8)
    engine.assert_close(state, make_state(), 1e-6)
    shards = any_mesh8.shape["model"]
    local = {"W_enc": (M, F // shards), "b_enc": (F // shards,), "W_dec": (F // shards, M), "b_dec": (M,)}
    adam = next(s for s in state.opt_state if hasattr(s, "mu"))
    for tree in (state.params, adam.mu, adam.nu):
        assert {name: x.addressable_shards[0].data.shape for name, x in tree.items()} == local
    assert state.stats["last_fired"].addressable_shards[0].data.shape == (F // shards,)


def test_each_of_stacked_members_is_made_from_its_own_and_laid_out_like_one_alone(mesh8):
    make = lambda seed, pull: toy_state(seed=seed, pull=pull)  # noqa: E731
    seeds, pulls = np.asarray([3, 4, 8], np.uint32), np.asarray([0.1, 0.2, 0.3], np.float32)
    state = create_state(make, {"w": PartitionSpec(), "*": PartitionSpec()}, mesh8, seeds, pulls)
    assert state.step.shape == () and state.params["w"].shape == (3, 3)
    for i in range(3):
        assert_same(toy.member(state, i), make(int(seeds[i]), pulls[i]))


def test_a_dispatch_keeps_the_layout_takes_the_memory_over_and_is_compiled_once(mesh8, caplog):
    state, batches = create_state(make_state, RULES, mesh8), engine.Batches(mesh8)
    dispatch = engine.group(state, mesh8).compile(CONFIG)
    first = state.params["W_enc"]
    with jax.log_compiles():
        for i in range(3):
            state, result = dispatch(state, batches(STEP + 2 * i, 2))
    assert sum("Compiling jit(dispatch)" in r.getMessage() for r in caplog.records) == 1
    assert first.is_deleted()
    for name, spec in ((n, s) for n, s in RULES.items() if n in {**state.params, **state.stats}):
        found = {**state.params, **state.stats}[name].sharding
        assert found.is_equivalent_to(NamedSharding(mesh8, spec), 2 if name.startswith("W") else 1), name
    assert all(array.sharding.is_fully_replicated for array in jax.tree.leaves(result))


def test_a_function_for_no_members_is_the_function():
    assert over_members(make_state, 0) is make_state


@pytest.mark.parametrize("together", [1, 2, 3, 5])
def test_members_have_their_own_and_see_what_is_shared(together):
    """What is returned is stacked, but for the step of a state, on which conditions may then depend."""
    members = [toy_state(seed=s) for s in range(3)]

    def function(state, shared, own):
        state = jax.lax.cond(state.step == 0, lambda s: s.replace(step=s.step + 2), lambda s: s, state)
        return state, shared + own + state.params["w"][0]

    state, number = over_members(function, together)(engine.stacked(members), 100, jnp.asarray([10, 20, 30]))
    np.testing.assert_array_equal(number, [110, 121, 132])
    assert state.step.shape == () and int(state.step) == 2
    for i, member in enumerate(members):
        assert_same(toy.member(state, i), member, but=[".step"])


def test_a_batch_that_the_mesh_does_not_divide_is_refused_when_the_mesh_is_opened():
    with pytest.raises(BadInput, match="12 is not divisible by the 8 data shards"):
        TrainConfig(batch_size=12).open_mesh()
    assert TrainConfig(batch_size=12, mesh="data=2,model=4").open_mesh().shape["data"] == 2
    assert TrainConfig(batch_size=12).open_mesh("data=4,model=2").shape["data"] == 4
    assert TrainConfig(batch_size=12, mesh="data=2,model=4").open_mesh("data=8").shape["data"] == 2
