"""Maps of dictionary vectors: planted groups become clusters, from a seed; without umap-learn one line says so."""

import sys

import numpy as np
import pytest

from monosem_jax.analysis.maps.embedding import MapRule, make_map
from monosem_jax.analysis.maps.joins import joined
from monosem_jax.runtime.errors import BadInput

GROUPS, EACH, WIDTH = 4, 12, 16


def vectors() -> np.ndarray:
    """[n,M] four groups of vectors that point almost the same way, of different lengths."""
    rng = np.random.default_rng(0)
    centres = np.eye(WIDTH)[:GROUPS]
    found = np.repeat(centres, EACH, axis=0) + 0.05 * rng.normal(size=(GROUPS * EACH, WIDTH))
    return (found * rng.uniform(0.5, 3, (len(found), 1))).astype(np.float32)


@pytest.mark.slow  # umap-learn compiles for up to a minute
def test_groups_become_clusters_again_from_the_same_seed():
    pytest.importorskip("umap")
    rule = MapRule(neighbours=8, cluster_dimensions=3)
    found = make_map(vectors(), 2, 5, rule)
    again = make_map(vectors(), 2, 5, rule)
    for name in ("plane", "cluster", "order"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    group = np.repeat(np.arange(GROUPS), EACH)
    assert found.plane.shape == (GROUPS * EACH, 2) and np.isfinite(found.plane).all()
    assert sorted(found.order.tolist()) == list(range(GROUPS * EACH))
    for cluster in range(found.n_clusters):
        assert len(set(group[found.cluster == cluster])) == 1
    assert found.n_clusters >= GROUPS and (found.cluster >= 0).mean() > 0.7
    # Along the line a group has no other in between.
    along = group[np.argsort(found.order)]
    assert (np.diff(along) != 0).sum() == GROUPS - 1


def test_the_distance_of_the_plane_is_the_papers():
    assert [MapRule().plane_distance(n) for n in (1, 2, 3)] == [0.05, 0.05, 0.01]
    assert MapRule(plane_min_dist=0.3).plane_distance(3) == 0.3


def test_impossible_input_is_refused_in_one_line(monkeypatch):
    with pytest.raises(BadInput, match="a map of 16 features: expected 17 or more"):
        make_map(vectors()[:16], 1)
    zero = vectors()
    zero[3] = 0
    with pytest.raises(BadInput, match="1 of 48 vectors that are 0 or not finite"):
        make_map(zero, 1)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(BadInput, match=r"^the map needs umap-learn: pip install 'monosem_jax\[map\]'$"):
        make_map(vectors(), 1)


def test_pairs_within_clusters_are_counted_beside_exchanged_ones():
    cluster = np.repeat(np.arange(10), 20)
    found = joined(cluster, cluster)
    assert found.together == found.clustered == 1 and found.shuffled == pytest.approx(0.1, abs=0.03)
    none = np.full(200, -1)
    assert joined(none, none).together == 0 and joined(cluster, none).clustered == 0
    assert joined(cluster[:0], cluster[:0]).together is None
