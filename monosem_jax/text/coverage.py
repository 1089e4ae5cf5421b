"""How much of a text comes back from its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.input_summary import InputSummary
from monosem_jax.runtime.rng import stream
from monosem_jax.text.tokenizer import encode

SAMPLE = 1000  # documents that are looked at
WINDOW = 4000  # characters of each
LEAST_KEPT = 0.5  # a tokenizer that keeps less of a text does not represent it


class Coverage(NamedTuple):
    """Characters other than white space in a sample of texts, and those among them that no token stands for, or only
    the token for unknown text; `example`: the first of these."""

    characters: int
    lost: int
    example: str

    @property
    def share_lost(self) -> float:
        """The share of the characters that is lost."""
        return self.lost / self.characters if self.characters else 0.0


def check_coverage(tokenizer: Tokenizer, texts: list[str], name: str, summary: InputSummary) -> None:
    """Adds to `summary` the share of characters that a given tokenizer loses; raises BadInput if it is over a half."""
    found = measure(tokenizer, texts)
    share = found.share_lost
    about = (
        f"{found.lost:,} of {found.characters:,} characters looked at ({_percent(share)}), such as {found.example!r}"
    )
    if 1 - share < LEAST_KEPT:
        raise BadInput(
            f"tokenizer {name} loses {about}: expected one whose tokens stand for at least {LEAST_KEPT:.0%} of the text"
        )
    summary.add("characters_looked_at", found.characters, "" if share else "every character looked at has a token")
    summary.add(
        "characters_lost_share", share, f"the tokenizer loses {about}: no token stands for them, or the unknown one"
    )


def measure(tokenizer: Tokenizer, texts: list[str]) -> Coverage:
    """Looks at windows of WINDOW characters in up to SAMPLE of the texts.

    A character that the normalizer changes (case, width, accents) counts as kept, as long as a token covers its place.
    White space is not counted: many tokenizers drop it and put it back when they decode.
    """
    unknown = unknown_id(tokenizer)
    windows = list(_windows(texts))
    characters = lost = 0
    example = ""
    for start in range(0, len(windows), 64):
        part = windows[start : start + 64]
        encoded = encode(tokenizer, part)
        for text, tokens in zip(part, encoded, strict=True):
            gone = _uncovered(text, tokens, unknown)
            characters += sum(not c.isspace() for c in text)
            lost += len(gone)
            example = example or gone[:1]
    return Coverage(characters, lost, example)


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token that stands for all text without tokens of its own; None if there is none."""
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    if (name := model.get("unk_token")) is not None:
        return tokenizer.token_to_id(name)
    return model.get("unk_id")


def _windows(texts: list[str]) -> Iterator[str]:
    """A window of each of SAMPLE texts at equal distances, at a place that depends on the texts alone."""
    rng = stream("text.coverage", len(texts))
    for i in np.unique(np.linspace(0, len(texts) - 1, min(SAMPLE, len(texts))).astype(int)):
        start = int(rng.integers(0, max(len(texts[i]) - WINDOW, 0) + 1))
        yield texts[i][start : start + WINDOW]


def _uncovered(text: str, tokens: Encoding, unknown: int | None) -> str:
    """The characters of `text`, without white space, that no token but the unknown one covers."""
    covered, replaced = np.zeros((2, len(text)), bool)
    for i, (start, stop) in zip(tokens.ids, tokens.offsets, strict=True):
        (replaced if i == unknown else covered)[start:stop] = True
    # Both at once: the first character has the place of a space that the tokenizer put before the text.
    return "".join(text[i] for i in np.flatnonzero(~covered | replaced) if not text[i].isspace())


def _percent(share: float) -> str:
    return "less than 0.01 %" if 0 < share < 1e-4 else f"{100 * share:.3g} %"
