"""Time divided over parts, and over the turns of one part."""

import time

import jax.numpy as jnp
import pytest

from experiments.bench.budget import Budget, TimedWork, repeated, take_turns


def test_what_one_part_leaves_unspent_goes_to_those_after_it():
    budget = Budget(100.0, {"a": 1.0, "b": 1.0, "c": 2.0})
    assert budget.take("a") == pytest.approx(25, abs=1)
    assert budget.take("b") == pytest.approx(100 / 3, abs=1)
    assert budget.take("c") == pytest.approx(100, abs=1)


def test_a_spent_budget_leaves_nothing():
    assert Budget(0.0, {"a": 1.0}).take("a") == 0.0


def test_a_turn_repeats_its_work_until_it_is_long_enough_and_counts_it():
    called = []

    def once():
        called.append(1)
        time.sleep(0.01)
        return jnp.zeros(())

    turn = TimedWork(repeated(once), 5.0, 0.05)
    assert len(called) == 2 and 0.02 < turn.seconds < 0.08
    times = turn() / 5.0
    assert 2 <= times <= 5 and len(called) == 2 + times


def test_turns_are_taken_as_often_as_there_is_time_for():
    turns = {name: TimedWork(lambda n: time.sleep(0.01 * n), 1.0, 0.01) for name in "ab"}
    rounds, found = take_turns(turns, 3, 10.0)
    assert rounds == 3 and [len(v) for v in found.values()] == [3, 3]
    assert all(rate < 101 for rate in found["a"])
    assert take_turns(turns, 3, -1.0) == (0, {name: [turn.rate] for name, turn in turns.items()})
