"""The text of tokens for people to read, as the tokenizer's decoder shows it."""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # of SentencePiece's byte fallback
NEIGHBOUR = "a"  # a token that every decoder leaves as it is


def token_strings(tokenizer: Tokenizer) -> list[str]:
    """The text of each token as it stands inside a text; bytes that are not a whole character appear as \\xNN.

    Special tokens have their own names, ids without a token the empty text.
    """
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    show = _from_bytes if uses_bytes(tokenizer) else _between_neighbours(tokenizer)
    strings = []
    for i in range(max(tokenizer.get_vocab().values(), default=-1) + 1):
        raw = tokenizer.id_to_token(i) or ""
        strings.append(raw if i in special or not raw else show(raw))
    return strings


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes that each token stands for inside a text: of a special token its name, of an unused id none."""
    by_bytes = uses_bytes(tokenizer)
    found = []
    for i, shown in enumerate(token_strings(tokenizer)):
        raw = tokenizer.id_to_token(i) or ""
        byte = BYTE_TOKEN.fullmatch(raw)
        if by_bytes and raw and all(c in _BYTES for c in raw):
            found.append(bytes(_BYTES[c] for c in raw))
        else:
            found.append(bytes([int(byte.group(1), 16)]) if byte and not by_bytes else shown.encode("utf-8", "replace"))
    return found


def uses_bytes(tokenizer: Tokenizer) -> bool:
    """Whether tokens are written in the byte alphabet of GPT-2."""
    if tokenizer.decoder is None and tokenizer.pre_tokenizer is None:
        return False
    part = tokenizer.decoder if tokenizer.decoder is not None else tokenizer.pre_tokenizer
    return "ByteLevel" in _kinds(json.loads(part.__getstate__()))


def _kinds(part: Any) -> set[str]:
    """The types named anywhere in a part of a tokenizer.json."""
    if isinstance(part, dict):
        own = {part["type"]} if isinstance(part.get("type"), str) else set()
        return own.union(*map(_kinds, part.values()))
    return set().union(*map(_kinds, part)) if isinstance(part, list) else set()


def _from_bytes(raw: str) -> str:
    if all(c in _BYTES for c in raw):
        return bytes(_BYTES[c] for c in raw).decode("utf-8", "backslashreplace")
    return raw


def _byte_alphabet() -> dict[str, int]:
    """The byte that each printable character of byte-level BPE stands for (the table of GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_alphabet()


def _between_neighbours(tokenizer: Tokenizer):
    """The function from a token to what the decoder makes of it between two other tokens: decoders join tokens in their
    own ways, and strip spaces at the ends of a text."""

    def decoded(*tokens: str) -> str:
        if tokenizer.decoder is None:
            return " ".join(tokens)  # as Tokenizer.decode does
        return tokenizer.decoder.decode(list(tokens))

    end = decoded(NEIGHBOUR, NEIGHBOUR).removeprefix(NEIGHBOUR)

    def show(raw: str) -> str:
        if byte := BYTE_TOKEN.fullmatch(raw):
            return bytes([int(byte.group(1), 16)]).decode("utf-8", "backslashreplace")
        text = decoded(NEIGHBOUR, raw, NEIGHBOUR)
        whole = text.startswith(NEIGHBOUR) and text.endswith(end) and len(text) >= len(NEIGHBOUR) + len(end)
        return text[len(NEIGHBOUR) : len(text) - len(end)] if whole else raw

    return show
