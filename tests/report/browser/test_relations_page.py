"""The map, splitting, automata, compare, and what other dictionaries have of a feature, in Chromium."""

import shutil
import urllib.parse

import pytest

from monosem_jax.report.browser.relations import PREFIX
from tests.report.browser.compared import ELSEWHERE, LARGE, SMALL, write_compared
from tests.report.browser.test_quality import OUTSIDE
from tests.report.browser.waiting import until

ROUTES = {
    "map": "#/sae/map",
    "map of labels": "#/sae/map?colour=label&q=script",
    "splitting": "#/splitting",
    "splitting of a child": "#/splitting?of=sae&feature=29&edges=all",
    "automata": "#/automata",
    "compare": "#/compare",
    "compare with one that is elsewhere": "#/compare?a=sae&b=" + urllib.parse.quote(ELSEWHERE),
    "related": "#/sae/feature/9",
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    write_compared(folder / "site", folder / "records")
    return folder / "site"


@pytest.fixture
def go(visit, compared):
    def opened(route, **more):
        page = visit(route, folder=compared, **more)
        page.wait_for_selector("main h1, main h2")
        return page

    return opened


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (1400, "light")])
@pytest.mark.parametrize("name", ROUTES)
def test_a_page_fits_runs_nothing_of_its_text_and_serves_everybody(go, visit, serious, name, width, theme):
    visit.expected.append("connect-src")  # axe reads style sheets, and the policy forbids it
    page = go(ROUTES[name], width=width, theme=theme)
    page.wait_for_timeout(400)
    page.eval_on_selector_all("main details", "all => all.forEach(e => { e.open = true; })")
    assert page.locator("main [role=alert]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    part = ".related" if name == "related" else "main"  # the rest of that page has tests of its own
    if part == "main":
        assert page.evaluate(OUTSIDE, width) == []
        assert serious(page) == []
    assert page.evaluate("window.attacked") is None
    assert page.locator(f"{part} :is(script, img, iframe, object, embed, form)").count() == 0
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.getAttribute('href'))")
    assert [link for link in links if not link.startswith(("#", "blob:"))] == []


def test_a_family_is_walked_by_a_click_and_opens_a_feature(go):
    page = go("#/splitting")
    page.wait_for_selector(".family-node.chosen")
    assert page.inner_text(".family-node.chosen .node-number") == "5"  # the first family that is told
    children = page.locator(".family-node:not(.chosen) .node-number").all_inner_texts()
    assert sorted(map(int, children)) == [5, 5 + SMALL]
    page.locator(".family-node:not(.chosen)").nth(1).focus()
    assert "similarity" in page.inner_text(".edge-told")
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('of=sae')")
    page.wait_for_selector("h3:text('Parents')")
    page.click("main >> text=open its page")
    until(page, "/^#.sae.feature.(5|29)/.test(location.hash)")


def test_a_feature_is_chosen_by_its_number(go):
    page = go("#/splitting")
    page.fill("main input[type=number]", "11")
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('feature=11')")
    page.wait_for_selector(".family-node.chosen >> text=11")


def test_automata_name_their_nodes_confirm_their_steps_and_open_features(go):
    page = go("#/automata")
    page.wait_for_selector(".automaton")
    assert page.locator("article").count() == 2
    first = page.locator("article").first
    assert "✓ confirmed" in first.inner_text()  # confirmed ones come first
    assert page.locator(".arrow-strong").count() == 2 and page.locator(".arrow-weak").count() == 1
    assert "never held" in page.inner_text("main") and "8" in page.inner_text(".check-figures")
    page.click("text=only confirmed")
    until(page, "document.querySelectorAll('article').length === 1")
    page.locator("article a").first.click()
    until(page, "location.hash.startsWith('#/sae/feature/3')")


def test_compare_says_medians_and_which_feature_is_which(go):
    page = go("#/compare?a=sae&b=first")
    page.wait_for_selector(".matches")
    text = page.inner_text("main")
    assert "0.625" in text and "0.600 to 0.650" in text and "0.250" in text
    assert "rough below 1,000,000" in text and "The sizes differ" in text and "few <img" in text
    assert "31.4" in text  # L0 of both, from their overviews
    rows = page.locator(".matches tbody tr")
    assert rows.count() == LARGE
    assert rows.first.locator("td").nth(1).inner_text() == "0.90"
    assert "never fires" in rows.last.inner_text()
    page.select_option("main >> label:has-text('show') >> select", "alone")
    until(page, f"document.querySelectorAll('.matches tbody tr').length === {LARGE - SMALL}")
    assert "show=alone" in page.evaluate("location.hash")
    page.click("[aria-label='Exchange a and b']")
    page.wait_for_selector("h2:has-text('Features of first and their best matches in sae')")


def test_dictionaries_without_a_match_say_so_and_are_compared_by_their_figures(go):
    page = go("#/compare?a=first&b=neurons")
    page.wait_for_selector("main >> text=The comparison did not match first with neurons")
    assert page.locator(".absent a").count() == 3


def test_a_feature_knows_its_twins_parents_and_automata(go):
    page = go("#/sae/feature/9")
    page.wait_for_selector(".related table")
    text = page.inner_text(".related")
    assert "Parents in the smaller dictionary, first" in text and "Automata it takes part in" in text
    assert ELSEWHERE in text and "0.81" in text
    page.click(".related table a[href*='first']")
    until(page, "location.hash.startsWith('#/first/feature/9')")
    page.wait_for_selector(".related >> text=Children in the larger dictionary, sae")


def test_from_a_feature_to_its_twins_its_place_on_the_map_and_back(go):
    page = go("#/sae/feature/9")
    page.wait_for_selector(".related table")
    page.click(".jump >> text=twins, parents, children")
    assert page.evaluate("document.activeElement.id") == "others"
    until(page, "(history.state?.place?.scroll ?? 0) > 0")
    left = page.evaluate("scrollY")
    page.click(".related table a[href*='first']")
    until(page, "location.hash.startsWith('#/first/feature/9') && scrollY === 0")
    page.go_back()
    until(page, f"scrollY === {left}")
    page.click(".jump >> text=its place on the map")
    page.wait_for_selector("main >> text=1 feature found")
    assert page.evaluate("location.hash") == "#/sae/map?q=sae+9"


def test_on_a_phone_the_pages_stay_in_sight_and_the_search_has_room(go):
    page = go("#/sae/feature/9", width=400)
    page.wait_for_selector(".related table")
    assert page.locator(".find input").bounding_box()["width"] > 180
    page.evaluate("scrollTo(0, 900)")
    until(page, "document.querySelector('header.top').getBoundingClientRect().top < -40")
    box = page.locator("header.top nav").bounding_box()
    assert 0 <= box["y"] < 8
    assert page.evaluate("document.querySelector('header.top nav').scrollWidth") <= box["width"] + 1


def test_the_map_is_moved_by_keys_searched_and_chosen_from(go):
    page = go("#/sae/map")
    page.wait_for_selector(".point-list li")
    assert page.locator(".map-legend button").count() == 2
    page.focus(".map-canvas")
    for key in ("+", "ArrowLeft"):
        page.keyboard.press(key)
    until(page, "location.hash.includes('at=')")
    before = page.inner_text(".point-list")
    page.keyboard.press("0")
    until(page, "!location.hash.includes('at=')")
    assert page.inner_text(".point-list") != before
    page.fill("main input[type=search]", "11")
    page.wait_for_selector("main >> text=2 chosen features")  # number 11 of both
    assert sorted(page.locator(".point-list a").all_inner_texts()) == ["first 11", "sae 11"]
    page.fill("main input[type=search]", "first 11")
    page.wait_for_selector("main >> text=1 chosen feature")
    page.wait_for_selector("h2:has-text('Its neighbours on the map')")
    page.fill("main input[type=search]", "من")
    until(page, "/[1-9]\\d* chosen features/.test(document.querySelector('main').innerText)")
    page.select_option("main >> label:has-text('colour') >> select", "density")
    page.wait_for_selector(".map-ramp")


def test_a_lasso_lists_what_is_inside_and_stays_in_the_address(go):
    page = go("#/sae/map")
    page.wait_for_selector(".point-list li")
    page.click("main >> text=Lasso")
    page.wait_for_timeout(300)  # what comes later moves the canvas
    box = page.locator(".map-canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    radius = 0.36 * box["height"]  # the inner circle, of the small dictionary, is inside
    corners = [(1, 0), (0.7, 0.7), (0, 1), (-0.7, 0.7), (-1, 0), (-0.7, -0.7), (0, -1), (0.7, -0.7), (1, 0)]
    page.mouse.move(middle[0] + radius, middle[1])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(middle[0] + x * radius, middle[1] + y * radius, steps=4)
    page.mouse.up()
    until(page, "location.hash.includes('lasso=')")
    page.wait_for_selector(f"main >> text={SMALL} chosen features")
    page.reload()
    page.wait_for_selector(f"main >> text={SMALL} chosen features")


def test_a_click_opens_a_feature_and_hovering_names_it(go):
    page = go("#/sae/map")
    page.wait_for_selector(".point-list li")
    box = page.locator(".map-canvas").bounding_box()
    scale = 0.94 * box["height"] / 4  # the plane of the made map goes from about -2 to 2
    x, y = box["x"] + box["width"] / 2 + 2 * scale, box["y"] + box["height"] / 2
    page.mouse.move(x - 3, y - 2)
    page.wait_for_selector(".map-hover")
    assert "sae 0" in page.inner_text(".map-hover")
    page.mouse.click(x - 3, y - 2)
    until(page, "location.hash.startsWith('#/sae/feature/0')")


def test_two_dictionaries_without_a_comparison_are_compared_by_their_figures(visit, tmp_path):
    write_compared(tmp_path / "site", tmp_path / "records", compared=False)
    page = visit("#/compare", folder=tmp_path / "site")
    page.wait_for_selector(".pair-chart")
    text = page.inner_text("main")
    assert "a: sae" in text and "b: first" in text and "31.4" in text and "experiments.compare" in text


def test_a_missing_file_is_named_and_the_rest_of_the_page_stays(visit, compared, tmp_path):
    folder = tmp_path / "site"
    shutil.copytree(compared, folder)
    (folder / "data" / PREFIX / "match-0-1" / "00000.js").unlink()
    visit.expected += ["00000.js", "ERR_FILE_NOT_FOUND"]
    page = visit("#/compare?a=sae&b=first", folder=folder)
    page.wait_for_selector("main [role=alert]")
    assert "match-0-1/00000.js is missing" in page.inner_text("main [role=alert]")
    assert "0.625" in page.inner_text("main") and "31.4" in page.inner_text("main")


def test_without_a_comparison_pages_say_how_to_get_one(visit):
    for route in ("#/sae/map", "#/splitting", "#/automata"):
        page = visit(route)
        page.wait_for_selector("main pre")
        assert "--config.compare=" in page.inner_text("main")
    page = visit("#/sae/feature/3")
    page.wait_for_selector("main h2")
    assert page.locator(".related").count() == 0
