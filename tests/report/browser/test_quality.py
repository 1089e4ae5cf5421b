"""What holds for every page: it fits, nothing of its text runs, and axe-core finds nothing serious."""

from __future__ import annotations

import shutil

import pytest

from monosem_jax.report.browser.container import unpacked, write_json_chunk
from tests.report.browser.made import ARABIC, DEAD, HOSTILE

ROUTES = {
    "overview": "#/sae/overview",
    "features": "#/sae/features",
    "a search": "#/sae/features?q=script",
    "neurons": "#/sae/features?set=neurons",
    "a feature": f"#/sae/feature/{ARABIC}",
    "a dead feature": f"#/sae/feature/{DEAD}",
    "a hostile feature": f"#/sae/feature/{HOSTILE}",
    "map": "#/sae/map",
    "splitting": "#/splitting",
    "automata": "#/automata",
    "compare": "#/compare",
    "try it": "#/sae/try",
    "rate": "#/sae/rate",
    "no such page": "#/sae/nothing",
    "no such feature": "#/sae/feature/99999",
}
OUTSIDE = """width => [...document.querySelectorAll("main *")].filter(e => {
  const box = e.getBoundingClientRect();
  let inside = e; // then the nearest element that scrolls or cuts by itself
  while (inside && getComputedStyle(inside).overflowX === "visible") inside = inside.parentElement;
  const free = !inside || inside === document.documentElement || inside === document.body;
  return box.width && box.right > width + 1 && free;
}).map(e => e.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (1400, "light")])
@pytest.mark.parametrize("name", ROUTES)
def test_a_page_fits_runs_nothing_of_its_text_and_serves_everybody(visit, browser_folder, serious, name, width, theme):
    visit.expected.append("connect-src")  # axe reads style sheets, and the policy forbids it
    asked: list[str] = []
    page = visit("#/sae/nothing", width=width, theme=theme)
    page.goto("about:blank")
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{(browser_folder / 'index.html').as_uri()}{ROUTES[name]}")
    page.wait_for_selector("main h1, main [role=alert]")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE, width) == []
    assert page.evaluate("window.attacked") is None
    assert [url for url in asked if not url.startswith((browser_folder.as_uri(), "blob:", "data:"))] == []
    assert page.locator("main :is(script, img[src^='http'], iframe, object, embed)").count() == 0
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.getAttribute('href'))")
    assert [link for link in links if not link.startswith(("#", "blob:"))] == []
    assert serious(page) == []


def test_a_missing_file_is_named_and_the_rest_works(visit, browser_folder, tmp_path):
    folder = tmp_path / "site"
    shutil.copytree(browser_folder, folder)
    (folder / "data" / "sae" / "features" / "00000.js").unlink()
    visit.expected += ["00000.js", "ERR_FILE_NOT_FOUND"]
    page = visit(f"#/sae/feature/{ARABIC}", folder=folder)
    page.wait_for_selector("main [role=alert]")
    assert "data/sae/features/00000.js is missing" in page.inner_text("main")
    page.click("nav >> text=Overview")
    page.wait_for_selector("main h1")
    assert page.locator("main [role=alert]").count() == 0


def test_a_browser_of_a_newer_format_is_not_guessed_at(visit, browser_folder, tmp_path):

    folder = tmp_path / "site"
    shutil.copytree(browser_folder, folder)
    write_json_chunk(folder, "site", {**unpacked(folder / "data" / "site.js"), "format": 99})
    page = visit("#/sae/overview", folder=folder)
    page.wait_for_selector("[role=alert]")
    assert "data/site.js has format 99; this page reads formats up to" in page.inner_text("main")
