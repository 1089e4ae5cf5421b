"""Visiting only the active features gives the same results as dense products, for every architecture."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.runtime.mesh import device_put_sharded
from monosem_jax.sae.objective import dictionary_objective
from monosem_jax.sae.ops import gathered_matmul as index
from monosem_jax.sae.ops import sparse_matmul as sparse
from monosem_jax.sae.ops.strategy import visiting_product
from tests.conftest import mesh_of
from tests.engine import close, in_batch
from tests.family import Given
from tests.sae.problems import CASES, VARIANCE, parameters, placed, sae_of, state_of

M, F, B = 128, 2048, 32
# Of TopK few features are visited whatever there is, more of them than one piece has room for; each group of a
# Matryoshka dictionary is wide enough.
CHANGES: dict[str, dict[str, Any]] = {
    "april_2024": {}, "topk": {"k": 34, "k_aux": 40}, "multi_topk": {"aux_coefficient": 0.0},
    "abs_topk": {"k": 12, "k_aux": 40},
    "jumprelu to a target": {"bandwidth": 0.02}, "gated": {},
    "matryoshka": {"n_features": 2 * F, "groups": (F, F), "aux_coefficient": 0.0},
    "topk on two devices": {"n_features": 2 * F, "k_aux": 40},
}  # fmt: skip
BY_K = ("topk", "abs_topk", "multi_topk", "matryoshka", "topk on two devices")  # what is active is decided by k


def case_of(name: str) -> str:
    return name.removesuffix(" on two devices")


def mesh(name: str):
    return mesh_of(1, 1 if name == case_of(name) else 2)


def problem(name: str, share: float, dead: float = 0.02) -> tuple[Any, Given]:
    """(the module, a batch): a `share` of what features are made from is positive, and of them `dead` are dead."""
    changes = {"n_features": F, **CHANGES[name]}
    sae, n = sae_of(case_of(name), parts=(M,), **changes), changes["n_features"]
    case = dataclasses.replace(CASES[case_of(name)], parts=(M,))
    params = parameters(case, 0, n)
    rng = np.random.default_rng(5)
    rows = rng.normal(0.1, 1.0, (B, M)).astype(np.float32)
    rows[3] = 0
    h = case.split(rows, 0.5)[0] @ params["W_enc"]
    for bias in {"b_enc", "b_gate"} & params.keys():
        params[bias] = (0.01 * params[bias] - np.quantile(h, 1 - share)).astype(np.float32)
    hyper = {**sae.config.hyper(), "input_scale": 0.5, "variance": VARIANCE}
    last_fired = np.where(rng.random(n) < dead, 0, 29).astype(np.int32)
    return sae, Given(params, rows, hyper, 30, last_fired, threshold=0.2)


def rows(name: str, given: Given) -> jax.Array:
    return device_put_sharded(given.rows, mesh(name), PartitionSpec("data"))


@functools.cache
def program(name: str, how: str):
    """(compiled, which functions that visit features alone it has)."""
    sae, given = problem(name, 0.004)
    seen = []

    def noted(function):
        def call(*args):
            seen.append(function.__name__)
            return function(*args)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for function in (sparse.decode, sparse.decode_backward, sparse.outer):
            patch.setattr(sparse, function.__name__, noted(function))
        objective = jax.jit(dictionary_objective(sae, mesh(name), sparse=how))
        found = objective.lower(placed(state_of(case_of(name), given, sae), mesh(name)), rows(name, given)).compile()
    return found, set(seen)


def found(name: str, how: str, *kind: float):
    sae, given = problem(name, *kind)
    return program(name, how)[0](placed(state_of(case_of(name), given, sae), mesh(name)), rows(name, given))


def assert_same(name: str, *kind: float, how: str = "auto") -> float:
    """What is found out does not depend on whether features are visited alone; gives how many were active."""
    result, expected = (found(name, which, *kind) for which in (how, "never"))
    terms, want = in_batch(result), in_batch(expected)
    assert result.grads.keys() == expected.grads.keys() and terms.keys() == want.keys()
    for key, grad in expected.grads.items():
        close(result.grads[key], grad, 1e-5, key)
    for key, total in want.items():
        close(terms[key], total, 1e-5, key)
    jax.tree.map(np.testing.assert_array_equal, result.stats, expected.stats)
    return float(terms["l0"])


@pytest.mark.parametrize("name", CHANGES)
def test_few_features_are_visited_alone_to_the_same_end(name):
    l0, room = assert_same(name, 0.004), sparse.capacity((B, F))
    assert 0 < l0 < 16 * B < room * sparse.PIECE


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in BY_K])
def test_where_many_features_are_active_there_is_no_room_to_visit_them(name):
    assert assert_same(name, 0.2) > sparse.capacity((B, F)) * sparse.PIECE


@pytest.mark.parametrize("name", ["topk", "topk on two devices"])
@pytest.mark.parametrize("dead", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("share", [1e-4, 0.3])
def test_of_topk_the_chosen_are_visited_alone_whatever_else_is_positive_or_dead(name, share, dead):
    """Even the 34 of a row are more than a piece has room for; with few that are positive, rows have none."""
    l0, k = assert_same(name, share, dead), CHANGES[name].get("k", CASES[case_of(name)].k)
    assert l0 < B if share < 0.01 else k * (B - 1) <= l0 <= k * B


@pytest.mark.parametrize("share", [0.003, 0.1])
def test_where_features_are_not_visited_nothing_reaches_them(share):
    """Nor feature 0 where there is room left in the last piece of a row. With a tenth of them all are multiplied."""
    rng = np.random.default_rng(0)
    visit = rng.random((B, F)) < share
    visit[::2, 0] = True
    f, w, d = (rng.normal(size=shape).astype(np.float32) for shape in ((B, F), (F, M), (B, M)))
    f = np.where(visit, f, 0)
    out, back = jax.vjp(lambda f, w: visiting_product(f, w, visit), *map(jnp.asarray, (f, w)))
    d_f, d_w = back(jnp.asarray(d))
    close(out, f @ w)
    close(d_f, d @ w.T * (visit if share < 0.01 else 1))
    close(d_w, f.T @ d)


@pytest.mark.parametrize("name", CHANGES)
def test_they_are_visited_unless_told_otherwise(name):
    assert program(name, "auto")[1] == {"decode", "decode_backward", "outer"} and not program(name, "never")[1]


@pytest.mark.parametrize("name", ["topk", "topk on two devices"])
@pytest.mark.parametrize("share", [1e-4, 0.3])
def test_of_topk_the_chosen_are_gathered_to_the_same_end(monkeypatch, name, share):
    """In one part, and in several."""
    whole = assert_same(name, share, 0.02, how="gather")
    assert not program(name, "gather")[1]
    if name == "topk":
        program.cache_clear()
        monkeypatch.setattr(index, "GATHERED", 40 * M * B // 4)
        assert index._n_parts((B, 40), M) == 4
        assert assert_same(name, share, 0.02, how="gather") == whole
        program.cache_clear()
