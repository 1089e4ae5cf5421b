"""Byte-level BPE trained with Hugging Face `tokenizers`, or any `tokenizer.json` in their format."""

from __future__ import annotations

import pathlib
import re
import threading
from collections.abc import Iterator, Sequence

from tokenizers import Encoding, Tokenizer, decoders, models, pre_tokenizers, trainers

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.interruptible import interruptible
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.progress import SHORT, progress
from monosem_jax.text.shown import token_strings as token_strings

BOS = "<bos>"
# Names in published tokenizers of a token that can begin a context, also where it is not marked as special.
BOS_NAMES = (BOS, "<s>", "<|begin_of_text|>", "<|endoftext|>", "[BOS]", "[CLS]")
# Names of special tokens without case, signs and underlines, best first.
BEGINNING = re.compile(r"(begin|beginning|start)of(text|sentence|sequence|document)")
BEGINNING_NAMES = ("bos", "bostoken", "sos", "sostoken", "s", "sop", "cls", "endoftext", "eot", "eod")
SHOWN_TOKENS = 12  # special tokens listed in an error message
LONGEST_PIECE = 4096  # characters; the time of the trainer grows with the square of the length of a piece


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of `vocab_size` tokens with BOS as token 0.

    Small texts give fewer tokens. Words longer than LONGEST_PIECE are cut for the training. Raises BadInput when
    `vocab_size` has no room for BOS and the 256 bytes.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(alphabet) + 1:
        raise BadInput(f"vocab_size is {vocab_size}: at least {len(alphabet) + 1} is needed (256 bytes and {BOS})")
    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pieces
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[BOS], initial_alphabet=alphabet, show_progress=False
    )
    leave = threading.Event()
    with progress(sum(map(len, texts)), "train tokenizer", "characters", delay=SHORT) as bar:

        def fed() -> Iterator[str]:
            for text in texts:
                if leave.is_set():
                    raise KeyboardInterrupt
                yield from cut_long_pieces(text, pieces)  # not tokenizer.pre_tokenizer: training locks it
                bar.update(len(text))
            bar.set_description("train tokenizer: merge pairs")

        try:
            interruptible(lambda: tokenizer.train_from_iterator(fed(), trainer), bar.refresh, every=10)
        finally:
            leave.set()
    return plain_tokenizer(tokenizer)


def cut_long_pieces(text: str, pre_tokenizer: pre_tokenizers.PreTokenizer) -> Iterator[str]:
    """Yields `text` in parts, so that no piece that the pre-tokenizer makes of it is longer than LONGEST_PIECE (and the
    space before it). A text without a longer piece is yielded as it is."""
    begin = 0
    for run in _LONG_RUN.finditer(text):
        for _, (start, stop) in pre_tokenizer.pre_tokenize_str(run.group()):
            for cut in range(run.start() + start + LONGEST_PIECE, run.start() + stop, LONGEST_PIECE):
                yield text[begin:cut]
                begin = cut
    yield text[begin:] if begin else text


_LONG_RUN = re.compile(rf"\S{{{LONGEST_PIECE + 1},}}|\s{{{LONGEST_PIECE + 1},}}")


def load_tokenizer(path: str | pathlib.Path) -> Tokenizer:
    """Loads a `tokenizer.json`; raises BadInput when it is missing or not one."""
    path = local_path(path, "tokenizer")
    if not path.is_file():
        raise BadInput(f"tokenizer {path} does not exist: expected a tokenizer.json")
    try:
        content = path.read_bytes()
    except OSError as e:
        raise BadInput(f"tokenizer {path} cannot be read: {e.strerror}") from None
    return parse_tokenizer(content, str(path))


def parse_tokenizer(content: bytes, where: str) -> Tokenizer:
    """The tokenizer that the bytes of a `tokenizer.json` describe; raises BadInput, with their place, when they do
    not."""
    try:
        tokenizer = plain_tokenizer(Tokenizer.from_buffer(content))
    except Exception as e:  # the library raises bare Exception
        raise BadInput(f"tokenizer {where} cannot be read: {' '.join(str(e).split())}") from None
    if not tokenizer.get_vocab():
        raise BadInput(f"tokenizer {where} has no tokens")
    return tokenizer


def plain_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Disables special-token parsing ("<bos>" in a document is five letters), truncation and padding."""
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def vocab_size(tokenizer: Tokenizer) -> int:
    """The largest id plus one: published vocabularies have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def bos_id(tokenizer: Tokenizer, name: str = "") -> int:
    """The id of the token that begins every context.

    It is the token `name` if one is given; else the token that the post-processor puts before a text; else the special
    token whose name says that it begins a text; else the first of BOS_NAMES in the vocabulary. Raises BadInput with the
    special tokens there are when there is none of these.
    """
    if name:
        found = tokenizer.token_to_id(name)
        if found is None:
            raise BadInput(f"text.bos is {name!r}: the tokenizer has no such token; {_special_tokens(tokenizer)}")
        return found
    found = _put_first(tokenizer)
    if found is None:
        found = _named_beginning(tokenizer)
    if found is None:
        ids = (tokenizer.token_to_id(known) for known in BOS_NAMES)
        found = next((i for i in ids if i is not None), None)
    if found is None:
        raise BadInput(
            "the tokenizer has no beginning-of-sequence token: no token is put before a text, and no name says so; "
            f"{_special_tokens(tokenizer)}: choose the token that begins every context with text.bos=NAME"
        )
    return found


def encode(tokenizer: Tokenizer, texts: list[str], *, special: bool = False) -> list[Encoding]:
    """The tokens of texts, with those that the post-processor adds if `special`. A signal is answered meanwhile.

    Raises BadInput when the tokenizer fails, such as one whose token for unknown text is not in its vocabulary.
    """
    try:
        return interruptible(lambda: tokenizer.encode_batch(texts, add_special_tokens=special))
    except Exception as e:  # the library raises bare Exception
        raise BadInput(f"the tokenizer cannot encode the text: {' '.join(str(e).split())}") from None


def _put_first(tokenizer: Tokenizer) -> int | None:
    """The token that the post-processor puts before a text, if it does."""
    (encoded,) = encode(tokenizer, ["a"], special=True)
    mask = encoded.special_tokens_mask
    return encoded.ids[0] if mask and mask[0] and 0 in mask else None


def _named_beginning(tokenizer: Tokenizer) -> int | None:
    """The special token whose name says that it begins a text (or, as in GPT-2, that another one has ended)."""
    names: dict[str, int] = {}
    for i, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        if token.special and "/" not in token.content:
            names.setdefault("".join(c for c in token.content.casefold() if c.isalnum()), i)
    spelt = [i for name, i in names.items() if BEGINNING.search(name)]
    short = [names[name] for name in BEGINNING_NAMES if name in names]
    return next(iter([*short[: names.get("bos") is not None], *spelt, *short]), None)


def _special_tokens(tokenizer: Tokenizer) -> str:
    """ "its special tokens are …", for an error message."""
    names = [repr(t.content) for _, t in sorted(tokenizer.get_added_tokens_decoder().items()) if t.special]
    rest = f" and {len(names) - SHOWN_TOKENS} more" if len(names) > SHOWN_TOKENS else ""
    shown = ", ".join(names[:SHOWN_TOKENS]) + rest
    return f"its special tokens are {shown}" if names else "it has no special tokens"
