"""A tokenizer.json of byte-level BPE as the page's own tokenizer reads it (`front/src/engine/tokenizer.ts`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
# Parts of a BPE model that change its tokens, with the values of byte-level BPE.
PLAIN = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}


class NotServed(Exception):
    """Why the page cannot run something itself: one sentence."""


def tokenizer_data(text: str) -> dict[str, Any]:
    """What `TokenizerData` of `front/src/engine/model.ts` describes, from the text of a tokenizer.json.

    Raises NotServed on a tokenizer of another kind than byte-level BPE with GPT-2's pieces.
    """
    found = json.loads(text)
    model, pieces = found["model"], found.get("pre_tokenizer") or {}
    if model.get("type") != "BPE" or pieces.get("type") != "ByteLevel":
        kind = f"{model.get('type')} with the pre-tokenizer {pieces.get('type')}"
        raise NotServed(f"the tokenizer is {kind}: the page knows byte-level BPE with GPT-2's pieces only")
    for key, values in PLAIN.items():
        if model.get(key) not in values:
            raise NotServed(f"the tokenizer has {key} {model[key]!r}: the page knows plain byte-level BPE only")
    normalizer = (found.get("normalizer") or {}).get("type", "")
    if normalizer and normalizer not in NORMAL_FORMS:
        raise NotServed(f"the tokenizer has the normalizer {normalizer}: the page knows {', '.join(NORMAL_FORMS)}")
    added = found.get("added_tokens") or []
    if plain := [t["content"] for t in added if not t["special"]]:
        raise NotServed(f"the tokenizer has added tokens that are not special, such as {plain[0]!r}")
    names = {**model["vocab"], **{t["content"]: t["id"] for t in added}}
    if missing := set(_alphabet()) - names.keys():
        raise NotServed(f"the tokenizer has no token for {len(missing)} of the 256 bytes")
    vocab: list[str | None] = [None] * (max(names.values()) + 1)
    for name, i in names.items():
        vocab[i] = name
    return {
        "vocab": vocab,
        "merges": _merges(model, names),
        "special": sorted(t["id"] for t in added),
        "add_prefix_space": bool(pieces.get("add_prefix_space", True)),
        "use_regex": bool(pieces.get("use_regex", True)),
        "ignore_merges": bool(model.get("ignore_merges", False)),
        "normalizer": normalizer,
    }


def _merges(model: Mapping[str, Any], names: Mapping[str, int]) -> list[int]:
    """[left, right, joined, left, …] in order of rank."""
    found = []
    for pair in model["merges"]:
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        found += [names[left], names[right], names[left + right]]
    return found


def _alphabet() -> list[str]:
    """The printable character that stands for each byte (the table of GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    table = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [table[b] for b in range(256)]
