"""The entries of every matrix are shuffled, and nothing else changes."""

import jax
import numpy as np
import pytest

from monosem_jax.models.shuffle import shuffled


def leaves(params) -> dict[str, np.ndarray]:
    return {"/".join(k.key for k in path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(params)}


def test_matrices_keep_their_entries_in_another_order_and_vectors_stay(tiny):
    _, params = tiny
    before, after = leaves(params), leaves(shuffled(params, 0))
    assert before.keys() == after.keys() and any(x.ndim == 1 for x in before.values())
    for name, x in before.items():
        assert after[name].shape == x.shape and after[name].dtype == x.dtype
        if x.ndim == 1:
            np.testing.assert_array_equal(after[name], x, err_msg=name)
        else:
            np.testing.assert_array_equal(np.sort(after[name], axis=None), np.sort(x, axis=None), err_msg=name)
            assert np.mean(after[name] == x) < 0.05, name
            assert abs(np.corrcoef(after[name].ravel(), x.ravel())[0, 1]) < 0.2, name


def test_no_row_of_the_embedding_stays_together(tiny):
    _, params = tiny
    before, after = (leaves(p)["embed/embedding"] for p in (params, shuffled(params, 0)))
    shared = [len(np.intersect1d(row, other)) for row in after for other in before]
    assert max(shared) < before.shape[1] / 2


def test_queries_keys_and_values_are_three_matrices(tiny):
    _, params = tiny
    before, after = (leaves(p)["blocks_0/qkv/kernel"] for p in (params, shuffled(params, 0)))
    for a, b in zip(np.split(before, 3, axis=-1), np.split(after, 3, axis=-1), strict=True):
        np.testing.assert_array_equal(np.sort(a, axis=None), np.sort(b, axis=None))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_is_that_of_the_seed_and_of_the_name(tiny, seed):
    _, params = tiny
    again, other = leaves(shuffled(params, seed)), leaves(shuffled(params, seed + 1))
    for name, x in leaves(shuffled(params, seed)).items():
        np.testing.assert_array_equal(x, again[name])
        assert x.ndim == 1 or (x != other[name]).any()
    alone = shuffled({"embed": params["embed"]}, seed)
    np.testing.assert_array_equal(alone["embed"]["embedding"], again["embed/embedding"])
    twins = shuffled({"a": np.arange(12.0).reshape(3, 4), "b": np.arange(12.0).reshape(3, 4)}, seed)
    assert (twins["a"] != twins["b"]).any()
