"""The browser made by hand is what the tests of pages take it for."""

from monosem_jax.report.browser.container import unpacked
from tests.report.browser import made


def test_the_records_make_three_chunks_that_hold_the_hostile_text(browser_folder):
    chunks = [unpacked(browser_folder / "data" / "sae" / "features" / f"0000{i}.js") for i in range(3)]
    assert [[r["feature"] for r in chunk] for chunk in chunks] == [list(range(16 * i, 16 * i + 16)) for i in range(3)]
    hostile = chunks[0][made.HOSTILE]["examples"][0]
    assert hostile["tokens"][: len(made.ATTACKS)] == list(made.ATTACKS)
    assert hostile["label"] == "\ud800 label"


def test_the_page_opens(visit):
    visit("#/sae/overview").wait_for_selector("main")
