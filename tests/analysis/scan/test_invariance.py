"""A scan does not depend on how the text is cut into batches, on meshes, nor on which of its ways it takes."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from monosem_jax.analysis.scan import encoding, entry
from monosem_jax.analysis.scan.encoding import Encoding
from tests.analysis.scan.material import (
    CONSTANT,
    LENGTH,
    N_FEATURES,
    as_tree,
    assert_same,
    contexts,
    features,
    found,
    others,
    scanned,
)
from tests.conftest import mesh_of


def assert_close(a, b) -> None:
    """Whole numbers and places are equal, other numbers nearly: the last bit of an activation depends on the batch.

    Without the constant feature, whose firings are all equally strong but for that bit.
    """
    leaves = [jax.tree_util.tree_leaves_with_path(as_tree(x)) for x in (a, b)]
    for (path, x), (_, y) in zip(*leaves, strict=True):
        if N_FEATURES in x.shape:
            x, y = (np.delete(v, CONSTANT, axis=v.shape.index(N_FEATURES)) for v in (x, y))
        name = jax.tree_util.keystr(path)
        if x.dtype.kind == "f":
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_scan_does_not_depend_on_the_batch(batch):
    assert_close(scanned(batch_contexts=batch), found())


@pytest.mark.parametrize("ways", [{"pairs": 0}, {"token_pairs": 0}, {"pairs": 0, "correlation_tokens": 100}])
def test_neither_do_a_sketch_and_a_sample(ways):
    assert_close(scanned(batch_contexts=7, **ways), scanned(batch_contexts=50, **ways))


def force_compact(monkeypatch, capacity: int) -> None:
    monkeypatch.setattr(encoding, "CAPACITY", capacity)
    monkeypatch.setattr(entry, "Encoding", lambda sets, mesh: Encoding(sets, mesh, compact=True))


@pytest.mark.parametrize("capacity", [1, 64])
def test_what_an_accelerator_sends_is_what_the_host_finds(monkeypatch, capacity):
    """From a capacity of 1 on: it doubles until the fullest row fits."""
    force_compact(monkeypatch, capacity)
    assert_close(scanned(), found())


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("shape", [(8, 1), (1, 4), (2, 4)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_a_scan_on_a_mesh_is_that_on_one_device(monkeypatch, shape, compact):
    if compact:
        force_compact(monkeypatch, 2)
    assert_close(scanned(more={"mesh": mesh_of(*shape)}, batch_contexts=5), found())


def test_on_a_mesh_that_does_not_divide_the_features(monkeypatch):
    force_compact(monkeypatch, 2)
    assert_close(scanned(more={"mesh": mesh_of(1, 8)}), found())


@pytest.mark.parametrize("cache", [0, 1])
def test_what_is_kept_for_the_second_pass_is_what_would_be_computed(cache):
    assert_same(scanned(cache_megabytes=cache), found())


def test_a_cache_may_be_full_in_the_middle(monkeypatch):
    kept = []

    class Small(entry.Reader):
        def __init__(self, *args, **given):
            super().__init__(*args, **{**given, "cache_bytes": 40_000})
            kept.append(self._cache)

    monkeypatch.setattr(entry, "Reader", Small)
    assert_same(scanned(), found())
    assert 0 < len(kept[0]) < -(-len(contexts()) // 8)


def test_labels_and_other_sets_change_nothing_else():
    alone = scanned(more={"proxies": None, "against": ()})
    assert alone.proxies is None and set(alone.neighbours) == {"features"}
    for name in ("top_context", "token_id", "fired", "total", "linear_counts"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(found(), name))


def test_a_first_pass_by_itself_says_the_same_of_densities_and_correlations():
    done: list[int] = []
    one = scanned(passes=1, more={"advance": done.append})
    assert sum(done) == len(contexts()) and not one.neighbours and not one.intervals
    for name in ("fired", "maximum", "mean", "total", "square", "log_counts", "label_correlation", "label_fired"):
        np.testing.assert_array_equal(getattr(one, name), getattr(found(), name))
    for name in ("correlation", "binary_correlation", "mean", "positive"):
        np.testing.assert_array_equal(getattr(one.proxies, name), getattr(found().proxies, name))
    assert one.token_id.shape == (N_FEATURES, 0) and not one.linear_counts.any() and not one.proxies.hits.any()


def test_advance_is_told_of_every_context_twice():
    done: list[int] = []
    scanned(batch_contexts=16, more={"advance": done.append})
    assert done == 2 * [16, 16, 16, 2]


def test_another_seed_draws_other_samples_and_changes_nothing_else():
    other = scanned(seed=1)
    a, b = (as_tree(x) for x in (other, found()))
    drawn = ("random_context", "random_position", "intervals")
    for name in a.keys() - set(drawn) - {"neighbours", "proxies"}:
        np.testing.assert_array_equal(a[name], b[name])
    np.testing.assert_array_equal(a["intervals"]["11"]["count"], b["intervals"]["11"]["count"])
    assert (a["intervals"]["11"]["context"] != b["intervals"]["11"]["context"]).any()
    assert (a["random_context"] * LENGTH + a["random_position"]).tolist() != (
        b["random_context"] * LENGTH + b["random_position"]
    ).tolist()


def test_sets_of_one_model_and_site_share_a_forward_pass():
    made = Encoding([features(), *others()], None)
    assert len(made._models) == 1


def test_no_neighbours_may_be_asked_for():
    alone = scanned(neighbours=0)
    assert not alone.neighbours
    np.testing.assert_array_equal(alone.token_id, found().token_id)


def test_text_may_lie_in_a_file_and_have_another_type(tmp_path):
    np.save(tmp_path / "tokens.npy", contexts().astype(np.uint16))
    tokens = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    assert_same(scanned(more={"tokens": tokens}), found())
