"""What is known about a dictionary → one static page that opens from disk, without a network or scripts."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np

from monosem_jax.report import plots
from monosem_jax.report.cards import card
from monosem_jax.report.numbers import DICTIONARY, EVIDENCE, TRANSFORMER, table, tiles
from monosem_jax.report.records import Records, ShownCategory
from monosem_jax.report.render import own_markup, render, require_jinja

# The text shown is anybody's: should escaping ever fail, nothing of it may run or be fetched.
CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
CURVES = (  # of the dictionary's training: key, title, unit, caption, whether the axis is logarithmic
    ("mse", "Dictionary: squared error", "mean squared error", "Of the reconstruction, in training units.", True),
    ("l1", "Dictionary: L1", "sum of activations", "The sum that the sparsity penalty pushes down.", True),
    ("l0", "Dictionary: L0", "active features per token", "How many features are active on a token.", True),
    ("silent", "Dictionary: silent features", "features", "Active on no token since the last count.", False),
)


PROXY_COLUMNS = {
    "pearson": "{:.2f}",
    "specificity_top": "{:.0%}",
    "specificity_all": "{:.0%}",
    "sensitivity": "{:.0%}",
    "neuron_pearson": "{:.2f}",
}


class Section(NamedTuple):
    """A section of the page; its template is ID.html.j2."""

    id: str
    title: str


class Figure(NamedTuple):
    """A drawing, which is markup ("" where there is nothing to draw), with its title and caption."""

    title: str
    svg: str
    caption: str


class Correlation(NamedTuple):
    """A correlation in words; `length` is that of its bar, `best` whether it is the larger one of the two."""

    text: str
    length: str
    best: bool


class CategoryRow(NamedTuple):
    """A line of the table of categories."""

    label: str
    tokens: str
    feature: int
    has_card: bool
    of_feature: Correlation
    neuron: int
    of_neuron: Correlation


class ProxyLine(NamedTuple):
    """A line of the table of proxies, in words."""

    name: str
    feature: int
    has_card: bool
    pearson: str
    specificity_top: str
    specificity_all: str
    sensitivity: str
    neuron_pearson: str


def require_libraries() -> None:
    """Raises BadInput naming the first library of the page that is not installed."""
    plots.require_matplotlib()
    require_jinja()


def write_page(path: pathlib.Path, records: Records) -> None:
    """Writes the page to `path`. Raises BadInput when matplotlib or Jinja2 is missing."""
    require_libraries()
    path.write_text(page(records), encoding="utf-8", newline="\n")


def page(records: Records) -> str:
    """The whole page as HTML; the same records give the same text."""
    transformer = records.transformer or {}
    tables = [
        table("Dictionary", DICTIONARY, records.dictionary),
        table("Evidence", EVIDENCE, records.evidence),
        table("Transformer", TRANSFORMER, transformer),
    ]
    tables = [t for t in tables if t.rows]
    training, density, proxies = _training(records), _density(records), _proxies(records)
    sections = {
        Section("numbers", "Numbers"): tables,
        Section("training", "Training"): training,
        Section("density", "How often features fire"): density,
        Section("categories", "Features against neurons"): records.categories,
        Section("proxies", "Features against proxies"): proxies,
        Section("features", f"Features ({len(records.features)})"): records.features,
    }
    numbers = {int(f.feature) for f in records.features}
    return render(
        "page.html.j2",
        policy=CSP,
        title=records.title,
        sections=[section for section, shown in sections.items() if shown],
        tiles=tiles(records.dictionary, _better(records)),
        tables=tables,
        training=training,
        resampled=bool(records.resample_steps and records.dictionary_metrics),
        density=density,
        better=_better(records),
        categories=[_category(c, numbers) for c in records.categories],
        proxies=proxies,
        cards=[card(f) for f in records.features],
    )


def _proxies(records: Records) -> list[ProxyLine]:
    numbers = {int(f.feature) for f in records.features}
    found = records.evidence.get("proxies") or {}
    return [
        ProxyLine(
            name,
            row["feature"],
            row["feature"] in numbers,
            *("–" if row.get(key) is None else form.format(row[key]) for key, form in PROXY_COLUMNS.items()),
        )
        for name, row in found.items()
        if row.get("feature") is not None
    ]


def _training(records: Records) -> list[Figure]:
    metrics, marks = records.dictionary_metrics, records.resample_steps
    bigram = ("bigram model", (records.transformer or {}).get("bigram_loss"))
    loss = [
        plots.line(records.transformer_metrics, "loss", "training"),
        plots.line(records.transformer_metrics, "heldout_loss", "held-out", plots.ORANGE),
    ]
    figures = [
        Figure(
            "Transformer: loss",
            own_markup(plots.curves("p-transformer", loss, "nats per token", level=bigram)),
            "Next-token loss. Below the dashed line the transformer predicts better than a bigram model.",
        )
    ]
    for key, title, unit, caption, log in CURVES:
        drawn = plots.curves(f"p-{key}", [plots.line(metrics, key, title)], unit, log=log, marks=marks)
        figures.append(Figure(title, own_markup(drawn), caption))
    return [f for f in figures if f.svg]


def _density(records: Records) -> Figure | None:
    density = np.asarray(records.density, np.float64)
    if not density.size:
        return None
    dead = int(np.sum(density == 0))
    caption = (
        f"{density.size - dead:,} features that fired on {records.density_tokens:,} held-out tokens. "
        f"{dead:,} dead features, which never fired, are not drawn."
    )
    if np.any((density > 0) & (density < plots.ULTRALOW)):
        caption += " Shaded: ultralow, less than one token in 10⁶."
    return Figure("Feature density", own_markup(plots.density_histogram("p-density", density)), caption)


def _better(records: Records) -> str:
    better = sum(c.feature_correlation > c.neuron_correlation for c in records.categories)
    return f"{better} of {len(records.categories)}" if records.categories else ""


def _category(c: ShownCategory, cards: set[int]) -> CategoryRow:
    a, b = c.feature_correlation, c.neuron_correlation
    return CategoryRow(
        label=c.label,
        tokens=f"{c.tokens:,}",
        feature=int(c.feature),
        has_card=int(c.feature) in cards,
        of_feature=_correlation(a, a > b),
        neuron=int(c.neuron),
        of_neuron=_correlation(b, b > a),
    )


def _correlation(value: float, best: bool) -> Correlation:
    if not plots.is_number(value):
        return Correlation("–", "0.00", best)
    return Correlation(f"{value:.3f}".replace("-", "−"), f"{min(max(value, 0), 1):.2f}", best)
