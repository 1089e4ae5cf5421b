"""Visiting few active features alone gives what whole products give, for every architecture."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.objective import dictionary_objective
from monosem_jax.sae import learning, sparse
from tests.conftest import mesh_of
from tests.engine import close
from tests.family import Given
from tests.sae.problems import CASES, VARIANCE, parameters, sae_of, state_of

M, F, B = 128, 2048, 32
# Each group of a Matryoshka dictionary is wide enough.
CHANGES: dict[str, dict[str, Any]] = {
    "april_2024": {}, "multi_topk": {}, "jumprelu to a target": {"bandwidth": 0.02}, "gated": {},
    "matryoshka": {"n_features": 2 * F, "groups": (F, F), "aux_coefficient": 0.0},
    "transcoder of relu": {"parts": (M, M)}, "transcoder": {"parts": (M, M)},
}  # fmt: skip
NOT_COUNTED = ("multi_topk", "matryoshka", "transcoder")  # what is active there is decided by k alone


def problem(name: str, share: float) -> tuple[Any, Given]:
    """(the module, a batch) in which about `share` of what a feature is made from is positive."""
    changes = {"n_features": F, **CHANGES[name]}
    parts = changes.pop("parts", (M,))
    sae = sae_of(name, parts=parts, **changes)
    n = changes["n_features"]
    case = dataclasses.replace(CASES[name], parts=parts)
    params = parameters(case, 0, n)
    rng = np.random.default_rng(5)
    rows = rng.normal(0.1, 1.0, (B, sum(parts))).astype(np.float32)
    rows[3] = 0
    h = case.split(rows, 0.5)[0] @ params["W_enc"]
    for bias in {"b_enc", "b_gate"} & params.keys():
        params[bias] = (0.01 * params[bias] - np.quantile(h, 1 - share)).astype(np.float32)
    hyper = {**sae.config.hyper(), "input_scale": 0.5, "variance": VARIANCE}
    last_fired = np.where(np.arange(n) % 50 == 0, 0, 29).astype(np.int32)
    return sae, Given(params, rows, hyper, 30, last_fired, threshold=0.2)


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
        objective = dictionary_objective(sae, mesh_of(1, 1), sparse=how)
        shapes = jax.eval_shape(lambda: state_of(name, given, sae))
        found = jax.jit(objective).lower(shapes, jax.ShapeDtypeStruct(given.rows.shape, jnp.float32)).compile()
    return found, set(seen)


def found(name: str, how: str, share: float):
    sae, given = problem(name, share)
    return program(name, how)[0](state_of(name, given, sae), jnp.asarray(given.rows))


@pytest.mark.parametrize(
    ("name", "share"),
    [(name, share) for name in CHANGES for share in (0.004, 0.2) if share < 0.1 or name not in NOT_COUNTED],
)  # fmt: skip
def test_few_features_are_visited_alone_to_the_same_end(name, share):
    """With a fifth of them there is no room for all that are visited."""
    (grads, stats, terms), (want, want_stats, want_terms) = (found(name, how, share) for how in ("auto", "never"))
    room, l0 = sparse.capacity((B, F)), float(terms["l0"])
    assert (0 < l0 < 16 * B < room * sparse.PIECE) if share < 0.1 else (l0 > room * sparse.PIECE)
    for key in want:
        assert np.any(want[key]), key
        close(grads[key], want[key], 1e-5, key)
    for key in want_terms:
        close(terms[key], want_terms[key], 1e-5, key)
    jax.tree.map(np.testing.assert_array_equal, stats, want_stats)


@pytest.mark.parametrize("share", [0.003, 0.1])
def test_where_features_are_not_visited_nothing_reaches_them(share):
    """Nor feature 0 where there is room left in the last piece of a row. With a tenth of them all are multiplied."""
    rng = np.random.default_rng(0)
    visit = rng.random((B, F)) < share
    f, w, d = (rng.normal(size=shape).astype(np.float32) for shape in ((B, F), (F, M), (B, M)))
    f = np.where(visit, f, 0)
    out, back = jax.vjp(lambda f, w: learning._visiting(f, w, visit), *map(jnp.asarray, (f, w)))
    d_f, d_w = back(d)
    close(out, f @ w)
    close(d_f, d @ w.T * (visit if share < 0.01 else 1))
    close(d_w, f.T @ d)


@pytest.mark.parametrize("name", CHANGES)
def test_they_are_visited_unless_told_otherwise(name):
    assert program(name, "auto")[1] == {"decode", "decode_backward", "outer"} and not program(name, "never")[1]
