"""Text of unknown origin, made visible where it has no glyph. What puts it into markup escapes it."""

from __future__ import annotations

import unicodedata

NAMED = {"\n": "↵", "\t": "⇥", "\x7f": "␡"}
JOINERS = "\u200c\u200d"  # invisible, but Persian, Indic scripts and emoji fall apart without them
HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


def visible(text: str) -> str:
    """The text with control, format and unassigned characters replaced by symbols or \\xNN; spaces are kept."""
    return text if text.isascii() and text.isprintable() else "".join(_visible(c) for c in text)


def token_text(token: str) -> str:
    """A token inside its context: a space is kept, a token of nothing but white space is shown by symbols."""
    return _boxed(token) if token.isspace() else token


def lone_token_text(token: str) -> str:
    """A token outside any context: spaces at its ends are shown by symbols too."""
    core = token.strip(" ")
    if not core:
        return _boxed(token)
    start = token.index(core)
    return "␣" * start + core + "␣" * (len(token) - start - len(core))


def escaped(c: str) -> str:
    """A character as \\xNN or \\uNNNN."""
    n = ord(c)
    return f"\\x{n:02x}" if n < 256 else f"\\u{n:04x}" if n < 65536 else f"\\U{n:08x}"


def _boxed(space: str) -> str:
    return "".join("␣" if c == " " else c if c in "\n\t\r" else escaped(c) for c in space)


def _visible(c: str) -> str:
    if c in NAMED:
        return NAMED[c]
    if ord(c) < 32:
        return chr(0x2400 + ord(c))
    return escaped(c) if unicodedata.category(c) in HIDDEN and c not in JOINERS else c
