"""The tokens of a context as a reader takes them in: in the direction of the script, bytes joined to characters.

A tokenizer of bytes may cut a character in several tokens. Records show such bytes as \\xNN; here they are put together
again, and the parts stay with the character.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from monosem_jax.report.plots import is_number
from monosem_jax.report.text import lone_token_text, token_text, visible

BYTE = re.compile(r"\\x([89a-f][0-9a-f])")  # what a byte that is no whole character is shown as
LEVELS = 10  # of shading
RIGHT, LEFT = ("R", "AL"), ("L",)
NAME = re.compile(r"<[^<>\s]*>")  # a special token such as <bos>: its letters are of no script


class Piece(NamedTuple):
    """One token of a context, or several that are parts of the same characters, from `first` up to `stop`.

    `level`: 1 to 10 for an activation above 0, by its share of the largest; -1 to -10 for one below; 0 where the
    feature does not fire. `title` says the token and its activation in words.
    """

    text: str
    first: int
    stop: int
    level: int
    peak: bool
    title: str


def pieces(
    tokens: Sequence[str], activations: Sequence[float], largest: float, peak: int, effects: Sequence[float] = ()
) -> list[Piece]:
    """The pieces of a context in reading order. `largest` is the activation with the strongest shade, `effects` are
    changes of the loss on each token in nats, or empty."""
    found = []
    for first, stop in characters(tokens):
        members = range(first, stop)
        strongest = max(members, key=lambda i: abs(activations[i]) if is_number(activations[i]) else 0.0)
        activation = activations[strongest] if is_number(activations[strongest]) else 0.0
        text = token_text(tokens[first]) if stop - first == 1 else _character(tokens[first:stop])
        parts = [_title(tokens[i], activations[i], effects[i] if i < len(effects) else None) for i in members]
        title = parts[0] if len(parts) == 1 else f"{len(parts)} tokens: {', '.join(parts)}"
        found.append(Piece(visible(text), first, stop, level(activation, largest), peak in members, title))
    return found


def characters(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """(first, stop) of every token that stands alone, and of every run of tokens that only together are characters."""
    found, i = [], 0
    while i < len(tokens):
        stop = _run(tokens, i)
        found.append((i, stop))
        i = stop
    return found


def direction(tokens: Sequence[str]) -> str:
    """ "rtl" where more letters of the context are of a script that is read from right to left, "ltr" otherwise."""
    text = "".join(t for t in tokens if not NAME.fullmatch(t.strip()))
    if text.isascii():
        return "ltr"
    kinds = [unicodedata.bidirectional(c) for c in BYTE.sub("", text)]
    return "rtl" if sum(k in RIGHT for k in kinds) > sum(k in LEFT for k in kinds) else "ltr"


def level(activation: float, largest: float) -> int:
    """The shade of an activation: see `Piece`."""
    if not is_number(activation) or not activation:
        return 0
    part = min(abs(activation) / largest, 1.0) if largest > 0 else 1.0
    shade = max(1, round(part * LEVELS))
    return shade if activation > 0 else -shade


def token_bytes(token: str) -> bytes:
    """The bytes of a token of a record."""
    parts = BYTE.split(token)  # text, hex, text, hex, … text
    return b"".join(
        bytes([int(part, 16)]) if i % 2 else part.encode("utf-8", "surrogatepass") for i, part in enumerate(parts)
    )


def _run(tokens: Sequence[str], first: int) -> int:
    """Where the run of tokens ends that begins with `first`: the next token, unless only more give whole characters."""
    if not BYTE.search(tokens[first]):
        return first + 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    for i in range(first, len(tokens)):
        try:
            decoder.decode(token_bytes(tokens[i]))
        except UnicodeDecodeError:
            break
        if not decoder.getstate()[0]:
            return i + 1
    return first + 1


def _character(tokens: Sequence[str]) -> str:
    return b"".join(map(token_bytes, tokens)).decode("utf-8")


def _title(token: str, activation: float, effect: float | None) -> str:
    said = f"{visible(lone_token_text(token))} {activation:.4g}" if is_number(activation) else visible(token)
    return said if effect is None or not is_number(effect) else f"{said}, loss {effect:+.3g} nats without it"
