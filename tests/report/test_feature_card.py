"""The card of a feature in a notebook."""

import dataclasses
import html.parser

import pytest

import monosem_jax as mj
from monosem_jax.analysis.records_io import Records
from monosem_jax.report.feature_card import FeatureCard, card
from monosem_jax.report.text import token_text, visible
from monosem_jax.runtime.errors import BadInput
from tests import planted
from tests.report.browser import made

VOID = {"rect"}


class Parsed(html.parser.HTMLParser):
    """Elements with their attributes and the text that is shown; checks that every element is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self._open = "", []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data


def made_records(folder):
    """number -> record of the made-up features, hostile text among them."""
    made.write_browser(folder / "site", folder / "records")
    found = next(p.parent for p in folder.rglob("records.json"))
    return {r.feature: r for r in Records(found).all()}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return made_records(tmp_path_factory.mktemp("cards"))


def test_an_analysis_gives_the_card_of_a_feature(small_analysis):
    run = mj.load_analysis(small_analysis)
    shown = run.feature_card(planted.SET_FEATURE)
    assert isinstance(shown, FeatureCard) and shown._repr_html_() == shown.html
    found = Parsed(shown.html)
    r = run.feature(planted.SET_FEATURE)
    assert f"Feature {planted.SET_FEATURE}" in found.text and "best for hebrew" in found.text
    assert f"largest activation {r.largest:.4g}" in found.text
    contexts = [a for tag, a in found.elements if tag == "p" and a.get("class") == "tokens"]
    assert len(contexts) >= len(r.examples) and "rtl" in {a["dir"] for a in contexts}
    assert r.explanations[0].text in found.text
    assert "Neuron 3" in Parsed(run.feature_card(3, "neurons").html).text
    assert "It fired on no token." in Parsed(run.feature_card(planted.DEAD_FEATURE).html).text
    assert repr(shown).startswith(f"<card of feature {planted.SET_FEATURE} of features, ")
    with pytest.raises(BadInput, match="has no record of feature 99"):
        run.feature_card(99)


def test_tokens_keep_their_order_and_peaks(small_analysis):
    r = mj.load_analysis(small_analysis).feature(planted.DENSE_FEATURE)
    found = Parsed(card(dataclasses.replace(r, intervals=(), samples=())))
    assert r.examples
    for e in r.examples:
        assert "".join(visible(token_text(t)) for t in e.tokens) in found.text
    classes = [a.get("class") or "" for tag, a in found.elements if tag == "span" and "title" in a]
    assert sum("peak" in c.split() for c in classes) == len(r.examples)
    fired = sum(a > 0 for e in r.examples for a in e.activations)
    assert sum(any(c.startswith("f") for c in name.split()) for name in classes) == fired


def test_nothing_in_a_record_becomes_markup(records):
    hostile = records[made.HOSTILE]
    found = Parsed(card(hostile))
    names = {tag for tag, _ in found.elements}
    assert not names & {"script", "img", "iframe", "a", "link", "object", "embed", "form"}
    for tag, attributes in found.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "href", "src")], tag
    for c in "\u202a\u202b\u202d\u202e\u2066\u2067\0":
        assert c not in found.text
    card(hostile).encode("utf-8")  # no lone surrogates
    assert "<script>window.attacked=1</script>" in found.text  # as text


def test_an_arabic_context_reads_from_right_to_left(records):
    found = Parsed(card(records[made.ARABIC]))
    directions = [a["dir"] for tag, a in found.elements if tag == "p" and a.get("class") == "tokens" and "dir" in a]
    assert directions.count("rtl") >= len(records[made.ARABIC].examples)


def test_a_bare_record_has_a_card(records):
    Parsed(card(records[made.BARE]))
    Parsed(card(records[made.DEAD]))
