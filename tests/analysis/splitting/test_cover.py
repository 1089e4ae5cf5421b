"""How children share out a parent's firings, against counts over all activations."""

import numpy as np
import pytest

from monosem_jax.analysis.splitting.cover import cover
from monosem_jax.runtime.errors import BadInput
from tests.analysis.scan import material
from tests.conftest import mesh_of


def sets():
    """Two dictionaries and the neurons, which have more units than the first."""
    neurons, other = material.others()
    return [material.features(), other, neurons]


def parents_of(chosen, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-1, min(4, chosen[i].n_features), chosen[i + 1].n_features) for i in range(len(chosen) - 1)]


def test_counts_are_those_of_all_activations():
    chosen = sets()
    parents = parents_of(chosen)
    found = cover(chosen, parents, material.contexts(), batch=8)
    real = material.contexts() != material.BOS
    for a, b, parent, counted in zip(chosen, chosen[1:], parents, found, strict=False):
        f, g = (s.activations(material.contexts())[real].astype(np.float64) for s in (a, b))
        for i in range(f.shape[1]):
            on, children = f[:, i] != 0, (g[:, parent == i] != 0).sum(axis=1)
            expected = {
                "fired": on.sum(), "any": (on & (children > 0)).sum(), "several": (on & (children > 1)).sum(),
                "children_fired": (children > 0).sum(), "children_several": (children > 1).sum(),
                "total": f[:, i].sum(), "covered": f[children > 0, i].sum(),
            }  # fmt: skip
            for name, value in expected.items():
                assert getattr(counted, name)[i] == pytest.approx(value, rel=1e-5), name
        np.testing.assert_allclose(counted.share, counted.any / np.where(counted.fired, counted.fired, np.nan))
        assert np.isnan(counted.together[counted.children_fired == 0]).all()


def test_counts_do_not_depend_on_how_the_text_is_read():
    chosen = sets()
    parents = parents_of(chosen)
    expected = cover(chosen, parents, material.contexts(), batch=8)
    for batch, mesh in ((7, None), (8, mesh_of(2, 2))):
        for a, b in zip(expected, cover(chosen, parents, material.contexts(), batch=batch, mesh=mesh), strict=True):
            np.testing.assert_array_equal(a.any, b.any)
            np.testing.assert_allclose(a.covered, b.covered, rtol=1e-5)
    with pytest.raises(BadInput, match="best_parents"):
        cover(chosen, [parents[0][:-1], parents[1]], material.contexts())
