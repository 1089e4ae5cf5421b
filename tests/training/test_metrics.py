"""Sums, means and last values: merged over steps on a device, over dispatches on the host, and through JSON."""

from __future__ import annotations

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.training.metrics import Last, Mean, Metrics, Sum, applied_only, from_json, merged, over_steps, to_json

VALUES = np.float32([3.0, 1.0, 4.0, 1.5, 9.0, 2.5])
COUNTS = np.float32([4, 4, 2, 8, 1, 4])


def step_metrics(i: int, applied: bool) -> Metrics:
    """Those of the i-th step."""
    found: Metrics = {
        "sum": Sum(jnp.float32(VALUES[i])),
        "mean": Mean.of(jnp.float32(VALUES[i]), jnp.float32(COUNTS[i])),
        "last": Last.of(VALUES[i]),
    }
    return applied_only(found, jnp.asarray(applied))


def expected(applied: np.ndarray) -> dict[str, float]:
    """What a line says of the steps that were applied."""
    if not applied.any():
        return {"sum": 0.0, "mean": math.nan, "last": math.nan}
    v, n = VALUES[: len(applied)][applied], COUNTS[: len(applied)][applied]
    return {"sum": v.sum(), "mean": (v * n).sum() / n.sum(), "last": v[-1]}


PATTERNS = [(1, 1, 1, 1, 1, 1), (0, 1, 1, 0, 1, 0), (0, 0, 0, 1, 0, 0), (1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0)]


def on_host(metrics: Metrics) -> Metrics:
    return jax.tree.map(float, metrics)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("dispatch", [1, 2, 3, 6])
def test_a_line_is_that_of_the_steps_applied_however_they_are_dispatched(pattern, dispatch):
    applied = np.asarray(pattern, bool)
    found: Metrics = {}
    for start in range(0, len(applied), dispatch):
        steps = [step_metrics(i, applied[i]) for i in range(start, start + dispatch)]
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *steps)
        found = merged(found, on_host(jax.jit(over_steps)(stacked)))
    numbers = {name: metric.number() for name, metric in found.items()}
    assert numbers == pytest.approx(expected(applied), nan_ok=True)


def test_merging_is_associative_and_keeps_names_of_either_side():
    a, b, c = (on_host(step_metrics(i, True)) for i in range(3))
    assert merged(merged(a, b), c) == merged(a, merged(b, c))
    assert merged({"x": Sum(1.0)}, {"y": Sum(2.0)}) == {"x": Sum(1.0), "y": Sum(2.0)}


def test_metrics_of_stacked_members_are_merged_apart():
    steps = [step_metrics(i, True) for i in range(6)]
    members = [[steps[i] for i in (0, 1, 2)], [steps[i] for i in (3, 4, 5)]]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *(jax.tree.map(lambda *x: jnp.stack(x), *m) for m in members))
    found = jax.vmap(over_steps)(stacked)
    for i, steps_of in enumerate(members):
        alone = over_steps(jax.tree.map(lambda *x: jnp.stack(x), *steps_of))
        assert on_host(jax.tree.map(lambda x, i=i: x[i], found)) == on_host(alone)


def test_metrics_survive_the_way_through_json():
    metrics = on_host(step_metrics(2, True))
    assert from_json(json.loads(json.dumps(to_json(metrics))), "a file") == metrics
    assert from_json({}, "a file") == {}


def test_metrics_that_are_not_finite_are_saved_as_json_and_read_again():
    text = json.dumps(
        to_json({"a": Mean(math.inf, 2.0), "b": Sum(math.nan), "c": Last(-math.inf, 1.0)}), allow_nan=False
    )
    found = from_json(json.loads(text), "a file")
    assert found["a"] == Mean(math.inf, 2.0) and found["c"] == Last(-math.inf, 1.0) and math.isnan(found["b"].total)
