"""The table of features: filters, order, address, keyboard, and coming back."""

import shutil

import pytest

from monosem_jax.report.browser.index import SetIndex
from tests.report.browser.made import ARABIC, CHINESE, DEAD, DENSE, SIZES, feature, write_browser
from tests.report.browser.waiting import order as features

pytestmark = pytest.mark.slow
RECORDS = [feature(i) for i in range(SIZES["features"])]


@pytest.fixture(scope="module")
def parted(tmp_path_factory):
    """The small browser with its index in three segments."""
    folder = tmp_path_factory.mktemp("parted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SetIndex, "SEGMENT", 16)
        write_browser(folder / "site", folder / "records")
    return folder / "site"


def go(page, address):
    """Another address, and the features that are then shown."""
    page.evaluate("a => { sessionStorage.clear(); location.hash = a }", address)
    return features(page)


ACTIVE_ROW = """document.getElementById(
  document.querySelector("[role=grid]")?.getAttribute("aria-activedescendant") ?? "")?.getAttribute("aria-rowindex")"""


def comes(page, expression, value):
    """Whether a value comes about within half a minute."""
    for _ in range(600):
        if page.evaluate(expression) == value:
            return True
        page.wait_for_timeout(50)
    return False


def changed(page, act):
    page.evaluate("sessionStorage.clear()")
    act()
    return features(page)


def by(key, descending=True, keep=lambda r: True):
    """The numbers of the records that are kept, in the order of a value; those without it last."""
    found = [r for r in RECORDS if keep(r)]
    have = [r for r in found if key(r) is not None]
    ordered = sorted(have, key=lambda r: -key(r) if descending else key(r))
    return [r.feature for r in [*ordered, *(r for r in found if key(r) is None)]]


def judged(r, what="value"):
    return next((getattr(s, what) for s in r.scores if s.kind == "simulation"), None)


def gain(r):
    return None if judged(r) is None else round(judged(r), 2) - round(judged(r, "shuffled"), 2)


def rounded(x):
    return None if x is None else round(x, 2)


NEAREST = lambda r: rounded(r.nearest_label_correlation)  # noqa: E731
CASES = {
    "": by(lambda r: r.feature, False),
    "dir=desc": by(lambda r: r.feature),
    "sort=density": by(lambda r: r.density),
    "sort=density&dir=asc&class=alive": by(lambda r: r.density, False, lambda r: r.density > 0),
    "sort=largest": by(lambda r: float(f"{r.largest:.3g}")),
    "sort=label": by(NEAREST),
    "sort=score": by(lambda r: rounded(judged(r))),
    "sort=gain&gain=0.4": by(gain, keep=lambda r: gain(r) is not None and gain(r) >= 0.4 - 1e-9),
    "score=0.35": [r.feature for r in RECORDS if rounded(judged(r)) is not None and rounded(judged(r)) >= 0.35],
    "sort=stability&dir=asc": by(lambda r: r.stability, False),
    "stable=0.5": [r.feature for r in RECORDS if r.stability],
    "class=dead": [DEAD],
    "class=dense": [r.feature for r in RECORDS if r.density > 0.01],
    "class=ultralow": [],
    "label=chinese": [r.feature for r in RECORDS if r.nearest_label == "chinese"],
    "label=chinese&least=0.3": [r.feature for r in RECORDS if r.nearest_label == "chinese" and NEAREST(r) >= 0.3],
    "proxy=arabic": [ARABIC],
    "best=1": [ARABIC, CHINESE],
    "min=0.005&max=0.01": [r.feature for r in RECORDS if 0.005 <= float(f"{r.density:.6g}") <= 0.01],
    "peak=6": [r.feature for r in RECORDS if float(f"{r.largest:.3g}") >= 6],
    "q=graph+arabic": [r.feature for r in RECORDS if any("arabic graph" in e.text for e in r.explanations)],
    "min=nonsense&label=none&sort=toString&class=constructor": by(lambda r: r.feature, False),
    "set=neurons&sort=density&dir=asc": list(range(SIZES["neurons"])),
}


def test_what_is_asked_in_the_address_is_shown(visit, parted):
    page = visit("#/sae/features?sort=largest", folder=parted)
    features(page)
    for query, expected in CASES.items():
        found = go(page, f"#/sae/features?{query}")
        if query.startswith("q="):
            assert sorted(found) == sorted(expected) != [], query
        elif query.startswith("set=neurons"):
            assert sorted(found) == expected
        else:
            assert found == expected, query
        known = SIZES["neurons" if "neurons" in query else "features"]
        assert page.locator("[role=status]").inner_text().startswith(f"{len(found)} of {known} ")
    assert "cannot be told" in (go(page, "#/sae/features?class=ultralow"), page.inner_text("main"))[1]


def test_a_density_at_a_bound_is_on_its_own_side():
    exact = [r.density for r in RECORDS if float(f"{r.density:.3g}") != r.density]
    assert all((float(f"{d:.6g}") > 0.01) == (d > 0.01) for d in exact)


def test_controls_write_the_address_and_show_it(visit, parted):
    page = visit("#/sae/features", folder=parted)
    assert len(features(page)) == 48
    controls = page.locator("main .controls")
    label = controls.locator("label:has(> span:text-is('Label')) select")
    assert changed(page, lambda: label.select_option(label="arabic"))[0] == 0
    assert "label=arabic" in page.url
    found = changed(page, lambda: page.get_by_role("columnheader", name="Density").get_by_role("button").click())
    assert found == by(lambda r: r.density, keep=lambda r: r.nearest_label == "arabic")
    assert page.get_by_role("columnheader", name="Density").get_attribute("aria-sort") == "descending"
    found = changed(page, lambda: page.get_by_role("columnheader", name="Density").get_by_role("button").click())
    assert found == by(lambda r: r.density, False, lambda r: r.nearest_label == "arabic")
    assert page.evaluate("document.activeElement.textContent").startswith("Density")  # still there for the keyboard
    assert len(changed(page, lambda: page.click("main >> text=Clear filters"))) == 48
    found = changed(page, lambda: controls.get_by_label("Search").fill("graph chin"))
    assert found and all(RECORDS[i].nearest_label == "chinese" for i in found) and "q=graph" in page.url
    assert changed(page, page.reload) == found
    assert controls.get_by_label("Search").input_value() == "graph chin"
    assert changed(page, lambda: page.click("main .presets >> text=Dead")) == [DEAD]


def test_the_table_by_keyboard_and_back(visit, parted):
    page = visit("#/sae/features?sort=density", folder=parted)
    order = features(page)
    grid = page.get_by_role("grid")
    assert (grid.get_attribute("aria-rowcount"), grid.get_attribute("aria-colcount")) == ("49", "8")
    grid.focus()
    for key in ("ArrowDown", "j", "ArrowDown", "k"):
        page.keyboard.press(key)
    active = lambda: page.locator(f"#{grid.get_attribute('aria-activedescendant')}")  # noqa: E731
    assert comes(page, ACTIVE_ROW, "4")
    page.keyboard.press("End")
    assert comes(page, ACTIVE_ROW, "49")
    assert active().get_by_role("link").inner_text() == str(order[-1])
    assert page.evaluate("scrollY") > 500
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    assert comes(page, ACTIVE_ROW, str(49 - 5))
    page.wait_for_timeout(300)
    left = page.evaluate("scrollY")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**#/sae/feature/{order[-6]}")
    assert features(page) == order
    assert comes(page, "scrollY", 0)
    page.go_back()
    page.get_by_role("grid").wait_for()
    assert left > 400 and comes(page, "scrollY", left)
    assert comes(page, ACTIVE_ROW, str(49 - 5))
    page.get_by_role("navigation", name="Pages").get_by_text("Features").click()
    assert comes(page, "document.querySelectorAll('#row-0').length", 1)  # another order begins at its first row
    page.go_back()
    assert comes(page, "location.hash", "#/sae/features?sort=density")
    page.get_by_role("navigation", name="Pages").get_by_text("Map").click()
    page.get_by_role("navigation", name="Pages").get_by_text("Features").click()
    page.get_by_role("grid").wait_for()
    assert comes(page, "scrollY", 0)  # a new visit begins at the top


@pytest.mark.parametrize("width", [400, 1400])
def test_a_row_opens_its_feature(visit, parted, width):
    page = visit("#/sae/features?class=dense&sort=density", width=width, folder=parted)
    assert features(page)[0] == DENSE
    row = page.locator("main [role=row].line").first
    assert row.bounding_box()["height"] == (72 if width == 400 else 40)
    row.locator(".density").click()
    page.wait_for_url(f"**#/sae/feature/{DENSE}")


def test_only_rows_near_the_screen_are_in_the_document(visit, parted):
    page = visit("#/sae/features", folder=parted)
    features(page)
    assert 0 < page.locator("main [role=row].line").count() < 48
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(200)
    assert page.locator("main [role=row].line").last.get_attribute("aria-rowindex") == "49"


def test_the_search_of_the_header(visit, parted):
    page = visit("#/sae/map", folder=parted)
    page.wait_for_selector("main h1")
    page.keyboard.press("/")
    box = page.get_by_role("banner").get_by_role("searchbox")
    assert box.evaluate("e => e === document.activeElement")
    page.keyboard.type("17\n")
    page.wait_for_url("**#/sae/feature/17")
    box.fill("48")
    box.press("Enter")
    assert "numbered from 0 to 47" in page.get_by_role("banner").inner_text()
    box.fill("chinese & graph/?")
    box.press("Enter")
    page.wait_for_url("**#/sae/features?q=chinese*")
    page.wait_for_selector("main .controls")
    assert page.get_by_label("Search", exact=True).input_value() == "chinese & graph/?"
    page.get_by_role("grid").focus()
    page.keyboard.press("/")  # the page has a search of its own
    assert page.get_by_label("Search", exact=True).evaluate("e => e === document.activeElement")
    page.keyboard.type("/")
    assert "/" in page.get_by_label("Search", exact=True).input_value()


def test_a_part_of_the_index_or_the_search_is_missing(visit, parted, tmp_path):
    shutil.copytree(parted, tmp_path / "site")
    data = tmp_path / "site" / "data" / "sae" / "features"
    (data / "index-1.js").unlink()
    (data / "search.js").unlink()
    visit.expected += ["index-1.js", "search.js", "ERR_FILE_NOT_FOUND"]
    page = visit("#/sae/features", folder=tmp_path / "site")
    assert features(page) == [*range(16), *range(32, 48)]
    assert "data/sae/features/index-1.js is missing" in page.locator("main [role=alert]").inner_text()
    page.evaluate("location.hash = '#/sae/features?q=arabic'")
    page.wait_for_selector("text=The search cannot be used")
    assert "data/sae/features/search.js is missing" in page.inner_text("main")
