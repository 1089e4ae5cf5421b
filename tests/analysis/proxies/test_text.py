from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from monosem_jax.analysis.proxies.text import BROKEN, TokenBytes
from monosem_jax.text.shown import token_bytes
from monosem_jax.text.tokenizer import train_tokenizer

TEXTS = [
    "def f(x):\n    return x # añadir",
    "مرحبا بالعالم",
    "日本語のテキスト",
    "the cat 😀 sat",
    "a",
    "\\x41 is no byte",
]


@pytest.fixture(scope="module")
def bytelevel() -> Tokenizer:
    return train_tokenizer([t * 3 for t in TEXTS], 300)


def packed(tokenizer: Tokenizer, length: int) -> np.ndarray:
    """Contexts [C,length] of all texts, BOS before each context and each text."""
    flat = [i for text in TEXTS * 3 for i in [0, *tokenizer.encode(text).ids]]
    n = len(flat) // (length - 1)
    return np.concatenate([np.zeros((n, 1), int), np.reshape(flat[: n * (length - 1)], (n, length - 1))], axis=1)


def parts_by_bytes(tokenizer: Tokenizer, context: np.ndarray) -> list[bytes]:
    pieces, runs = token_bytes(tokenizer), [b""]
    for i in context:
        if i == 0:
            runs.append(b"")
        else:
            runs[-1] += pieces[i]
    return [r for r in runs if r]


@pytest.mark.parametrize("length", [5, 8, 40])
def test_the_parts_of_a_context_are_the_text_of_its_documents(bytelevel, length):
    tokens = packed(bytelevel, length)
    block = TokenBytes(bytelevel, 0).block(tokens)
    got = [p.text.strip(chr(BROKEN)) for p in block.parts]
    want = [r.decode("utf-8", "ignore") for c in tokens for r in parts_by_bytes(bytelevel, c)]
    assert got == want
    assert "".join(p.text for p in block.parts) == block.text


def test_a_token_has_the_characters_that_its_bytes_lie_in(bytelevel):
    tokens = packed(bytelevel, 40)
    block = TokenBytes(bytelevel, 0).block(tokens)
    pieces = token_bytes(bytelevel)
    for c, t in np.ndindex(*tokens.shape):
        shown = block.text[block.start[c, t] : block.stop[c, t]].encode()
        assert pieces[tokens[c, t]] in shown or tokens[c, t] == 0 or chr(BROKEN) in shown.decode()
        if block.begins[c, t] and block.ends[c, t] and tokens[c, t] and chr(BROKEN) not in shown.decode():
            assert pieces[tokens[c, t]] == shown
    assert (block.stop == block.start)[tokens == 0].all()
    assert (~block.ends).any() and (~block.begins).any()


def test_sums_over_tokens_and_parts(bytelevel):
    block = TokenBytes(bytelevel, 0).block(packed(bytelevel, 40))
    number = np.random.default_rng(0).normal(size=len(block.codes))
    got = block.per_token(number)
    for c, t in [(0, 0), (0, 3), (1, 7)]:
        np.testing.assert_allclose(got[c, t], number[block.start[c, t] : block.stop[c, t]].sum(), atol=1e-12)
    np.testing.assert_allclose(
        [s for s, n in zip(block.per_part(number), np.diff(block.part_start), strict=True) if n],
        [number[p.start : p.stop].sum() for p in block.parts],
        atol=1e-12,
    )
    part = block.parts[-1]
    last = np.argwhere((block.start >= part.start) & block.real)
    assert {int(block.part_start[block.part[c, t]]) for c, t in last} == {part.start}


def test_blocks_of_any_size_give_the_same(bytelevel):
    tokens = packed(bytelevel, 8)
    bytes_of = TokenBytes(bytelevel, 0)
    whole = bytes_of.block(tokens)
    assert whole.text == "".join(b.text for b in bytes_of.blocks(tokens, 2))
    np.testing.assert_array_equal(whole.lengths, np.concatenate([b.lengths for b in bytes_of.blocks(tokens, 3)]))


def test_a_backslash_in_a_text_is_not_taken_for_a_byte(bytelevel):
    ids = bytelevel.encode("\\x41 is no byte").ids
    block = TokenBytes(bytelevel, 0).block(np.asarray([[0, *ids]]))
    assert block.text == "\\x41 is no byte"


def sentencepiece_like() -> Tokenizer:
    words = ["<s>", "<unk>", "▁the", "▁cat", "s", "<0xE6>", "<0x97>", "<0xA5>"]
    tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def test_tokens_of_sentencepiece_stand_for_their_text_and_bytes():
    block = TokenBytes(sentencepiece_like(), 0).block(np.asarray([[0, 2, 3, 4, 5, 6, 7, 1, 2]]))
    assert block.text == f" the cats日{chr(BROKEN)} the"
    assert block.lengths.tolist() == [[0, 4, 4, 1, 1, 1, 1, 1, 4]]
    assert block.ends[0, 4:7].tolist() == [False, False, True]


def test_tokens_of_wordpiece_stand_for_their_text():
    words = {"[UNK]": 0, "[CLS]": 1, "cat": 2, "##s": 3, "sat": 4}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[CLS]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    block = TokenBytes(tokenizer, 1).block(np.asarray([[1, 2, 3, 4, 1, 4]]))
    assert [p.text for p in block.parts] == [" cats sat", " sat"]


def test_ids_without_a_token_stand_for_nothing(bytelevel):
    block = TokenBytes(bytelevel, 0).block(np.asarray([[0, 66, 5000, 66]]))
    assert block.lengths.tolist() == [[0, 1, 0, 1]]
