from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from monosem_jax.analysis.proxies import regexes
from monosem_jax.analysis.proxies.catalogue import MAKERS
from monosem_jax.analysis.proxies.chosen import choose_proxies, parsed_entry
from monosem_jax.analysis.proxies.ratios import TokenRatio
from monosem_jax.analysis.proxies.sample import FitSample
from monosem_jax.analysis.proxies.scripts import Script
from monosem_jax.runtime.errors import BadInput
from tests.analysis.proxies.corpora import text_directory

PROMISED = "arabic hebrew korean russian chinese japanese base64 dna http code_comment python_def latex legal nutrition"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return text_directory(tmp_path_factory.mktemp("proxies"))


@pytest.fixture(scope="module")
def proxies(text):
    return choose_proxies(text)


@pytest.fixture(scope="module")
def marked(text, proxies):
    """{proxy: whether it holds on each held-out token [C,T]}, the label of each token, and what is no BOS."""
    tokens = text.tokens("heldout")
    values = proxies.on(tokens)
    found = values.values(0, len(tokens))
    assert not values.failed and found.dtype == np.float32 and found.shape == (len(values.names), *tokens.shape)
    real = tokens != text.bos
    assert not found[:, ~real].any() and (found >= 0).all()
    return dict(zip(values.names, found > 0, strict=True)), np.asarray(text.labels)[text.documents("heldout")], real


def test_the_promised_names_are_there():
    assert set(PROMISED.split()) <= MAKERS.keys()


@pytest.mark.parametrize(
    "name, least",
    [
        ("arabic", 0.9),
        ("hebrew", 0.9),
        ("russian", 0.9),
        ("ukrainian", 0.9),
        ("chinese", 0.7),
        ("japanese", 0.7),
        ("korean", 0.7),
    ],
)
def test_a_script_holds_in_its_documents_and_nowhere_else(marked, name, least):
    holds, label, real = marked
    assert holds[name][(label == name) & real].mean() > least
    elsewhere = holds[name][(label != name) & real].mean()
    assert elsewhere < 1e-3 if name in ("chinese", "korean") else elsewhere == 0  # two Han characters alone are either


@pytest.mark.parametrize("name, least", [("dna", 0.9), ("base64", 0.9), ("legal", 0.5)])
def test_a_likelihood_ratio_holds_in_its_documents(marked, name, least):
    holds, label, real = marked
    assert holds[name][(label == name) & real].mean() > least
    if name != "base64":  # the paper's ratio is "too broad": any word of improbable tokens looks like base64
        assert holds[name][(label == "prose") & real].mean() < 0.1


def test_patterns_mark_what_they_describe(text, proxies, marked):
    holds, label, _ = marked
    block = proxies.bytes.block(text.tokens("heldout"))
    for name, first in (("python_def", "def f_"), ("http", "https://"), ("code_comment", "# a comment")):
        tokens = [(c, t) for c, t in np.argwhere(holds[name])]
        joined = "".join(block.text[block.start[c, t] : block.stop[c, t]] for c, t in tokens)
        assert first in joined, name
        assert not holds[name][label == "prose"].any(), name
    shown = [block.text[block.start[c, t] : block.stop[c, t]] for c, t in np.argwhere(holds["python_def"])]
    assert not any("return" in s for s in shown)


def test_pieces_of_characters_count_by_the_share_of_their_occurrences(text):
    sample = FitSample.of(text, 0)
    proxy = Script.of("korean", ((0xAC00, 0xD7FF),), None, sample)
    uses = {}
    for block in sample.blocks:
        for c, t in np.argwhere(block.real & ~block.ends):
            inside = all(
                0xAC00 <= code <= 0xD7FF for code in block.codes[block.start[c, t] : block.stop[c, t]] if code != 32
            )
            uses.setdefault(int(block.tokens[c, t]), []).append(inside)
    assert len(uses) > 3
    for token, found in uses.items():
        assert proxy.piece_share[token] == pytest.approx(np.mean(found))


def test_a_piece_that_is_seldom_of_the_script_does_not_count(text):
    """The paper's ratio would: 10 % is more than the script's share of all text."""
    sample = FitSample.of(text, 0)
    proxy = Script.of("korean", ((0xAC00, 0xD7FF),), None, sample)
    block = sample.blocks[0]
    inside = block.real & ~block.ends
    token = int(block.tokens[inside][0])
    for share, holds in ((0.1, False), (0.6, True)):
        changed = dataclasses.replace(proxy, piece_share=np.full_like(proxy.piece_share, share))
        value = changed.values(block)[inside & (block.tokens == token)]
        assert proxy.probability < share and ((value > 0) == holds).all()
        if holds:
            np.testing.assert_allclose(value, np.log(share) - np.log(proxy.probability))


def test_a_script_is_worth_the_log_of_its_share(text, proxies):
    proxy = proxies["arabic"]
    assert isinstance(proxy, Script)
    tokens = text.tokens("heldout")
    value = proxy.values(proxies.bytes.block(tokens))
    assert value.max() == pytest.approx(-np.log(proxy.probability))
    assert "U+0600 to U+06FF" in proxy.about


def test_what_is_not_in_the_text_is_a_gap_with_its_reason(proxies):
    gaps = {g.proxy: g.reason for g in proxies.gaps}
    assert "no training document has the label nutrition" in gaps["nutrition"]
    assert "no token of this script" in gaps["greek"]
    assert "holds on none of the" in gaps["latex"]


def test_a_fitted_ratio_can_be_read(proxies):
    proxy = proxies["legal"]
    assert isinstance(proxy, TokenRatio)
    assert proxy.strongest(3)[0][1] > 0 and "labelled legal" in proxy.about


def test_a_fitted_ratio_is_the_bigram_ratio(text):
    sample = FitSample.of(text, 0)
    proxy = TokenRatio.of("legal", "legal", sample)
    tokens, kind = sample.tokens.astype(int), sample.label == sample.labels.index("legal")
    v, i = len(sample.bytes), int(np.argmax(proxy.count))
    before, token = divmod(int(proxy.pairs[i]), v)

    def share(chosen: np.ndarray) -> float:
        pairs = [
            (a, b)
            for row, k in zip(tokens, chosen, strict=True)
            for a, b, c in zip(row, row[1:], k[1:], strict=False)
            if b and c
        ]
        single = (sum(b == token for _, b in pairs) + 0.5) / (len(pairs) + 0.5 * v)
        return (sum(p == (before, token) for p in pairs) + 5 * single) / (sum(a == before for a, _ in pairs) + 5)

    assert proxy.gain[i] == pytest.approx(np.clip(np.log(share(kind) / share(~kind)), -4, 4))


def test_a_fitted_ratio_asks_for_more_than_the_odds_of_its_label(text):
    sample = FitSample.of(text, 0)
    proxy = TokenRatio.of("legal", "legal", sample)
    block = sample.blocks[0]
    value = proxy.values(block)
    first = block.real.copy()
    first[:, 1:] &= ~block.real[:, :-1]  # a string of one token: the pair of BOS and itself
    c, t = np.argwhere(first)[0]
    pair = int(block.tokens[c, t - 1]) * len(sample.bytes) + int(block.tokens[c, t])
    known = np.flatnonzero(proxy.pairs == pair)
    gain = proxy.gain[known[0]] if len(known) else proxy.alone[block.tokens[c, t]]
    of_label = sample.label[sample.tokens != sample.bytes.bos] == sample.labels.index("legal")
    odds = np.log(of_label.sum() / (~of_label).sum())
    assert value[c, t] == pytest.approx(gain + odds - 9)


def test_a_user_gives_patterns_classes_and_functions(text):
    found = choose_proxies(
        text,
        names=(),
        entries=["Xs=regex:fi.st", "digits=chars:0-9"],
        functions={
            "vowels": lambda s: [c in "aeiou" for c in s],
            "road": lambda s: [(s.find("road"), s.find("road") + 4)],
        },
    )
    assert [p.name for p in found.chosen] == ["Xs", "digits", "vowels", "road"] and not found.gaps
    tokens = text.tokens("heldout")
    values = dict(zip(found.on(tokens).names, found.on(tokens).values(0, len(tokens)), strict=True))
    block = found.bytes.block(tokens)
    shown = [block.text[a:b] for a, b in zip(block.start.ravel(), block.stop.ravel(), strict=True)]
    digit = [2 * sum(c.isdigit() for c in s) >= len(s) > 0 for s in shown]
    np.testing.assert_array_equal(values["digits"].ravel() > 0, digit)
    share = [sum(c in "aeiou" for c in s) / max(len(s), 1) for s in shown]
    np.testing.assert_allclose(values["vowels"].ravel(), share, rtol=1e-6)
    assert "first" in block.text and values["Xs"].any() and values["road"].any()


def test_what_a_user_gives_wrong_is_a_gap_and_the_others_go_on(text):
    def broken(run: str):
        raise KeyError(run)

    found = choose_proxies(
        text,
        names=("arabic",),
        entries=["never=regex:qqqq{9}", "no=regex:(", "bad=chars:z-a"],
        functions={"raises": broken, "shape": lambda s: [1, 2, 3] * len(s)},
    )
    gaps = {g.proxy: g.reason for g in found.gaps}
    assert [p.name for p in found.chosen] == ["arabic"]
    assert "holds on none" in gaps["never"]
    assert "is not a regular expression" in gaps["no"]
    assert "is not a class of characters" in gaps["bad"]
    assert "it raised KeyError" in gaps["raises"]
    assert "expected one finite number per" in gaps["shape"]


def test_an_expression_that_never_ends_is_a_gap(text, monkeypatch):
    monkeypatch.setattr(regexes, "SECONDS", 1.0)
    found = choose_proxies(text, names=(), entries=["slow=regex:([\\s\\S]+)+\\x00"])
    assert "took more than 1 s" in found.gaps[0].reason


def test_a_function_that_raises_on_the_text_is_left_out_from_the_beginning(text):
    calls = []

    def sometimes(run: str):
        calls.append(run)
        if fails and len(calls) > 2:
            raise ValueError("two lines\nof text")
        return [True] * len(run)

    fails = False
    found = choose_proxies(text, names=("hebrew",), functions={"sometimes": sometimes})
    calls.clear()
    fails = True
    values = found.on(text.tokens("heldout"))
    assert list(values.failed) == ["sometimes"]
    got = values.values(0, 8)
    assert not got[1].any()
    assert values.gaps[-1].proxy == "sometimes" and "\n" not in values.gaps[-1].reason
    assert values.values(8, 16).shape[0] == 2


def test_numbers_that_are_too_large_are_a_gap(text):
    found = choose_proxies(text, names=(), functions={"large": lambda run: [1e300] * len(run)})
    values = found.on(text.tokens("heldout"))
    assert "not finite in fp32" in values.gaps[0].reason and np.isfinite(values.values(0, 4)).all()


@pytest.mark.parametrize("entry", ["a", "a=b", "=regex:x", "a=regex:", "a=glob:*"])
def test_an_entry_of_another_form_is_refused(entry):
    with pytest.raises(BadInput, match="expected NAME=regex:PATTERN or NAME=chars:CLASS"):
        parsed_entry(entry)


def test_names_are_checked(text):
    with pytest.raises(BadInput, match="did you mean 'arabic'"):
        choose_proxies(text, names=["arabik"])
    with pytest.raises(BadInput, match="given twice or is one of the package's"):
        choose_proxies(text, names=(), entries=["dna=regex:x"])


def test_a_process_that_matches_ends_by_itself_when_nobody_waits_for_it(monkeypatch):
    monkeypatch.setattr(regexes, "SECONDS", 0.2)
    pattern = regexes.BoundedPattern("(a+)+b")
    worker = pattern._started()
    regexes._send(worker, json.dumps(["a" * 60]))
    assert worker.wait(timeout=20) != 0
    pattern._seconds = 20.0
    assert pattern.marks(["xaab"]) == [[(1, 4)]]  # the next call starts another
