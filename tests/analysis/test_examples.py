"""Examples against the activations that they are cut from."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis import examples
from monosem_jax.analysis.examples import ExampleText, choose_features, top_examples
from monosem_jax.models.tapped import TappedModel
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.text.directory import Source
from tests.analysis.test_label_scan import BOS, N_FEATURES, N_TOP, SILENT, SITE, contexts, dictionary, run
from tests.engine import relu_sae

FEATURES = [7, SILENT, 3, 12]
DOCUMENTS = np.repeat(np.arange(5), 24).reshape(10, 12)
TEXT = ExampleText(
    contexts(), DOCUMENTS, [f"<{i}>" for i in range(40)], [Source(f"file {i}", "ab"[i % 2]) for i in range(5)]
)
SAE = PublishedSAE(relu_sae(32, N_FEATURES), dictionary())


@pytest.fixture(scope="module")
def found(tiny):
    return run(tiny)


@pytest.fixture(scope="module")
def tapped(tiny) -> TappedModel:
    return TappedModel(*tiny, SITE, BOS)


@pytest.fixture(scope="module")
def activations(tapped) -> np.ndarray:
    """[C,T,F] with zeros at BOS."""
    return np.asarray(SAE.encode(tapped.rows(contexts()))) * (contexts() != BOS)[..., None]


def shown(tapped, found, batch: int = 4) -> dict[int, tuple[examples.Example, ...]]:
    return top_examples(tapped, SAE, TEXT, found, FEATURES, batch=batch, n_examples=N_TOP)


@pytest.mark.parametrize("window", [(20, 12), (2, 1)], ids=["the whole context", "a part of it"])
def test_an_example_is_the_window_around_the_strongest_token(tapped, found, activations, monkeypatch, window):
    monkeypatch.setattr(examples, "BEFORE", window[0])
    monkeypatch.setattr(examples, "AFTER", window[1])
    got = shown(tapped, found)
    assert list(got) == FEATURES and got[SILENT] == ()
    for feature in (7, 3, 12):
        assert len(got[feature]) == np.sum(found.top_value[feature] > 0) > 0
        assert [e.context for e in got[feature]] == found.top_context[feature, : len(got[feature])].tolist()
        for e in got[feature]:
            c, at = e.context, e.position
            low, high = max(at - window[0], 0), min(at + window[1] + 1, 12)
            assert at == np.argmax(activations[c, :, feature]) == low + e.peak
            assert e.tokens == tuple(f"<{t}>" for t in contexts()[c, low:high])
            np.testing.assert_allclose(e.activations, activations[c, low:high, feature], atol=2e-5)
            assert e.activations[e.peak] == max(e.activations) > 0
            assert (e.origin, e.label) == TEXT.sources[c // 2]


def test_bos_is_shown_without_an_activation(tapped, found):
    every = [
        pair for of in shown(tapped, found).values() for e in of for pair in zip(e.tokens, e.activations, strict=True)
    ]
    at_bos = [activation for token, activation in every if token == f"<{BOS}>"]
    assert at_bos and not any(at_bos)


def test_examples_do_not_depend_on_the_batch(tapped, found):
    assert shown(tapped, found, batch=3) == shown(tapped, found, batch=64)


@pytest.mark.parametrize(("position", "low", "high"), [(3, 0, 16), (20, 0, 33), (40, 20, 53), (58, 38, 60)])
def test_a_window_ends_where_its_context_does(position, low, high):
    tokens = np.arange(120).reshape(2, 60)
    text = ExampleText(tokens, np.ones((2, 60), int), [str(i) for i in range(120)], [Source("a", "b"), Source("c", "")])
    got = text.window(1, position, np.arange(60.0) / 8)
    assert got.tokens == tuple(str(60 + i) for i in range(low, high))
    assert got.activations == tuple(i / 8 for i in range(low, high))
    assert (got.context, got.position, got.peak) == (1, position, position - low)
    assert (got.origin, got.label) == ("c", "")


def test_the_given_features_come_first_and_then_alive_ones_at_random(found):
    chosen = choose_features(found, [7, 3, 7], 10, seed=0)
    assert chosen[:2] == [7, 3] and len(chosen) == len(set(chosen)) == 10
    assert SILENT not in choose_features(found, [], N_FEATURES, seed=0)
    assert chosen != choose_features(found, [7, 3, 7], 10, seed=1)
    assert choose_features(found, [SILENT, 3], 1, seed=0) == [SILENT, 3]
