"""Cards of single features: where each fires most strongly, and what it does to the next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from monosem_jax.report.plots import is_number
from monosem_jax.report.records import ShownExample, ShownFeature
from monosem_jax.report.text import is_right_to_left, lone_token_text, token_text
from monosem_jax.runtime.formatting import share


class Token(NamedTuple):
    """A token in its context. `shade`, of those that fire, is the share of the feature's largest activation."""

    text: str
    fires: bool = False
    peak: bool = False
    shade: str = ""
    activation: str = ""
    right_to_left: bool = False


class Context(NamedTuple):
    """An example: its tokens, the label and the origin of the document where known, and its number."""

    tokens: list[Token]
    source: list[str]
    context: int


class Logit(NamedTuple):
    """A token and the logit weight of the feature on it."""

    token: str
    value: str


class Card(NamedTuple):
    """What card.html.j2 shows of a feature, in words."""

    number: int
    label: str
    correlation: str
    density: str
    largest: str
    examples: list[Context]
    more_likely: list[Logit]
    less_likely: list[Logit]


def card(feature: ShownFeature) -> Card:
    """The card of a feature."""
    r = feature.label_correlation
    return Card(
        number=int(feature.feature),
        label=feature.label or "",
        correlation=f"{r:.2f}" if is_number(r) else "",
        density=share(feature.density),
        largest=f"{feature.largest:.4g}",
        examples=[_context(e, feature.largest) for e in feature.examples],
        more_likely=[Logit(lone_token_text(token), signed(value)) for token, value in feature.top_logits],
        less_likely=[Logit(lone_token_text(token), signed(value)) for token, value in feature.bottom_logits],
    )


def context_tokens(tokens: Sequence[str], activations: Sequence[float], peak: int, largest: float) -> list[Token]:
    """The tokens in reading order, left to right; those that fire are shaded by their share of `largest`."""
    found = []
    for i, (token, activation) in enumerate(zip(tokens, activations, strict=True)):
        text = token_text(token)
        if i == peak or (is_number(activation) and activation > 0):
            part = min(max(activation / largest, 0), 1) if is_number(activation) and largest > 0 else 0
            found.append(Token(text, True, i == peak, f"{part:.2f}", f"{activation:.4g}"))
        else:  # most tokens: without an element of their own, where it can be
            found.append(Token(text, right_to_left=is_right_to_left(token)))
    return found


def signed(value: float) -> str:
    """A number with its sign, and a minus as wide as the plus."""
    return f"{value:+.2f}".replace("-", "−")


def _context(example: ShownExample, largest: float) -> Context:
    tokens = context_tokens(example.tokens, example.activations, example.peak, largest)
    return Context(tokens, [part for part in (example.label, example.origin) if part], int(example.context))
