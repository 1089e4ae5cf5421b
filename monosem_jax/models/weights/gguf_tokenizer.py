"""The tokenizer in a GGUF file's metadata, as one of the library `tokenizers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from monosem_jax.runtime.errors import BadInput

CONTROL = 3  # the type of special tokens


def _byte_level(use_regex: bool = True) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


# `tokenizer.ggml.pre` -> how text is cut before pairs are merged.
CUTS: dict[str, Callable[[], Any]] = {
    "gpt-2": _byte_level,
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level()]),
}


def make_tokenizer(field: Callable[..., Any], where: str) -> Tokenizer:
    """The tokenizer that `field` (key, default) describes; raises BadInput on a kind that we cannot make."""
    kind, cut = field("tokenizer.ggml.model", ""), field("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or cut not in CUTS:
        raise BadInput(f"{where}: its tokenizer is {kind!r}, {cut!r}: expected 'gpt2' with one of {', '.join(CUTS)}")
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type") or []
    merges = [tuple(pair.split(" ")) for pair in field("tokenizer.ggml.merges")]
    try:
        made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    except Exception as e:  # the library raises bare Exception
        raise BadInput(f"{where}: its tokenizer cannot be made: {' '.join(str(e).split())}") from None
    made.pre_tokenizer, made.decoder = CUTS[cut](), decoders.ByteLevel()
    special = [t for t, of_kind in zip(tokens, types, strict=False) if of_kind == CONTROL]
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return made
