"""Byte-level BPE trained with Hugging Face `tokenizers`, or any `tokenizer.json` in their format."""

from __future__ import annotations

import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import local_path

BOS = "<bos>"
# Names in published tokenizers of a token that can begin a context.
BOS_NAMES = (BOS, "<s>", "<|begin_of_text|>", "<|endoftext|>", "[BOS]", "[CLS]")


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of `vocab_size` tokens with BOS as token 0.

    Small texts give fewer tokens. Raises BadInput when `vocab_size` has no room for BOS and the 256 bytes.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(alphabet) + 1:
        raise BadInput(f"vocab_size is {vocab_size}: at least {len(alphabet) + 1} is needed (256 bytes and {BOS})")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[BOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _plain(tokenizer)


def load_tokenizer(path: str | pathlib.Path) -> Tokenizer:
    """Loads a `tokenizer.json`; raises BadInput when it is missing or not one."""
    path = local_path(path, "tokenizer")
    if not path.is_file():
        raise BadInput(f"tokenizer {path} does not exist: expected a tokenizer.json")
    try:
        return _plain(Tokenizer.from_file(str(path)))
    except Exception as e:  # the library raises bare Exception
        raise BadInput(f"tokenizer {path} cannot be read: {e}") from None


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    """Disables special-token parsing ("<bos>" in a document is five letters), truncation and padding."""
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def vocab_size(tokenizer: Tokenizer) -> int:
    """The largest id plus one: published vocabularies have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def bos_id(tokenizer: Tokenizer) -> int:
    """The id of the token that begins every context; raises BadInput when the tokenizer has none of BOS_NAMES."""
    for name in BOS_NAMES:
        found = tokenizer.token_to_id(name)
        if found is not None:
            return found
    raise BadInput(f"the tokenizer has no beginning-of-sequence token: expected one of {', '.join(BOS_NAMES)}")


def token_strings(tokenizer: Tokenizer) -> list[str]:
    """The text of each token for people to read; bytes that are not a whole character appear as \\xNN."""
    reverse = {c: b for b, c in _byte_alphabet().items()}
    strings = []
    for i in range(vocab_size(tokenizer)):
        raw = tokenizer.id_to_token(i) or ""
        if all(c in reverse for c in raw):
            strings.append(bytes(reverse[c] for c in raw).decode("utf-8", "backslashreplace"))
        else:
            strings.append(raw)
    return strings


def _byte_alphabet() -> dict[int, str]:
    """The printable character that stands for each byte in byte-level BPE (the table of GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in printable}
    others = [b for b in range(256) if b not in table]
    return table | {b: chr(256 + i) for i, b in enumerate(others)}
