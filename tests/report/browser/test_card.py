"""The card of a feature in a real browser. Its HTML is in tests/report/test_feature_card.py."""

import itertools

import pytest

from monosem_jax.report.feature_card import card
from tests.report.browser import made
from tests.report.test_feature_card import made_records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return made_records(tmp_path_factory.mktemp("cards"))


def test_cards_look_right_in_chromium(records, chromium):
    """Arabic tokens follow each other leftwards; a card fits a phone; text is not executed."""
    page = chromium.new_page(viewport={"width": 400, "height": 900})
    page.set_content("".join(card(records[i]) for i in (made.ARABIC, made.CHINESE, made.HOSTILE)))
    boxes = page.evaluate(
        "[...document.querySelector('.tokens[dir=rtl]').querySelectorAll('span')].map(e => [e.innerText.trim(), "
        "...e.getClientRects()].slice(0, 2)).map(([t, r]) => [t, r.left, r.right, r.top])"
    )
    arabic = [b for b in boxes if any("\u0600" <= c <= "\u06ff" for c in b[0])]
    lines = [(a, b) for a, b in itertools.pairwise(arabic) if abs(a[3] - b[3]) < 5]
    assert lines and all(b[2] <= a[1] + 1 for a, b in lines)  # the next token is to the left
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("window.attacked") is None
    assert page.evaluate("[...document.querySelectorAll('.several')].length") > 0
    page.close()
