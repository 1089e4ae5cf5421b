"""The characters that tokens stand for, and where in them each token lies."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer

from monosem_jax.text.coverage import unknown_id
from monosem_jax.text.pack import Text
from monosem_jax.text.shown import token_bytes

BROKEN = 0xFFFD  # the character in place of one whose bytes are not all there


@dataclasses.dataclass(frozen=True)
class Part:
    """A run of text of one document within one context: the characters `start` to `stop` of the block."""

    text: str
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
class TextBlock:
    """Contexts [n,T] as characters. A BOS begins a new part and has no characters.

    `codes` [N] uint32 are the code points of all characters of the block, one part after the other. `start`, `stop`
    [n,T]: the characters that a token has a share in; of a token that is a piece of a character, that character.
    `begins`, `ends` [n,T]: whether a token begins and ends where a character does. `part` [n,T]: the number of its part
    (that of the text behind it for a BOS); `part_start` [P+1]: where parts begin in `codes`. A character that a context
    cuts in two is BROKEN.
    """

    tokens: np.ndarray
    real: np.ndarray
    codes: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    part: np.ndarray
    part_start: np.ndarray

    @functools.cached_property
    def text(self) -> str:
        """All characters of the block."""
        return self.codes.astype("<u4").tobytes().decode("utf-32-le")

    @functools.cached_property
    def parts(self) -> list[Part]:
        """The parts that have characters, in order."""
        cuts = self.part_start.tolist()
        return [Part(self.text[a:b], a, b) for a, b in itertools.pairwise(cuts) if b > a]

    def per_token(self, characters: np.ndarray) -> np.ndarray:
        """[n,T] the sum over each token's characters of one number per character [N] (float64)."""
        sums = np.concatenate([[0.0], np.cumsum(characters, dtype=np.float64)])
        return sums[self.stop] - sums[self.start]

    def per_part(self, characters: np.ndarray) -> np.ndarray:
        """[P] the same for each part."""
        sums = np.concatenate([[0.0], np.cumsum(characters, dtype=np.float64)])
        return sums[self.part_start[1:]] - sums[self.part_start[:-1]]

    @property
    def lengths(self) -> np.ndarray:
        """[n,T] the number of characters that each token has a share in."""
        return self.stop - self.start


class TokenBytes:
    """The bytes that each token of a vocabulary stands for, of any tokenizer.

    A token of a byte-level tokenizer stands for its bytes; one of another kind (SentencePiece, WordPiece) for the text
    that its decoder makes of it inside a text. Special tokens stand for nothing, the token for unknown text for BROKEN.
    """

    def __init__(self, tokenizer: Tokenizer, bos: int):
        self.bos = bos
        special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special} | {bos}
        unknown = unknown_id(tokenizer)
        pieces = token_bytes(tokenizer)
        for i in special:
            pieces[i] = b""
        if unknown is not None and unknown != bos:
            pieces[unknown] = chr(BROKEN).encode()
        self.pieces = pieces
        self._lengths = np.asarray([len(p) for p in pieces], np.int64)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def text(self) -> list[str]:
        """The text of each token by itself, with one BROKEN for each run of bytes that is no character."""
        return [p.decode("utf-8", "replace") for p in self.pieces]

    def block(self, tokens: np.ndarray) -> TextBlock:
        """The characters of contexts [n,T]. Token ids that the tokenizer does not have stand for nothing."""
        tokens = np.asarray(tokens).astype(np.int64)
        flat = np.where(tokens < len(self), tokens, self.bos).ravel()
        lengths = self._lengths[flat]
        stop = np.cumsum(lengths)
        data = np.frombuffer(b"".join([self.pieces[i] for i in flat.tolist()]), np.uint8)
        first = (tokens == self.bos).copy()
        first[:, 0] = True
        part = np.cumsum(first.ravel()) - 1
        part_byte = np.concatenate([(stop - lengths)[first.ravel()], [len(data)]])
        index, codes, is_first = _characters(data, part_byte)
        bound = np.concatenate([index, [len(codes)]])  # the character at each byte, and the end
        edge = np.concatenate([is_first, [True]])
        begin_at, end_at = stop - lengths, stop
        start = bound[begin_at]
        end = np.where(lengths > 0, bound[np.maximum(end_at - 1, 0)] + 1, start)
        shape = tokens.shape
        return TextBlock(
            tokens=tokens,
            real=tokens != self.bos,
            codes=codes,
            start=start.reshape(shape),
            stop=end.reshape(shape),
            begins=edge[begin_at].reshape(shape),
            ends=edge[end_at].reshape(shape),
            part=part.reshape(shape),
            part_start=bound[part_byte],
        )

    def blocks(self, tokens: np.ndarray, size: int) -> Iterator[TextBlock]:
        """The blocks of `size` contexts of a text [C,T], one after the other."""
        for first in range(0, len(tokens), size):
            yield self.block(tokens[first : first + size])

    @classmethod
    def of(cls, text: Text) -> TokenBytes:
        """Those of a text directory's tokenizer."""
        return cls(text.tokenizer, text.bos)


def _characters(data: np.ndarray, part_byte: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the character that each byte belongs to, the code points, whether each byte is the first of its character).

    `part_byte`: where parts begin; there a character begins in any case.
    """
    is_first = (data & 0xC0) != 0x80
    is_first[part_byte[part_byte < len(data)]] = True
    index = np.cumsum(is_first) - 1
    begin = np.flatnonzero(is_first)
    lead = data[begin].astype(np.uint32)
    size = np.diff(np.concatenate([begin, [len(data)]]))
    wanted = np.select([lead < 0x80, lead < 0xC2, lead < 0xE0, lead < 0xF0, lead < 0xF5], [1, 0, 2, 3, 4], 0)
    codes = np.where(wanted == 1, lead, lead & (0x7F >> np.maximum(wanted, 1)))
    for k in range(1, 4):
        more = data[np.minimum(begin + k, max(len(data) - 1, 0))] & 0x3F if len(data) else lead
        codes = np.where(wanted > k, (codes << 6) | more, codes)
    surrogate = (codes >= 0xD800) & (codes < 0xE000)
    wrong = (size != wanted) | surrogate | (codes > 0x10FFFF)
    return index, np.where(wrong, BROKEN, codes).astype(np.uint32), is_first
