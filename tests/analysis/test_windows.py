from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.feature_sets import dictionary
from monosem_jax.analysis.windows import windows
from monosem_jax.models.tapped import TappedModel
from monosem_jax.sae.published import PublishedSAE
from tests import reference
from tests.engine import relu_sae

BOS, N_FEATURES, BEFORE, AFTER = 0, 20, 3, 2


def contexts() -> np.ndarray:
    tokens = np.random.default_rng(0).integers(1, 40, size=(10, 12))
    tokens[:, 0] = tokens[2, 5] = BOS
    return tokens


@pytest.fixture(scope="module")
def features(tiny):
    p = reference.random_dictionary(2, 32, N_FEATURES)
    return dictionary("features", TappedModel(*tiny, "mlp_hidden.0", BOS), PublishedSAE(relu_sae(32, N_FEATURES), p))


def by_hand(features, context, position, feature) -> np.ndarray:
    _, x = features.tapped.cut(contexts())
    f = reference.encode(dict(features.encoder.params), np.asarray(x, np.float64))
    f[contexts() == BOS] = 0
    expected = np.zeros((len(context), BEFORE + 1 + AFTER))
    for n, (c, p, i) in enumerate(zip(context, position, feature, strict=True)):
        for w, t in enumerate(range(p - BEFORE, p + AFTER + 1)):
            if p >= 0 and 0 <= t < f.shape[1]:
                expected[n, w] = f[c, t, i]
    return expected


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_windows_are_the_activations_around_the_tokens(features, batch):
    rng = np.random.default_rng(1)
    context, position, feature = rng.integers(0, 10, 50), rng.integers(-1, 12, 50), rng.integers(0, N_FEATURES, 50)
    done = []
    found = windows(features, contexts(), context, position, feature, BEFORE, AFTER, batch=batch, advance=done.append)
    np.testing.assert_allclose(found, by_hand(features, context, position, feature), atol=1e-5)
    assert np.any(found) and sum(done) == len(np.unique(context[position >= 0]))


def test_no_pairs_give_no_windows(features):
    none = np.zeros(0, int)
    assert windows(features, contexts(), none, none, none, 1, 1, batch=2).shape == (0, 3)
