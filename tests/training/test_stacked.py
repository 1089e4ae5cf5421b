"""Dictionaries of several seeds and L1 coefficients trained together from one read equal those trained alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.activations.sources.base import ActivationSource
from monosem_jax.runtime.rng import jax_key
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.sae import trainer
from monosem_jax.sae.architectures import build
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.objective import dictionary_optimizer
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import train_sae
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import GuardConfig, TrainConfig
from monosem_jax.training.ensemble import member_of
from monosem_jax.training.step import State
from tests.conftest import mesh_of
from tests.engine import B, Batches, M, initial_state, rows
from tests.small_loop import assert_same, lines, logged

STEPS, EVENT, SCALE, FROZEN_AT = 24, 12, 0.5, 4
CONFIG = SaeRunConfig(
    source="x", sae=ReluConfig(n_features=24),
    train=TrainConfig(
        steps=STEPS, batch_size=B, learning_rate=5e-2, steps_per_dispatch=4, checkpoint_every=8, log_every=4,
        evaluate_every=4, guard=GuardConfig(stop_after=FROZEN_AT), compute_dtype="float32",
    ),
    resample=ResampleConfig(steps=(EVENT,), window=3, n_inputs=5 * B),
)  # fmt: skip
MEMBERS = {"plain": (0, 0.02), "absurd": (1, 3e38), "sparse": (2, 2.0)}
MEDIAN = np.linspace(0.1, 0.4, M, dtype=np.float32)


class Rows:
    """Rows that are kept from training."""

    n_rows = 50

    def read(self, start: int, stop: int) -> np.ndarray:
        return rows(900, 4).reshape(-1, M)[start:stop]


def own(name: str) -> SaeRunConfig:
    seed, l1 = MEMBERS[name]
    return dataclasses.replace(CONFIG, seed=seed, sae=dataclasses.replace(CONFIG.sae, l1_coefficient=l1))


def train(path: pathlib.Path, names: list[str]):
    """(name -> state, result, calls of the batches); what is finished is written."""
    batches, resample = Batches(mesh_of(1, 1)), CONFIG.resample.resolve(CONFIG.train)
    source = ActivationSource("rows", M, np.dtype(np.float32), {}, lambda mesh: batches, heldout=Rows())
    statistics = trainer.InputStatistics(SCALE, jnp.asarray(MEDIAN), np.ones(M), (M,))
    evaluator = train_sae.Evaluator(source, SCALE, batches.mesh, CONFIG.evaluate)
    sae = build(CONFIG.sae, M, jnp.float32)
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(RunDir(path / name, "train_sae", {}, {})) for name in names]
        members = [trainer.SaeMember(own(n).seed, own(n).sae, run) for n, run in zip(names, runs, strict=True)]
        made = trainer.make_ensemble(sae, members, statistics, batches.mesh, CONFIG.train, resample)
        result = trainer.train_ensembles([made], batches, CONFIG.train, resample, "test")
        states = {name: member_of(result.states[0], i, made.ensemble) for i, name in enumerate(names)}
        for i, (name, run) in enumerate(zip(names, runs, strict=True)):
            frozen = result.frozen[0][i]
            run.finish(
                train_sae.summarize(
                    run.path, own(name).sae, sae, states[name], result, evaluator, CONFIG.train, 1.0, frozen
                )
            )
    return states, result, batches.calls


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """(path, states, result, calls) of all members in one group."""
    path = tmp_path_factory.mktemp("together")
    return path, *train(path, list(MEMBERS))


@pytest.fixture(scope="module", params=["plain", "sparse"])
def alone(request, tmp_path_factory):
    """(name, path, state, calls) of one of the members alone."""
    path = tmp_path_factory.mktemp("alone")
    states, _, calls = train(path, [request.param])
    return request.param, path, states[request.param], calls


def summary(path: pathlib.Path, name: str) -> dict:
    return json.loads((path / name / "summary.json").read_text())


def test_each_member_is_bit_for_bit_what_it_is_alone(together, alone):
    name, _, state, _ = alone
    assert_same(together[1][name], state)


def test_each_member_logs_what_it_logs_alone(together, alone):
    name, path, _, _ = alone
    assert lines(together[0] / name) == lines(path / name)
    assert [line["step"] for line in lines(path / name) if "silent" in line] == list(range(4, STEPS + 1, 4))


def test_each_member_is_evaluated_as_it_is_alone(together, alone):
    name, path, _, _ = alone
    found, expected = (summary(p, name) for p in (together[0], path))
    assert found.pop("rows_per_second") > 0 and expected.pop("rows_per_second") > 0
    assert found.pop("checkpoint_stall_seconds") >= 0 and expected.pop("checkpoint_stall_seconds") >= 0
    assert found == expected and found["l1_coefficient"] == MEMBERS[name][1] and "diverged_at_step" not in found


def test_all_members_are_trained_on_one_read_of_the_batches(together, alone):
    """Each dispatch reads its four batches, and the event five of them twice."""
    assert together[3] == alone[3]
    assert sorted(together[3]) == sorted([(i, 4) for i in range(0, STEPS, 4)] + 2 * [(EVENT, 4), (EVENT + 4, 1)])


def test_members_have_their_own_seed_and_coefficient(together):
    states = together[1]
    for i, name in enumerate(MEMBERS):
        assert float(states[name].hyper["l1_coefficient"]) == pytest.approx(MEMBERS[name][1])
        assert states[name].key == jax_key("sae.train", i) != jax_key("sae.init", i)
    l1 = {name: [line["l1"] for line in lines(together[0] / name) if "l1" in line][-1] for name in ("plain", "sparse")}
    assert l1["sparse"] < 0.7 * l1["plain"]


def beginning(name: str) -> State:
    """The state before the first step, of a member that is made alone."""
    sae = build(CONFIG.sae, M, jnp.float32)
    return initial_state(sae, dictionary_optimizer(CONFIG.train), MEDIAN, SCALE, *MEMBERS[name])


def test_a_dictionary_begins_with_the_median_as_its_decoder_bias_and_unit_vectors():
    state = beginning("plain")
    np.testing.assert_array_equal(state.params["b_dec"], MEDIAN)
    np.testing.assert_allclose(np.linalg.norm(state.params["W_dec"], axis=1), 1, rtol=1e-6)
    assert {name: float(v) for name, v in state.hyper.items()} == pytest.approx(
        {"l1_coefficient": 0.02, "input_scale": 0.5}
    )
    assert not state.stats["last_fired"].any()


def test_an_absurd_member_is_given_up_and_stays_as_it_began_also_through_an_event(together):
    path, states, result, _ = together
    assert result.frozen == [[None, FROZEN_AT, None]]
    found, began = states["absurd"], beginning("absurd")
    for name in began.params:
        np.testing.assert_allclose(found.params[name], began.params[name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert not any(np.any(x) for x in jax.tree.leaves(found.opt_state)) and not found.stats["last_fired"].any()
    told = summary(path, "absurd")
    assert told["diverged_at_step"] == FROZEN_AT and told["steps_skipped"] == STEPS
    assert [line["step"] for line in lines(path / "absurd")] == [FROZEN_AT]


def test_the_event_replaces_what_is_dead_in_the_other_members(together):
    """A report at the step of the event sees the state before it."""
    silent = logged(together[0] / "sparse", "silent")
    assert silent[EVENT] > 10 and silent[EVENT + 4] < silent[EVENT] - 5, silent
