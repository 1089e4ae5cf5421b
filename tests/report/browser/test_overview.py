"""The overview: its numbers against NumPy, and the page against the numbers."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from monosem_jax.report.browser.container import unpacked
from monosem_jax.report.browser.curves import POINTS, curves, thinned
from monosem_jax.report.browser.overview import EDGES, figures, overview, spectrum, starts
from monosem_jax.report.browser.site import write_site
from tests.report.browser.made import ATTACKS, material

RUN = {"dictionary": "sae", "dictionary sha256": "ab12" * 16, "transformer layers": 1, "rows trained": 1_500_000}


def densities():
    """Densities of 300 features, some dead, some ultralow, some on the edge of a bin."""
    rng = np.random.default_rng(5)
    return np.concatenate([np.zeros(20), [1.0, 1e-9, 0.01, 0.1], 10 ** rng.uniform(-7.5, -0.3, 276)])


def test_spectrum_counts_every_feature_once_and_shares_out_the_whole_l0():
    density = densities()
    found = spectrum(density)
    assert found["dead"] == 20 and found["n"] == 300
    assert sum(found["counts"]) == 280
    assert sum(found["l0"]) == pytest.approx(1, abs=1e-3)
    for low, high, n, share in zip(EDGES, EDGES[1:], found["counts"], found["l0"], strict=False):
        log = np.log10(np.where(density > 0, density, np.nan))
        inside = (log >= low) & ((log < high) | (high == 0)) | ((low == EDGES[0]) & (log < low))
        assert n == inside.sum()
        assert share == pytest.approx(density[inside].sum() / density.sum(), rel=1e-4)


def test_spectrum_above_1_percent_is_the_share_of_the_summary():
    density = densities()
    found = spectrum(density)
    above = sum(s for e, s in zip(found["edges"], found["l0"], strict=False) if e >= -2 - 1e-9)
    assert above == pytest.approx(density[density >= 0.01].sum() / density.sum(), abs=1e-3)


def test_spectrum_of_nothing_that_fires():
    found = spectrum(np.zeros(3))
    assert found["dead"] == 3 and not any(found["counts"]) and not any(found["l0"])


@pytest.mark.parametrize("n", [1, 5, 399, 400, 401, 1000, 12_345])
def test_thinning_keeps_the_ends_and_every_spike(n):
    values = np.random.default_rng(n).normal(size=n)
    values[n // 3], values[n // 2] = 50, -50
    kept = thinned(values, POINTS)
    assert len(kept) <= POINTS and kept == sorted(set(kept))
    assert kept[0] == 0 and kept[-1] == n - 1
    assert {int(values.argmax()), int(values.argmin())} <= set(kept)
    if n <= POINTS:
        assert kept == list(range(n))


def test_curves_leave_out_what_is_not_finite_and_take_the_last_of_a_step_written_twice():
    log = [
        {"step": 10, "loss": 3.0},
        {"step": 20, "loss": float("nan"), "l0": 7},
        {"step": 30, "loss": 1.0, "mse": True},
        {"step": 10, "loss": 2.123456789},
    ]
    assert curves(log) == {"loss": [[10, 30], [2.1235, 1.0]], "l0": [[20], [7.0]]}
    assert curves([]) == {}


def test_starts_are_the_best_the_densest_and_some_that_fire():
    columns = {
        "feature": list(range(40)),
        "density": [0.0 if i % 4 == 0 else i / 100 for i in range(40)],
        "score": [None if i % 2 else i / 40 for i in range(40)],
        "tokens": [[i, 999] for i in range(40)],
    }
    found = starts(columns, [f"t{i}" for i in range(40)])
    assert [s["feature"] for s in found["explained"]] == [38, 34, 30, 26, 22, 18]
    assert [s["feature"] for s in found["dense"]] == [39, 38, 37, 35, 34, 33]
    assert found["dense"][0] == {"feature": 39, "value": 0.39, "tokens": ["t39"]}
    assert len(found["drawn"]) == 6 and all(s["feature"] % 4 for s in found["drawn"])
    assert found == starts(columns, [f"t{i}" for i in range(40)])
    assert starts({**columns, "density": [0.0] * 40}, []) == {}


def test_figures_leave_out_what_was_not_measured():
    assert figures({"l0": 3.5, "ultralow": None, "other": 1}, {"twins": 0}) == {"l0": 3.5, "twins": 0}


def best(name: str, feature: int, pearson: float | None) -> dict:
    score = {"pearson": pearson, "specificity": [None, 0.25, 1.0], "specificity_top": 1.0, "specificity_all": 0.8}
    return {"set": name, "feature": feature, "score": {**score, "sensitivity": 0.7, "firings": [1, 2, 3]}}


def shown(**changed) -> dict:
    """An overview with something of everything; a hostile proxy and label among it."""
    summaries = [
        {"kind": "simulation", "group": "all", "n": 9, "mean": 0.6, "median": 0.6, "shuffled_mean": 0.0},
        {"kind": "simulation", "group": "others", "n": 5, "mean": 0.5, "median": 0.5, "shuffled_mean": 0.0},
    ]
    density = np.concatenate([np.zeros(3), np.full(5, 0.2), np.geomspace(1e-5, 0.005, 40)])
    rows = [
        {"proxy": "arabic", "about": "", "positive": 99, "best": [best("features", 3, 0.74), best("neurons", 1, 0.3)]},
        {"proxy": ATTACKS[0], "about": ATTACKS[1], "positive": 9, "best": [best("features", 4, None)]},
    ]
    label = {"label": ATTACKS[0], "tokens": 50, "feature": 3, "feature_correlation": 0.7}
    probes = {
        name: {"probe_k1": k1, "probe_k5": 0.8, "fms_1": 0.3} for name, k1 in (("features", 0.6), ("neurons", 0.7))
    }
    judged = {"set": "features", "judge": "ngram_graph", "single_token_share": 0.75, "summaries": summaries}
    values = {
        "dictionary": {
            **{"loss_recovered_zero": 0.912, "loss_recovered_mean": 0.65, "ce_intact": 4.0, "ce_zero_ablation": 4.05},
            **{"ce_reconstructed": 4.01, "variance_explained": 0.9, "l0": 5.0, "evaluated_tokens": 5000},
        },
        "transformer": {"heldout_loss": 4.0, "bigram_loss": 3.9},
        "evidence": {
            **{"l0": 5.0, "l0_share_above_1pct": 0.9, "l0_share_above_10pct": 0.9, "twins": 8, "judge": "ngram_graph"},
            **{"judge_score": 0.6, "judge_score_shuffled": 0.0, "judged_features": 9, "concepts": 4},
            **{"stability": 0.4, "stable_features": 0.25, "ultralow": None, "proxies": {"big": 1}},
        },
        "dictionary_metrics": [{"step": i, "mse": 1 / i, "l0": 9.0, "silent": 0} for i in range(1, 2001)],
        "transformer_metrics": [{"step": i, "loss": 9 / i, "heldout_loss": 9.5 / i} for i in range(1, 50)],
        "resample_steps": [500, 1000],
        "density": density,
        "density_tokens": 5000,
        "categories": [{**label, "neuron": 1, "neuron_correlation": 0.2}],
        "tables": {
            "proxies": {"rows": rows},
            "gaps": [{"kind": "proxy hindi", "reason": ATTACKS[3]}],
            "health": {"neurons": {"n_features": 12, "l0": 4.0}},
            "probes": {"means": probes},
            "judges": [judged],
        },
        "start": {"drawn": [{"feature": 5, "value": 0.004, "tokens": [ATTACKS[3]]}]},
    }  # fmt: skip
    return overview(**(values | changed))


def test_the_overview_holds_no_more_than_it_shows():
    found = shown()
    assert "proxies" not in found["evidence"]
    assert found["proxies"][0]["best"][0] == {
        **{"set": "features", "feature": 3, "pearson": 0.74, "lowest": 0.25},
        **{"specificity_top": 1.0, "specificity_all": 0.8, "sensitivity": 0.7},
    }
    assert all(len(x) <= POINTS for x, _ in found["curves"]["dictionary"].values())


def site(tmp_path, *several, run=RUN):
    """A browser of dictionaries with these overviews."""
    made = []
    for i, one in enumerate(several):
        plain = material(tmp_path / f"records{i}", f"sae{i or ''}")
        numbers = figures(one["dictionary"], one["evidence"])
        made.append(dataclasses.replace(plain, site="mlp_hidden.0", run=run, overview=one, figures=numbers))
    folder = tmp_path / "site"
    folder.mkdir()
    write_site(folder, "Features", "0", made)
    return folder


def test_the_page_says_each_figure_with_its_rule_and_warns(visit, tmp_path):
    page = visit("#/sae/overview", folder=site(tmp_path, shown()))
    page.wait_for_selector(".tile")
    tiles = {t.split("\n")[0]: t for t in page.locator(".tile").all_inner_texts()}
    assert list(tiles) == [
        *("Loss recovered", "Variance explained", "The model's loss", "L0", "Dead features", "Twins within it"),
        *("Judge's score", "Probes", "Monosemanticity, FMS@1", "Stability"),
    ]
    assert "91.2 %" in tiles["Loss recovered"] and "65.0 %" in tiles["Loss recovered"]
    assert "worth only 0.05 nats" in tiles["Loss recovered"] and "79 % (A/1" in tiles["Loss recovered"]
    assert "no more than pairs of tokens" in tiles["The model's loss"]
    assert "Dense features carry 90 % of L0" in tiles["L0"]
    assert "3 of 48" in tiles["Dead features"] and "cannot be counted" in tiles["Dead features"]
    assert "one token in 1,667" in tiles["Dead features"]  # 3 / density tokens are missed in 5 % of cases
    assert "Many features repeat others" in tiles["Twins within it"]
    assert "75 % of the judged features fire on one token" in tiles["Judge's score"]
    assert "A single neuron tells" in tiles["Probes"] and "this seed alone" in tiles["Stability"]
    assert all("arned " in t for t in tiles.values())  # each says its rule
    assert page.locator(".tile", has_text="Variance").locator(".warning").count() == 0
    text = page.inner_text("main")
    assert "5 of 48 features fire on more than 1 % of tokens" in text
    assert "proxy hindi" in text and ATTACKS[0] in text and page.evaluate("window.attacked") is None
    assert page.get_attribute("tr:has-text('arabic') a", "href") == "#/sae/feature/3"
    assert page.locator("tr:has-text('arabic') td:has-text('0.74')").count() == 2  # and the paper's beside it


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (1400, "light")])
def test_everything_fits_and_serves_everybody(serious, visit, tmp_path, width, theme):
    visit.expected.append("connect-src")  # axe reads style sheets, and the policy forbids it
    second = shown(dictionary={"loss_recovered_zero": 0.8, "l0": 12.0})
    page = visit("#/sae/overview", width=width, theme=theme, folder=site(tmp_path, shown(), second))
    page.wait_for_selector(".point")
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_charts_have_words_numbers_and_thinned_curves(visit, tmp_path):
    page = visit("#/sae/overview", folder=site(tmp_path, shown()))
    page.wait_for_selector(".plot svg")
    says = page.locator(".plot svg desc").all_text_contents()
    assert len(says) == page.locator(".plot svg[role=img]").count() == 6
    assert all(len(s) > 20 for s in says)
    chart = page.locator(".plot", has_text="squared error")
    assert chart.locator(".mark").count() == 2
    assert chart.locator("path").get_attribute("d").count("L") < POINTS
    chart.locator("summary").click()
    assert chart.locator("tbody tr").count() <= POINTS
    assert chart.locator("tbody tr").last.inner_text().split() == ["2000", "0.0005"]


def test_what_is_not_there_is_said(visit, tmp_path):
    empty = shown(
        transformer=None, evidence={}, dictionary={}, dictionary_metrics=[], transformer_metrics=[], categories=[],
        tables={}, start={},
    )  # fmt: skip
    page = visit("#/sae/overview", folder=site(tmp_path, empty, run={"dictionary": "sae"}))
    page.wait_for_selector(".tile")
    assert page.locator(".tile h3").all_inner_texts() == ["Dead features"]
    assert "In the paper" not in page.inner_text("main")
    absent = " ".join(page.locator(".absent").all_inner_texts())
    for what in ("no proxies", "no labels", "No judge", "transformer's training", "dictionary's training"):
        assert what in absent


def test_a_sweep_is_drawn_from_the_manifest_and_a_point_opens_its_dictionary(visit, tmp_path):
    second = shown(dictionary={"loss_recovered_zero": 0.8, "l0": 12.0, "k": 12})
    folder = site(tmp_path, shown(), second)
    (folder / "data" / "sae1" / "overview.js").rename(folder / "data" / "sae1" / "later.js")
    page = visit("#/sae/overview", folder=folder)
    page.wait_for_selector(".point")
    assert page.locator(".point.here text").inner_html() == "sae"
    row = page.locator("tr", has=page.locator("a:text-is('sae1')")).inner_text()
    assert "k 12" in row and "80.0 %" in row
    (folder / "data" / "sae1" / "later.js").rename(folder / "data" / "sae1" / "overview.js")
    page.click("a[aria-label=sae1] circle.target")
    page.wait_for_selector("code:text-is('sae1')")
    assert page.evaluate("location.hash") == "#/sae1/overview"


def test_the_overview_needs_no_index_and_no_records(visit, tmp_path):
    folder = site(tmp_path, shown())
    page = visit("#/sae/nothing", folder=folder)
    asked = []
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[1]))
    page.reload()
    page.wait_for_selector(".tile")
    assert sorted({a for a in asked if a.endswith(".js")}) == ["app.js", "overview.js", "site.js"]
    assert (folder / "data" / "sae" / "overview.js").stat().st_size < 60_000
    assert unpacked(folder / "data" / "sae" / "overview.js")["density"]["n"] == 48


def test_a_hash_is_copied_or_shown_whole(visit, tmp_path):
    page = visit("#/sae/overview", folder=site(tmp_path, shown()))
    page.click(".hash")
    page.locator(".copied", has_text=re.compile("copied|ab12ab12")).first.wait_for()
    assert "ab12ab12ab" in page.inner_text(".hash")
