"""Records of features against the activations that they are cut from."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis import examples
from monosem_jax.analysis.examples import choose_features, example_records
from monosem_jax.sae.architectures.relu import Relu
from tests.analysis.test_scan import BOS, N_FEATURES, N_TOP, SILENT, SITE, contexts, dictionary, run

FEATURES = [7, SILENT, 3, 12]


@pytest.fixture(scope="module")
def found(tiny):
    return run(tiny)


@pytest.fixture(scope="module")
def activations(tiny) -> np.ndarray:
    """[C,T,F] with zeros where BOS stands."""
    model, params = tiny
    _, x = model.apply({"params": params}, contexts(), SITE, method=model.to_acts)
    f = Relu(32, N_FEATURES).apply({"params": dictionary()}, x, method="encode")
    return np.asarray(f) * (contexts() != BOS)[..., None]


def records(tiny, found, batch: int = 4):
    return example_records(
        *tiny, Relu(32, N_FEATURES), dictionary(), contexts(), found, FEATURES, site=SITE, bos=BOS, batch=batch,
        n_examples=N_TOP,
    )  # fmt: skip


@pytest.mark.parametrize("window", [(20, 12), (2, 1)], ids=["the whole context", "a part of it"])
def test_an_example_is_the_window_around_the_strongest_token(tiny, found, activations, monkeypatch, window):
    monkeypatch.setattr(examples, "BEFORE", window[0])
    monkeypatch.setattr(examples, "AFTER", window[1])
    told = records(tiny, found)
    assert list(told) == FEATURES and told[SILENT] == []
    for feature in (7, 3, 12):
        assert [e["context"] for e in told[feature]] == found.top_context[feature, : len(told[feature])].tolist()
        for e in told[feature]:
            c, at = e["context"], e["position"]
            low, high = max(at - window[0], 0), min(at + window[1] + 1, 12)
            assert at == np.argmax(activations[c, :, feature])
            assert e["tokens"] == contexts()[c, low:high].tolist() and e["tokens"][e["peak"]] == contexts()[c, at]
            np.testing.assert_allclose(e["activations"], activations[c, low:high, feature], atol=2e-5)
            assert e["activations"][e["peak"]] == max(e["activations"]) > 0


def test_bos_is_shown_without_an_activation(tiny, found, activations):
    shown = [
        a for told in records(tiny, found).values() for e in told
        for token, a in zip(e["tokens"], e["activations"], strict=True) if token == BOS
    ]  # fmt: skip
    assert shown and not any(shown)


def test_records_do_not_depend_on_the_batch(tiny, found):
    assert records(tiny, found, batch=3) == records(tiny, found, batch=64)


def test_the_given_features_come_first_and_then_alive_ones_at_random(found):
    chosen = choose_features(found, [7, 3, 7], 10, seed=0)
    assert chosen[:2] == [7, 3] and len(chosen) == len(set(chosen)) == 10
    assert SILENT not in choose_features(found, [], N_FEATURES, seed=0)
    assert chosen != choose_features(found, [7, 3, 7], 10, seed=1)
    assert choose_features(found, [SILENT, 3], 1, seed=0) == [SILENT, 3]
