"""The page of the blind rating: what it exports is what the analysis reads."""

from __future__ import annotations

import dataclasses
import json

import pytest

from monosem_jax.analysis.rating.material import MATERIAL
from monosem_jax.analysis.rating.ratings import Rating, read_ratings
from monosem_jax.analysis.rating.rubric import RUBRIC
from monosem_jax.report.browser.site import write_site
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from tests.report.browser.made import ATTACKS, material


def rating_material() -> dict:
    """Three items of two intervals each, the second of them partly without examples; attacks among the tokens."""
    examples = [
        {"tokens": ["The", " law", ATTACKS[0], "\u202e"], "activations": [0.0, 0.97, 0.2, 0.0], "peak": 1},
        {"tokens": ["\u0645\u0627", " \u0645\u0646"], "activations": [0.92, 0.0], "peak": 0},
    ]
    items = [
        {
            "id": f"{i:012x}",
            "intervals": [
                {"interval": 10, "examples": examples},
                {"interval": 3, "examples": [] if i == 1 else examples[:1]},
            ],
            "logits": [[" of", 1.0], [ATTACKS[3], 0.5]],
        }
        for i in range(3)
    ]
    return {"format": 1, "rubric": [dataclasses.asdict(q) for q in RUBRIC], "items": items}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A browser with rating material; the material itself is beside it."""
    place = tmp_path_factory.mktemp("rating")
    given = rating_material()
    write_json(place / MATERIAL, given)
    (place / "site").mkdir()
    write_site(place / "site", "Features", "0", [dataclasses.replace(material(place / "records"), rating=given)])
    return place / "site"


def opened(visit, folder, route="#/sae/rate"):
    page = visit(route, folder=folder)
    page.wait_for_selector(".rated")
    return page


def saved(page, tmp_path):
    """The file that the page gives."""
    with page.expect_download() as download:
        page.click("text=Save ratings")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


def answer_by_keys(page, words, *points):
    page.keyboard.press("Enter")  # the first question
    page.wait_for_selector(".question.active input")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    for p in points:
        page.wait_for_timeout(40)  # as a person would
        page.keyboard.press(str(p))
    page.wait_for_timeout(40)


def test_ratings_by_keyboard_are_read_by_the_analysis(visit, folder, tmp_path):
    page = opened(visit, folder)
    assert page.evaluate("window.attacked") is None
    # confidence, logits and their separation, then consistency and specificity of interval 10 and of interval 3
    answer_by_keys(page, "legal <b>text</b> 3", 2, 1, 1, 5, 3, 0, 1)
    assert page.locator(".rate-items .done").count() == 1
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("[aria-current][aria-label^='Item 2']")
    answer_by_keys(page, "Arabic", 3, 3, 4, 2)  # with all points for logits their separation is not asked
    assert page.locator(".rate-items .done").count() == 2
    found = read_ratings(saved(page, tmp_path), folder.parent)
    assert found.interpretations == {"0" * 12: "legal <b>text</b> 3", "0" * 11 + "1": "Arabic"}
    assert set(found.points) == {
        Rating("0" * 12, 10, 2 + 1 + 1 + 5 + 3),
        Rating("0" * 12, 3, 2 + 1 + 1 + 0 + 1),
        Rating("0" * 11 + "1", 10, 3 + 3 + 4 + 2),
    }
    assert found.missing == ("0" * 11 + "2",)


def test_a_digit_before_any_question_goes_to_the_first(visit, folder):
    page = opened(visit, folder)
    page.keyboard.press("5")
    page.wait_for_selector(".question.active input:focus")
    assert page.input_value(".question.active input") == ""


def test_ratings_by_mouse_stay_and_go_on_from_a_file(visit, folder, tmp_path):
    page = opened(visit, folder, "#/sae/rate?item=3")
    page.fill(".question input", "numbers")
    for step, points in (("confidence", 1), ("logits", 0), ("logits_separated", 0), ("consistency@10", 4)):
        page.click(f"[data-step='{step}'] button:text-is('{points}')")
    assert page.locator(".rate-items .begun").count() == 1
    file = saved(page, tmp_path)
    given = json.loads(file.read_text())
    assert given["ratings"] == [] and list(given["begun"]) == ["0" * 11 + "2"]
    with pytest.raises(BadInput, match="rates no interval"):
        read_ratings(file, folder.parent)
    page.reload()
    page.wait_for_selector(".rate-items .begun")  # kept
    assert page.input_value(".question input") == "numbers"
    page.evaluate("localStorage.clear()")
    page.reload()
    page.wait_for_selector(".rated")
    assert page.locator(".rate-items .begun").count() == 0
    page.set_input_files("input[type=file]", file)
    page.wait_for_selector(".rate-items .begun")
    page.click("[data-step='specificity@10'] button:text-is('2')")
    found = read_ratings(saved(page, tmp_path), folder.parent)
    assert found.points == (Rating("0" * 11 + "2", 10, 1 + 0 + 0 + 4 + 2),)
    assert "0" * 11 + "2, interval 3" in found.missing


def test_the_separation_is_asked_only_below_all_points(visit, folder):
    page = opened(visit, folder)
    separated = page.locator("[data-step='logits_separated']")
    assert separated.count() == 0  # not before the logits are rated
    page.click("[data-step='logits'] button:text-is('1')")
    separated.locator("button:text-is('1')").click()
    page.click("[data-step='logits'] button:text-is('3')")
    assert separated.count() == 0
    page.click("[data-step='logits'] button:text-is('2')")
    assert separated.locator("[aria-pressed=true]").count() == 0  # the answer was dropped


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ('{"ratings": 3}', "no list"),
        ('{"ratings": [{"id": "ffff"}]}', "belongs to another analysis"),
        ('{"ratings": [{"id": "000000000000", "confidence": 9}]}', "confidence is out of range"),
        ('{"ratings": [{"id": "000000000000", "<img src=x onerror=window.attacked=1>": 1}]}', "does not ask for"),
        ('{"ratings": [{"id": "000000000000", "intervals": {"7": {"consistency": 1}}}]}', "does not ask for"),
        ('{"ratings": [{"id": "000000000000"}, {"id": "000000000000"}]}', "twice"),
    ],
)
def test_a_file_that_is_not_one_of_ours_changes_nothing(visit, folder, tmp_path, text, says):
    page = opened(visit, folder)
    page.click("[data-step='confidence'] button:text-is('2')")
    file = tmp_path / "given.json"
    file.write_text(text)
    page.set_input_files("input[type=file]", file)
    page.locator(".rate-files [role=status]", has_text=says).wait_for()
    assert page.get_attribute("[data-step='confidence'] button:text-is('2')", "aria-pressed") == "true"
    assert page.evaluate("window.attacked") is None


def test_without_storage_ratings_stay_in_memory_and_that_is_said(visit, folder, tmp_path):
    page = visit("#/sae/overview", folder=folder)
    page.evaluate(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})"
    )
    page.evaluate("location.hash = '#/sae/rate'")
    page.click("[data-step='confidence'] button:text-is('2')")
    page.wait_for_selector(".warning:has-text('keeps nothing')")
    page.evaluate("location.hash = '#/sae/overview'")
    page.wait_for_selector(".overview")
    page.evaluate("location.hash = '#/sae/rate'")
    page.wait_for_selector("[data-step='confidence'] [aria-pressed=true]")


def test_bold_are_the_strong_tokens_and_nothing_tells_features_from_neurons(visit, folder):
    page = opened(visit, folder)
    assert page.locator(".rated-interval").first.locator("strong").all_inner_texts() == [" law", "\u0645\u0627"]
    assert page.locator(".rated-examples p").nth(1).get_attribute("dir") == "rtl"
    assert "\\u202e" in page.inner_text(".rated")
    key = list(folder.rglob("*rating_key*"))
    assert key == []


def test_buttons_beside_the_questions_do_what_they_are_for(visit, folder):
    page = opened(visit, folder)
    page.focus(".rate-bar button:text-is('Next')")
    page.keyboard.press("Enter")
    page.wait_for_selector("[aria-current][aria-label^='Item 2']")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("[aria-current][aria-label^='Item 1']")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".question.active input")
    page.keyboard.type("0 and 1")
    assert page.input_value(".question input") == "0 and 1"
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("[data-step='confidence'].active")
    page.keyboard.press("9")  # more than there are
    page.keyboard.press("ArrowUp")
    page.wait_for_selector(".question.active input")
    assert page.locator("[aria-pressed=true]").count() == 0


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (1400, "light")])
def test_the_page_fits_and_serves_everybody(serious, visit, folder, width, theme):
    visit.expected.append("connect-src")  # axe reads style sheets, and the policy forbids it
    page = visit("#/sae/rate", width=width, theme=theme, folder=folder)
    page.click("[data-step='logits'] button:text-is('1')")
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_analysis_without_material_says_so(visit):
    page = visit("#/sae/rate")
    page.wait_for_selector(".absent")
    assert "made no rating material" in page.inner_text("main")
