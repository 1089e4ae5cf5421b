"""The page's own transformer, dictionary and tokenizer against Python's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis.effects.hold import hold
from monosem_jax.analysis.effects.sampling import sample
from monosem_jax.models.base import token_losses
from monosem_jax.report.browser.model import write_model
from monosem_jax.stages.browser_model import served_values
from tests.cases import cases
from tests.report.browser.engine import load_question, stored
from tests.report.browser.models import CASES, T, contexts, dictionary, feature_set, from_stored, tokenizer

# With the same weights only the order of sums differs: a share of the largest number of its kind.
EXACT = 2e-5
# What float16 changes: half a unit in the 11th place of every weight, added up over two layers.
ROUNDED = 2e-2
FEATURES = 0, 7, 20


def written(tmp_path, name):
    """(the case as its files have it, the case as it is, the question that loads it)."""
    tapped, sae = dictionary(name)
    write_model(tmp_path, "d/model", served_values(tapped, sae, tokenizer().to_str()))
    question = load_question(tmp_path, "d/model")
    params, published = from_stored(stored(question))
    rounded = dataclasses.replace(tapped, params=params), dataclasses.replace(sae, params=published)
    return rounded, (tapped, sae), question


def difference(found, expected):
    """The largest difference as a share of the largest expected number."""
    expected = np.asarray(expected, np.float64)
    assert np.abs(expected).max() > 0.1
    return np.abs(np.asarray(found, np.float64).reshape(expected.shape) - expected).max() / np.abs(expected).max()


def python_values(tapped, sae, tokens, feature):
    """(f, reconstruction, logits, logits with the feature ablated, pinned at 1.5, and 1.5 added to it) in Python."""
    of = feature_set(tapped, sae)
    n, v = len(tokens), tapped.model.config.vocab_size
    carry, rows = tapped.cut(tokens, of.effect_site[0])
    f, logits = of.activations(tokens), np.asarray(tapped.model.apply({"params": tapped.params}, tokens))
    held = [
        logits + hold(of, tokens, np.arange(n), [feature] * n, [value] * n, watch=np.arange(v)).logit_change
        for value in (0.0, 1.5)
    ]
    shift = 1.5 * (tokens != tapped.bos)[..., None] * of.effect_directions[feature]
    steered = tapped.model.apply(
        {"params": tapped.params}, carry, rows + shift, of.effect_site[0], method=tapped.model.from_acts
    )
    read = sae.module.inputs(tapped.rows(tokens))
    return f, np.asarray(sae.decode(f, read)), logits, *held, np.asarray(steered)


def changes(feature):
    pin = {"feature": feature, "mode": "pin", "value": 1.5}
    return [None, {**pin, "mode": "ablate"}, pin, {**pin, "mode": "steer"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """name → (the case as its files have it, the case as it is, the question that loads it)."""
    return {name: written(tmp_path_factory.mktemp(name), name) for name in CASES}


@pytest.fixture(scope="module")
def measured(models, answers):
    """name → (the feature that is changed, f, reconstruction, logits as they are and with each change) in the page."""
    tokens, questions, features = contexts(), [], {}
    for name, (rounded, _, load) in models.items():
        f = feature_set(*rounded).activations(tokens)
        features[name] = int(np.argmax((f != 0).sum(axis=(0, 1))))
        questions.append(load)
        for change in changes(features[name]):
            questions += [{"kind": "numbers", "ids": row.tolist(), "change": change} for row in tokens]
    found, n = iter(answers(*questions)), len(tokens)
    measured = {}
    for name, feature in features.items():
        next(found)  # of loading
        by_change = [[next(found) for _ in range(n)] for _ in changes(feature)]
        of = lambda key, i: np.stack([a[key] for a in by_change[i]])  # noqa: B023, E731
        measured[name] = feature, of("f", 0), of("reconstruction", 0), *(of("logits", i) for i in range(len(by_change)))
    return measured


WHAT = ("f", "reconstruction", "logits", "ablated", "pinned", "steered")


@cases("name", CASES)
def test_a_model_in_the_page_gives_the_numbers_of_python(models, measured, name):
    rounded, _, _ = models[name]
    feature, *given = measured[name]
    expected = python_values(*rounded, contexts(), feature)
    assert 0.02 < (expected[0][:, 1:] != 0).mean() < 0.6
    for after in expected[3:]:  # what is changed has an effect
        assert np.abs(after - expected[2]).max() > 0.02
    for what, a, b in zip(WHAT, given, expected, strict=True):
        assert difference(a, b) < EXACT, what


@cases("name", [n for n in CASES if "topk" not in n and n not in ("transcoder", "matryoshka", "crosscoder")])
def test_half_precision_changes_little(models, measured, name):
    """With the k largest, and with a threshold, another weight may let another feature fire."""
    tapped, sae = models[name][1]
    _, f, _, logits, *_ = measured[name]
    assert 0 < difference(f, feature_set(tapped, sae).activations(contexts())) < ROUNDED
    assert 0 < difference(logits, tapped.model.apply({"params": tapped.params}, contexts())) < ROUNDED


def test_what_a_text_is_read_as_follows_from_its_logits(models, measured, answers):
    """Losses, expected tokens and divergences, over two contexts, with nothing and with a feature changed."""
    _, _, load = models["relu"]
    feature, *_ = measured["relu"]
    text = "the quick fox 12345 jumps over the lazy dog, the end. it's"
    change = {"feature": feature, "mode": "pin", "value": 1.5}
    _, read, changed = answers(
        load, {"kind": "read", "text": text, "contexts": 2, "k": 3}, {"kind": "change", "change": change, "k": 3}
    )
    ids = tokenizer().encode(text).ids
    tokens = [[0, *ids[i : i + T - 1]] for i in (0, T - 1)]
    assert read["ids"].tolist() == [i for context in tokens for i in context]
    assert read["starts"] == [0, T, T + len(tokens[1])]
    assert read["left_out"] == len(ids) - sum(len(t) - 1 for t in tokens)
    rounded, _, _ = models["relu"]
    at = 0
    for context in tokens:
        here, n = np.asarray([context]), len(context)
        f, _, before, _, after, _ = (x[0] for x in python_values(*rounded, here, feature))
        for t in range(n):
            fires = slice(read["offsets"][at + t], read["offsets"][at + t + 1])
            assert read["features"][fires].tolist() == np.nonzero(f[t])[0].tolist()
            np.testing.assert_allclose(read["values"][fires], f[t][f[t] != 0], rtol=1e-4, atol=1e-6)
        for found, logits in ((read["losses"], before), (changed["losses"], after)):
            assert np.isnan(found[at])
            np.testing.assert_allclose(found[at + 1 : at + n], token_losses(logits[None], here)[0], atol=1e-4)
        p, q = (np.exp(x - x.max(-1, keepdims=True)) for x in (before.astype(float), after.astype(float)))
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        kl = (p * np.log(p / q)).sum(-1)
        np.testing.assert_allclose(changed["divergence"][at : at + n], kl, rtol=1e-3, atol=1e-5)
        for found, mine, other in ((changed["before"], p, q), (changed["after"], q, p), (read["expected"], p, p)):
            best = np.argsort(-mine, axis=-1, kind="stable")[:, :3]
            assert found["tokens"].reshape(-1, 3)[at : at + n].tolist() == best.tolist()
            for key, of in (("p", mine), ("other", other)):
                expected = np.take_along_axis(of, best, axis=-1)
                np.testing.assert_allclose(found[key].reshape(-1, 3)[at : at + n], expected, rtol=1e-3, atol=1e-6)
        at += n


@cases("name", ["relu", "abs_topk", "crosscoder"])
def test_the_most_probable_continuation_is_that_of_python(models, measured, answers, name):
    """Token by token with keys and values kept, where Python computes every context anew."""
    rounded, _, load = models[name]
    feature, strong = measured[name][0], 20.0
    ids = tokenizer().encode("the fox").ids
    n, cold = 8, 1e-6
    asked = {"kind": "continue", "n": n, "temperature": cold, "seed": 1, "generated": False}
    held = {"feature": feature, "mode": "pin", "value": strong}
    found = answers(
        load,
        {"kind": "read", "text": "the fox", "contexts": 1, "k": 1},
        {**asked, "change": None},
        {**asked, "change": held},
        {**asked, "change": held, "generated": True},
    )[2:]
    of, prompt = feature_set(*rounded), [0, *ids]
    for answer, value, positions in zip(found, (np.nan, strong, strong), ("all", "all", "generated"), strict=True):
        text = sample(of, prompt, [feature], [value], n, positions=positions, temperature=cold)
        assert answer["ids"] == text[0, len(prompt) :].tolist()
    assert found[0] != found[1]


def test_continuations_are_drawn_with_the_probabilities_of_the_model(models, answers):
    """At a high temperature BOS would be drawn too."""
    rounded, _, load = models["relu"]
    tapped, n = rounded[0], 1000
    read = {"kind": "read", "text": "the", "contexts": 1, "k": 1}
    asked = {"kind": "continue", "change": None, "n": 6, "generated": False}
    temperatures = (1.0, 50.0)
    cases = [{**asked, "temperature": t, "seed": seed} for t in temperatures for seed in range(n)]
    drawn = np.asarray([a["ids"] for a in answers(load, read, *cases)[2:]]).reshape(2, n, 6)
    ids = tokenizer().encode("the").ids
    logits = np.array(tapped.model.apply({"params": tapped.params}, np.asarray([[0, *ids]])))[0, -1].astype(float)
    for temperature, found in zip(temperatures, drawn, strict=True):
        p = np.exp((logits - logits.max()) / temperature)
        assert temperature == 1 or n * p[0] / p.sum() > 3
        p[0] = 0  # BOS is never drawn
        p /= p.sum()
        counts, often = np.bincount(found[:, 0], minlength=len(p)), p * n >= 3
        chi2 = np.sum((counts[often] - n * p[often]) ** 2 / (n * p[often]))
        degrees = often.sum()
        assert degrees > 10 and (found != 0).all() and chi2 < degrees + 5 * np.sqrt(2 * degrees)
    assert answers(load, read, cases[5])[-1]["ids"] == drawn[0, 5].tolist()  # a seed always draws the same


def test_a_long_text_is_continued_from_its_end(models, answers):
    _, _, load = models["relu"]
    asked = {"kind": "continue", "change": None, "n": 6, "temperature": 1e-6, "seed": 0, "generated": False}
    text = "the quick fox 12345 jumps over the lazy dog, the end. it's"
    ids = tokenizer().encode(text).ids[-(T - 1 - 6) :]
    end = tokenizer().decode(ids)
    assert tokenizer().encode(end).ids == ids
    whole, part = (answers(load, {"kind": "read", "text": t, "contexts": 4, "k": 1}, asked)[-1] for t in (text, end))
    assert whole == part and len(whole["ids"]) == 6


def test_a_question_that_cannot_be_answered_says_why(models, ask):
    _, _, load = models["relu"]
    found = ask({"kind": "tokenize", "text": "a"}, load, {"kind": "numbers", "ids": [0, 10_000], "change": None})
    assert found[0] == {"number": 0, "error": "the model is not loaded"}
    assert found[2]["error"] == "token 10000 is not in the vocabulary"
