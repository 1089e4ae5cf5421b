"""The page "Try it", with a small model in the browser."""

from __future__ import annotations

import dataclasses
import shutil
import urllib.parse

import numpy as np
import pytest

from monosem_jax.report.browser.model import write_model
from monosem_jax.report.browser.site import write_site
from monosem_jax.stages.browser_model import served_values
from tests.report.browser.made import material, write_records
from tests.report.browser.models import dictionary, feature_set, tokenizer
from tests.report.browser.test_engine import python_values
from tests.report.browser.test_quality import OUTSIDE
from tests.report.browser.waiting import until

TEXT = "the quick fox שלום 🙂 12"
ATTACK = "\u202e\x00<img src=x onerror='window.attacked=1'></script><script>window.attacked=1</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A browser whose dictionary has the model of the case relu."""
    root = tmp_path_factory.mktemp("try")
    write_records(root / "records")
    served = served_values(*dictionary("relu"), tokenizer().to_str())
    with_model = dataclasses.replace(
        material(root / "records"), model=lambda folder, key: write_model(folder, key, served)
    )
    (root / "site").mkdir()
    write_site(root / "site", "Features", "0", [with_model])
    return root / "site"


def opened(visit, folder, query, **more):
    page = visit(f"#/sae/try?{query}", folder=folder, **more)
    page.wait_for_selector(".try-sample[aria-busy=false]")
    return page


def query(**values):
    return urllib.parse.urlencode({"text": TEXT, **values})


def test_the_features_of_a_token_are_those_of_python(visit, folder):
    ids = [0, *tokenizer().encode(TEXT).ids]
    f = feature_set(*dictionary("relu")).activations(np.asarray([ids]))[0]
    token = int(np.argmax((f > 0).sum(axis=1)))
    page = opened(visit, folder, query(token=token))
    shown = page.eval_on_selector_all(
        ".try-fired li button", "all => all.map(b => [...b.querySelectorAll('.number')].map(n => n.textContent))"
    )
    best = np.argsort(-f[token])[: min(10, (f[token] > 0).sum())]
    assert [int(number) for number, _ in shown] == best.tolist()
    np.testing.assert_allclose([float(value) for _, value in shown], f[token][best], rtol=0.01)
    page.click(".try-fired li button >> nth=0")
    page.wait_for_selector(".try-fired li button[aria-pressed=true]")
    assert f"feature={best[0]}" in page.url
    shaded = page.locator(".try-fires.try-piece").count()
    assert 0 < shaded <= (f[:, best[0]] > 0).sum()


def test_bytes_of_one_character_are_one_piece_and_its_parts_can_be_chosen(visit, folder):
    page = opened(visit, folder, query())
    joined = page.locator(".try-joined")
    assert "🙂" in "".join(joined.all_inner_texts())
    assert "".join(page.locator(".try-piece:not(.try-start)").all_inner_texts()) == TEXT
    joined.filter(has_text="🙂").click()
    parts = page.locator(".try-token p button")
    assert parts.count() > 1
    parts.nth(1).click()
    page.wait_for_selector(".try-token p button:nth-of-type(2)[aria-pressed=true]")


def test_a_pinned_feature_changes_what_is_expected_as_in_python(visit, folder):
    ids, feature, token = [0, *tokenizer().encode(TEXT).ids], 11, 3
    page = opened(visit, folder, query(feature=feature, token=token))
    largest = float(page.locator(".try-changed p.small").first.inner_text().split("records ")[1].split(";")[0])
    strength = 1.5 / largest  # python_values pins at 1.5
    page = opened(visit, folder, query(feature=feature, token=token, mode="pin", value=strength))
    page.wait_for_selector("th:has-text('after')")
    until(page, "[...document.querySelectorAll('.try-expected td.number')].every(e => e.textContent !== '…')")
    cells = page.eval_on_selector_all(
        ".try-expected tbody tr", "all => all.map(r => [...r.querySelectorAll('td.number')].map(c => c.textContent))"
    )
    _, _, before, _, after, _ = python_values(*dictionary("relu"), np.asarray([ids]), feature)
    p, q = (np.exp(x[0, token] - np.logaddexp.reduce(x[0, token])) for x in (before, after))
    chosen = set(np.argsort(-p)[:6]) | set(np.argsort(-q)[:6])
    expected = sorted(((p[i], q[i]) for i in chosen), key=lambda row: -row[1])
    assert len(cells) == len(expected)
    for shown, values in zip(cells, expected, strict=True):
        for text, value in zip(shown, values, strict=True):
            number = 0.05 if "<" in text else float(text.split()[0])
            assert abs(number - 100 * value) < (0.6 if value > 0.09 else 0.07)
    until(page, "document.querySelectorAll('.try-sample[aria-busy=false]').length === 2")
    written = page.locator(".try-sample").all_inner_texts()
    page.reload()
    until(page, "document.querySelectorAll('.try-sample[aria-busy=false]').length === 2")
    assert page.locator(".try-sample").all_inner_texts() == written  # the address holds it all


def test_everything_can_be_done_by_keyboard_and_is_in_the_address(visit, folder):
    page = opened(visit, folder, query(feature=11))
    page.focus(".try-flow")
    page.keyboard.press("Home")
    until(page, "location.hash.includes('token=0')")
    page.keyboard.press("ArrowRight")
    until(page, "location.hash.includes('token=1')")
    page.focus(".try-mode input >> nth=0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    until(page, "location.hash.includes('mode=pin')")
    page.focus("input[type=range]")
    page.keyboard.press("End")
    until(page, "location.hash.includes('value=8')")
    page.fill("textarea", "the fox")
    until(page, "location.hash.includes('text=the+fox')")
    until(page, "document.querySelector('.try-flow').textContent === '▸the fox'")


def test_the_first_text_comes_from_the_records(visit, folder):
    page = visit("#/sae/try", folder=folder)
    page.wait_for_selector(".try-flow")
    assert "text=" in page.url and "feature=" in page.url
    assert page.locator(".try-examples button").count() >= 1


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (1400, "light")])
def test_hostile_text_is_inert_and_the_page_serves_everybody(serious, visit, folder, width, theme):
    visit.expected.append("connect-src")  # axe reads style sheets, and the policy forbids it
    page = opened(visit, folder, query(feature=11, mode="steer", value=2), width=width, theme=theme)
    page.fill("textarea", ATTACK + " " + "w" * 5000)
    until(page, "document.querySelector('.try-flow').textContent.includes('\\\\u202e')")
    assert page.evaluate("window.attacked") is None
    assert "␀" in page.inner_text(".try-flow")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE, width) == []
    assert serious(page) == []


def test_a_missing_part_of_the_model_is_named(visit, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "site")
    (tmp_path / "site" / "data" / "sae" / "model.dictionary" / "0.js").unlink()
    visit.expected += ["model.dictionary", "ERR_FILE_NOT_FOUND"]
    page = visit("#/sae/try", folder=tmp_path / "site")
    page.wait_for_selector("main [role=alert]")
    assert "data/sae/model.dictionary/0.js is missing" in page.inner_text("main")


def test_a_browser_without_the_model_says_why(visit, tmp_path):
    write_records(tmp_path / "records")
    made = dataclasses.replace(material(tmp_path / "records"), absent={"model": "it has <b>99</b> parameters"})
    (tmp_path / "site").mkdir()
    write_site(tmp_path / "site", "Features", "0", [made])
    page = visit("#/sae/try", folder=tmp_path / "site")
    page.wait_for_selector(".absent")
    assert "The model is not in this browser: it has <b>99</b> parameters." in page.inner_text("main")
