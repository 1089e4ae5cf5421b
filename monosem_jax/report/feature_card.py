"""The card of a feature for a notebook: static HTML without scripts, of nothing but its record."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from monosem_jax.report.contexts import LEVELS, Piece, direction, pieces
from monosem_jax.report.plots import is_number
from monosem_jax.report.text import lone_token_text, visible
from monosem_jax.runtime.formatting import share
from monosem_jax.runtime.markup import Html, element, joined, style

CSS = pathlib.Path(__file__).parent / "templates" / "feature_card.css"
NEAREST, TOKENS, LOGITS = 6, 8, 10  # rows of the lists at the side


class FeatureCard:
    """A feature's card: a notebook shows it, `html` is its markup. `record` is what it was made from."""

    def __init__(self, record: Any, run: str):
        self.record, self._run = record, run

    @functools.cached_property
    def html(self) -> str:
        return str(card(self.record))

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        r = self.record
        return f"<card of feature {r.feature} of {r.set}, {self._run}: fires on {share(r.density)} of tokens>"


def card(r: Any) -> Html:
    """The card of a record (`monosem_jax.analysis.records.Feature`)."""
    main = joined(_explained(r), _examples(r), _intervals(r), _samples(r))
    side = joined(
        _histogram(r),
        _pairs("Fires most often on", [(t.token, share(t.share_of_firings)) for t in r.top_tokens[:TOKENS]]),
        _pairs("Makes more likely next", [(t, signed(v)) for t, v in r.top_logits[:LOGITS]]),
        _pairs("Makes less likely next", [(t, signed(v)) for t, v in r.bottom_logits[:LOGITS]]),
        _neighbours(r),
    )
    body = element("div", element("div", main), element("div", side), class_="columns")
    return element("div", sheet(), element("article", _header(r), body), class_="mj-card")


@functools.cache
def sheet() -> Html:
    """The style of cards, with a rule for every shade."""
    shades = "".join(
        f".mj-card .{name}{i} {{ background: rgb(var(--{colour}) / {0.07 + 0.065 * i:.3f}); }}\n"
        for name, colour in (("f", "fire"), ("n", "cold"))
        for i in range(1, LEVELS + 1)
    )
    return style(CSS.read_text(encoding="utf-8") + shades)


def signed(value: float) -> str:
    """A number with its sign, and a minus as wide as the plus."""
    return f"{value:+.2f}".replace("-", "−")


def _text(text: str) -> str:
    return visible(text)


def _isolated(text: str) -> Html:
    """A text whose direction does not change that of what is around it."""
    return element("bdi", _text(text))


def _header(r: Any) -> Html:
    facts: list[str] = [
        joined("fires on ", element("b", share(r.density)), " of tokens"),
        joined("largest activation ", element("b", f"{r.largest:.4g}")),
    ]
    if r.label:
        facts.append(joined("best for ", element("b", _isolated(r.label)), _correlation(r.label_correlation)))
    elif r.nearest_label:
        facts.append(joined("nearest label ", _isolated(r.nearest_label), _correlation(r.nearest_label_correlation)))
    best = max((p for p in r.proxies if is_number(p.pearson)), key=lambda p: p.pearson, default=None)
    if best is not None:
        facts.append(joined("proxy ", _isolated(best.proxy), _correlation(best.pearson), _specific(best)))
    if is_number(r.stability):
        facts.append(f"in other seeds r = {r.stability:.2f}")
    what = "Feature" if r.set == "features" else f"{_text(r.set).removesuffix('s').capitalize()}"
    rows = (element("span", fact) for fact in facts)
    return element("header", element("h3", f"{what} {r.feature}"), element("p", *_between(rows), class_="facts"))


def _between(parts: Any) -> list[str]:
    found: list[str] = []
    for part in parts:
        found += [" · ", part] if found else [part]
    return found


def _correlation(r: float | None) -> str:
    return f" (r = {r:.2f})" if is_number(r) else ""


def _specific(p: Any) -> str:
    if not is_number(p.specificity_all):
        return ""
    top = f", of the strongest {share(p.specificity_top)}" if is_number(p.specificity_top) else ""
    return f", of its firings {share(p.specificity_all)} are on it{top}"


def _explained(r: Any) -> Html | None:
    """What judges say, with their scores and the same with the explanation of another feature."""
    if not r.explanations and not r.scores:
        return None
    texts = {e.judge: e.text for e in r.explanations}
    rows = []
    for judge in dict.fromkeys([*texts, *(s.judge for s in r.scores)]):
        scores = [s for s in r.scores if s.judge == judge and is_number(s.value)]
        said = [f"{s.kind} {s.value:.2f}" + _against(s.shuffled) for s in scores]
        cells = (_isolated(judge), _isolated(texts.get(judge, "–")), _text("; ".join(said) or "–"))
        rows.append(element("tr", *(element("td", cell) for cell in cells)))
    head = element("tr", *(element("th", name) for name in ("judge", "explanation", "score (another feature's)")))
    return joined(element("h4", "Explanation"), element("table", element("thead", head), element("tbody", *rows)))


def _against(shuffled: float | None) -> str:
    return f" ({shuffled:.2f})" if is_number(shuffled) else ""


def _examples(r: Any) -> Html:
    if not r.examples:
        return joined(element("h4", "Top contexts"), element("p", "It fired on no token."))
    return joined(element("h4", "Top contexts"), _contexts(r.examples, r.largest))


def _intervals(r: Any) -> Html | None:
    """Contexts drawn from each interval of the activation, closed at first."""
    filled = [i for i in r.intervals if i.examples]
    if not filled:
        return None
    parts = [
        joined(element("h4", f"{i.low:.3g} to {i.high:.3g}: {i.count:,} firings"), _contexts(i.examples, r.largest))
        for i in filled
    ]
    return element("details", element("summary", f"Contexts from {len(filled)} intervals of the activation"), *parts)


def _contexts(examples: Sequence[Any], largest: float) -> Html:
    return element("ol", *(element("li", context(e, largest), _origin(e), class_="context") for e in examples))


def context(example: Any, largest: float) -> Html:
    """The tokens of an example, shaded by their activation as a share of `largest`, in the direction of their script.

    Tokens are not isolated from each other: letters stay joined, and words of other scripts stand as readers expect.
    """
    found = pieces(example.tokens, example.activations, largest, example.peak, example.loss_effects)
    return element("p", *map(_piece, found), class_="tokens", dir=direction(example.tokens))


def _piece(piece: Piece) -> Html:
    names = [f"{'f' if piece.level > 0 else 'n'}{abs(piece.level)}"] if piece.level else []
    names += ["several"] * (piece.stop - piece.first > 1) + ["peak"] * piece.peak
    return element("span", piece.text, class_=" ".join(names) or None, title=piece.title)


def _origin(example: Any) -> Html:
    parts = [_isolated(part) for part in (example.label, example.origin) if part]
    return element("p", *_between([*parts, f"context {example.context}, token {example.position}"]), class_="origin")


def _histogram(r: Any) -> Html | None:
    """Bars of the counts of activations."""
    h = r.linear_histogram
    if h is None or not any(h.counts):
        return None
    most, wide = max(h.counts), 200 / len(h.counts)
    bars = [
        element("rect", x=f"{i * wide:.2f}", y=f"{70 - 66 * n / most:.2f}", width=f"{0.9 * wide:.2f}",
                height=f"{66 * n / most:.2f}")
        for i, n in enumerate(h.counts)
        if n
    ]  # fmt: skip
    said = f"Histogram of {sum(h.counts):,} activations from {h.edges[0]:.3g} to {h.edges[-1]:.3g}"
    chart = element("svg", *bars, viewBox="0 0 200 72", preserveAspectRatio="none", role="img", aria_label=said)
    ends = element("p", f"0 to {h.edges[-1]:.3g}, {sum(h.counts):,} firings", class_="quiet")
    return joined(element("h4", "Activations"), chart, ends)


def _pairs(title: str, rows: Sequence[tuple[str, str]]) -> Html | None:
    if not rows:
        return None
    items = (
        element("li", element("span", _text(lone_token_text(word)), class_="word", dir="auto"),
                element("span", number, class_="number"))
        for word, number in rows
    )  # fmt: skip
    return joined(element("h4", title), element("ol", *items, class_="pairs"))


def _neighbours(r: Any) -> Html | None:
    near = [n for n in r.neighbours if is_number(n.correlation)][:NEAREST]
    rows = [(f"{_text(n.set)} {n.feature}", f"r = {n.correlation:.2f}") for n in near]
    return _pairs("Fires together with", rows)


def _samples(r: Any) -> Html | None:
    """Text sampled with the feature held at a value."""
    rows = [
        element("li", element("p", _text(s.prompt), element("b", _text(s.text)), class_="tokens", dir="auto"),
                element("p", f"held at {s.value:.3g} ({s.strength:g} × its largest activation)", class_="origin"),
                class_="context")
        for s in r.samples
    ]  # fmt: skip
    return joined(element("h4", "Sampled with the feature held"), element("ol", *rows)) if rows else None
