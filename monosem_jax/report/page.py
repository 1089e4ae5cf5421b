"""What is known about a dictionary → one static page that opens from disk, without a network or scripts."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from monosem_jax.report import plots
from monosem_jax.report.cards import card, feature_index
from monosem_jax.report.numbers import DICTIONARY, TRANSFORMER, table, tiles
from monosem_jax.report.style import CSS
from monosem_jax.report.text import escaped, isolated

# The text shown is anybody's: should escaping ever fail, nothing of it may run or be fetched.
CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

LEAD = """A sparse autoencoder was trained on the activations inside a small transformer. It writes the
activations on every token as a sum of a few <em>features</em> out of a large <em>dictionary</em>. This page
shows how much of the transformer's behaviour the dictionary keeps, and what its features respond to."""
CATEGORIES_HINT = """Pearson correlation of an activation with “this token lies in a document of the category”,
for the best single feature and the best single neuron, each chosen on training text and measured on held-out
text."""
FEATURES_HINT = """Each card shows the held-out contexts in which a feature is most active. The darker a token,
the closer to the feature's largest activation; the strongest is outlined, and pointing at a token tells its
activation. ↵ is a new line, ⇥ a tab, ␣ a space, \\xNN a byte or character without a glyph. Beside them: the
tokens that the feature makes most and least likely to come next, by its direct effect on the logits."""
HEADINGS = "".join(
    f'<th scope="col"{kind}>{name}</th>'
    for name, kind in (
        ("Category", ""),
        ("Tokens", ' class="n"'),
        ("Feature", ' class="n"'),
        ("its correlation", ""),
        ("Neuron", ' class="n"'),
        ("its correlation", ""),
    )
)


@dataclasses.dataclass(frozen=True)
class Records:
    """What the page shows. `dictionary` and `transformer` are summaries (a missing key is a missing row), the metrics
    are rows of their logs, `density` [F] is over `density_tokens` held-out tokens; `categories` and `features` are
    what the analysis wrote.
    """

    title: str
    dictionary: dict[str, Any]
    transformer: dict[str, Any] | None
    transformer_metrics: list[dict[str, Any]]
    dictionary_metrics: list[dict[str, Any]]
    resample_steps: list[int]
    density: np.ndarray
    density_tokens: int
    categories: list[dict[str, Any]]
    features: list[dict[str, Any]]


def write_page(path: pathlib.Path, records: Records) -> None:
    """Writes the page to `path`. Raises BadInput when matplotlib is missing."""
    plots.require_matplotlib()
    path.write_text(page(records), encoding="utf-8", newline="\n")


def page(records: Records) -> str:
    """The whole page as HTML; the same records give the same text."""
    sections = {
        "numbers": ("Numbers", _numbers(records)),
        "training": ("Training", _training(records)),
        "density": ("How often features fire", _density(records)),
        "categories": ("Features against neurons", _categories(records)),
        "features": (f"Features ({len(records.features)})", _features(records)),
    }
    shown = {name: s for name, s in sections.items() if s[1]}
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, (title, _) in shown.items())
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>\n{html}</section>\n' for name, (title, html) in shown.items()
    )
    title = escaped(records.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en" dir="ltr"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{CSP}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<style>{CSS}</style></head>\n<body><header class="top"><h1><bdi>{title}</bdi></h1>\n'
        f'<p class="lead">{LEAD}</p>\n'
        f"{tiles(records.dictionary, _better(records))}\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n<main>{body}'
        f"<footer>Contexts are excerpts from the corpus the transformer was given; the source stands under each."
        f"</footer></main></body></html>\n"
    )


def _numbers(records: Records) -> str:
    tables = table("Dictionary", DICTIONARY, records.dictionary)
    tables += table("Transformer", TRANSFORMER, records.transformer or {})
    return f'<div class="pair">{tables}</div>' if tables else ""


def _training(records: Records) -> str:
    metrics, marks = records.dictionary_metrics, records.resample_steps
    bigram = (records.transformer or {}).get("bigram_loss")
    loss = [
        plots.line(records.transformer_metrics, "loss", "training"),
        plots.line(records.transformer_metrics, "heldout_loss", "held-out", plots.ORANGE),
    ]

    def curve(key: str, title: str, unit: str, caption: str, log: bool = False) -> str:
        found = plots.line(metrics, key, title)
        return _figure(
            title, plots.curves(f"p-{key}", [found], unit, log=log, marks=marks if key != "loss" else ()), caption
        )

    figures = (
        _figure(
            "Transformer: loss",
            plots.curves("p-transformer", loss, "nats per token", level=("bigram model", bigram)),
            "Next-token loss. Below the dashed line it knows more than which token follows which.",
        )
        + curve(
            "mse", "Dictionary: squared error", "mean squared error", "Of the reconstruction, in training units.", True
        )
        + curve("l1", "Dictionary: L1", "sum of activations", "What the sparsity penalty pushes down.", True)
        + curve("l0", "Dictionary: L0", "active features per token", "How many features explain a token.", True)
        + curve("silent", "Dictionary: silent features", "features", "Active on no token since the last count.")
    )
    hint = '<p class="hint">Thin vertical lines: dead features were resampled.</p>' if marks and metrics else ""
    return f'{hint}<div class="plots">{figures}</div>' if figures else ""


def _density(records: Records) -> str:
    density = np.asarray(records.density, np.float64)
    if not density.size:
        return ""
    dead = int(np.sum(density == 0))
    caption = (
        f"{density.size - dead:,} features that fired on {records.density_tokens:,} held-out tokens. "
        f"{dead:,} dead features, which never fired, are not drawn."
    )
    if np.any((density > 0) & (density < plots.ULTRALOW)):
        caption += " Shaded: ultralow, less than one token in 10⁶."
    svg = plots.density_histogram("p-density", density)
    if not svg:
        return f'<p class="hint">{caption}</p>'
    return f'<div class="single">{_figure("Feature density", svg, caption)}</div>'


def _figure(title: str, svg: str, caption: str) -> str:
    return f"<figure><h3>{title}</h3>{svg}<figcaption>{caption}</figcaption></figure>\n" if svg else ""


def _better(records: Records) -> str:
    better = sum(c["feature_correlation"] > c["neuron_correlation"] for c in records.categories)
    return f"{better} of {len(records.categories)}" if records.categories else ""


def _categories(records: Records) -> str:
    if not records.categories:
        return ""
    cards = {int(f["feature"]) for f in records.features}
    rows = "".join(_category(c, cards) for c in records.categories)
    return (
        f'<p class="lead"><strong>{_better(records)} categories: the feature beats the neuron.</strong> '
        f"{CATEGORIES_HINT}</p>"
        '<div class="panel scroll" tabindex="0" role="region" aria-label="Table of categories">'
        f'<table class="categories"><thead><tr>{HEADINGS}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _category(c: dict[str, Any], cards: set[int]) -> str:
    feature, neuron = int(c["feature"]), int(c["neuron"])
    a, b = c["feature_correlation"], c["neuron_correlation"]
    link = f'<a href="#f{feature}">{feature}</a>' if feature in cards else str(feature)
    return (
        f'<tr><th scope="row">{isolated(c["label"])}</th><td class="n">{c["tokens"]:,}</td><td class="n">{link}</td>'
        f'{_correlation(a, a > b, "")}<td class="n">{neuron}</td>{_correlation(b, b > a, " neuron")}</tr>\n'
    )


def _correlation(value: float, best: bool, kind: str) -> str:
    length = min(max(value, 0), 1) if plots.is_number(value) else 0
    text = f"{value:.3f}".replace("-", "−") if plots.is_number(value) else "–"
    return f'<td class="bar{kind}" style="--v:{length:.2f}">{f"<strong>{text} ✓</strong>" if best else text}</td>'


def _features(records: Records) -> str:
    if not records.features:
        return ""
    return (
        f'<p class="hint">{FEATURES_HINT}</p>'
        f"{feature_index(records.features)}\n{''.join(card(f) for f in records.features)}"
    )
