"""Cards of single features: where each fires most strongly, and what it does to the next token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from monosem_jax.report.plots import is_number
from monosem_jax.report.text import escaped, is_right_to_left, isolated, lone_token_html, token_html


def feature_index(features: Sequence[dict[str, Any]]) -> str:
    """Links to all cards, each with the label of its feature."""
    items = (f'<li><a href="#f{int(f["feature"])}">{int(f["feature"])}{_index_label(f)}</a></li>' for f in features)
    return f'<ul class="index">{"".join(items)}</ul>'


def card(feature: dict[str, Any]) -> str:
    """One feature as an <article> with the id f<number>."""
    number, largest = int(feature["feature"]), feature["largest"]
    examples = "".join(_example(e, largest) for e in feature["examples"])
    return (
        f'<article class="card" id="f{number}">'
        f'<header><h3><a href="#f{number}">Feature {number}</a></h3>{_badge(feature)}'
        f'<p class="facts">fires on <b>{percent(feature["density"])}</b> of tokens · '
        f"largest activation <b>{largest:.4g}</b></p></header>"
        f'<div class="evidence"><ol class="examples">{examples or "<li>It fired on no token.</li>"}</ol>'
        f'<div class="effects">{_effects("Makes more likely", feature["top_logits"])}'
        f"{_effects('Makes less likely', feature['bottom_logits'])}</div></div></article>\n"
    )


def context_html(tokens: Sequence[str], activations: Sequence[float], peak: int, largest: float) -> str:
    """The tokens in reading order, left to right, those that fire shaded by their share of `largest`."""
    parts = []
    for i, (token, activation) in enumerate(zip(tokens, activations, strict=True)):
        text = token_html(token)
        if i == peak or (is_number(activation) and activation > 0):
            share = min(max(activation / largest, 0), 1) if is_number(activation) and largest > 0 else 0
            mark = ' class="peak"' if i == peak else ""
            parts.append(f'<bdi{mark} style="--a:{share:.2f}" title="{activation:.4g}">{text}</bdi>')
        else:  # bare where it can be: most tokens are
            parts.append(f"<bdi>{text}</bdi>" if is_right_to_left(token) else text)
    return "".join(parts)


def percent(share: float) -> str:
    """A share with three digits: a percentage, or so many per million where that is tiny."""
    return f"{1e6 * share:.3g} per million" if 0 < share < 1e-4 else f"{100 * share:.3g} %"


def _example(example: dict[str, Any], largest: float) -> str:
    tokens = context_html(example["tokens"], example["activations"], example["peak"], largest)
    source = [isolated(str(example[key])) for key in ("label", "origin") if example[key]]
    source.append(f"context {int(example['context'])}")
    # the title is what hovering says over tokens that have none of their own
    return f'<li><p class="tokens" dir="ltr" title="0">{tokens}</p><p class="source">{" · ".join(source)}</p></li>\n'


def _effects(title: str, logits: Iterable[Sequence[Any]]) -> str:
    rows = "".join(
        f"<li><bdi>{lone_token_html(str(token))}</bdi><span>{_signed(value)}</span></li>" for token, value in logits
    )
    return f"<section><h4>{title}</h4><ol>{rows}</ol></section>" if rows else ""


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _badge(feature: dict[str, Any]) -> str:
    if not feature.get("label"):
        return ""
    r = feature.get("label_correlation")
    return f'<p class="badge">best for {isolated(feature["label"])}{f" (r = {r:.2f})" if is_number(r) else ""}</p>'


def _index_label(feature: dict[str, Any]) -> str:
    return f" <bdi>{escaped(feature['label'])}</bdi>" if feature.get("label") else ""
