"""Sets of characters, as tables over all code points."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

import numpy as np

from monosem_jax.runtime.errors import BadInput

N_CODES = 0x110000
Ranges = tuple[tuple[int, int], ...]  # first and last code point of each range

ARABIC: Ranges = ((0x0600, 0x06FF), (0x0750, 0x077F))
HEBREW: Ranges = ((0x0590, 0x05FF),)
HANGUL: Ranges = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))
CYRILLIC: Ranges = ((0x0400, 0x052F),)
GREEK: Ranges = ((0x0370, 0x03FF), (0x1F00, 0x1FFF))
DEVANAGARI: Ranges = ((0x0900, 0x097F), (0xA8E0, 0xA8FF))
HAN: Ranges = (
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)
KANA: Ranges = (
    (0x3041, 0x3096),
    (0x309D, 0x309F),
    (0x30A1, 0x30FA),
    (0x30FC, 0x30FF),
    (0x31F0, 0x31FF),
    (0xFF66, 0xFF9F),
)


# As the block of Arabic holds Arabic commas: the punctuation that is of Chinese and Japanese alone.
EAST_ASIAN_PUNCTUATION: Ranges = ((0x3001, 0x3003), (0x3008, 0x3011), (0xFF01, 0xFF65))


def ranges_of(letters: str) -> Ranges:
    """Each letter of a text as a range of its own."""
    return tuple((ord(c), ord(c)) for c in letters)


@functools.lru_cache(maxsize=64)
def table(ranges: Ranges) -> np.ndarray:
    """[N_CODES] bool: which code points lie in one of the ranges."""
    found = np.zeros(N_CODES, bool)
    for first, last in ranges:
        found[first : last + 1] = True
    found.setflags(write=False)
    return found


def parsed(name: str, spec: str) -> Ranges:
    """The ranges of a character class as it stands between the brackets of a regular expression, such as "0-9A-F".

    Raises BadInput when it is none, or holds no character.
    """
    try:
        pattern = re.compile(f"[{spec}]")
    except (re.error, OverflowError) as e:
        raise BadInput(f"proxy {name}: {spec!r} is not a class of characters: {e}") from None
    everything = "".join(chr(c) for c in range(N_CODES) if not 0xD800 <= c < 0xE000)
    letters = [found.group() for found in pattern.finditer(everything)]
    if any(len(letter) != 1 for letter in letters) or not letters:
        raise BadInput(f"proxy {name}: {spec!r} is not a class of characters such as 0-9A-F")
    return _runs(map(ord, letters))


def _runs(codes: Iterable[int]) -> Ranges:
    found: list[tuple[int, int]] = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return tuple(found)


def described(ranges: Ranges) -> str:
    """ "U+0590 to U+05FF", for people."""
    shown = [f"U+{a:04X}" if a == b else f"U+{a:04X} to U+{b:04X}" for a, b in ranges[:6]]
    return ", ".join(shown) + (f" and {len(ranges) - 6} more" if len(ranges) > 6 else "")
