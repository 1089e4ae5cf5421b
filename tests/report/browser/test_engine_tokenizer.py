"""The page's own tokenizer against the library's, on texts that nobody would write."""

from __future__ import annotations

import json
import re
import unicodedata

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from monosem_jax.report.browser.tokenizer import NotServed, tokenizer_data
from monosem_jax.text.tokenizer import train_tokenizer
from tests.report.browser import models as small
from tests.report.browser.test_engine import written

PLAIN = "The quick brown fox, it's they'll WE'VE I'd don't 3.14159 1,000 0x7f don’t"
HOSTILE = [
    "", " ", "  ", "\n", " \n ", "\t\t x  y", "a\u00a0b\u2003c\u3000d\u0085e\ufefff\u200bg", PLAIN, PLAIN.upper(),
    "<bos>", "<bos>a <bos>", "<|endoftext|>", "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 e\u0301 é ﷺ", "שלום עולם مرحبا بالعالم فارسی‌ها",
    "\u202eevil\u202c \u2066x\u2069",
    "日本語テキスト 中文 한국어 ไทย हिन्दी", "\x00\x01\x02\x7f\x80\x9f", "\ud800", "a\udc00b",
    "\ud83d\ude00\ud83d x", "½ ² Ⅷ ٣ 𝟘 ①",
    "'s 'S ''s 's's ' s", "a  b   c    d\n\n\n  e", "  \n\n  trailing   ", "_under_score__", "x" * 300, "ab" * 50_000,
    "é" * 33_333, " " * 100_000, "\U0010ffff\U000e0001\ue000", "</script><img src=x onerror=alert(1)>",
]  # fmt: skip


def well_formed(text):
    """Text as the page's tokenizer takes it: surrogates without a partner are U+FFFD."""
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def ids_of(answers, load, texts):
    return [a["ids"].tolist() for a in answers(load, *({"kind": "tokenize", "text": text} for text in texts))[1:]]


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    return written(tmp_path_factory.mktemp("model"), "relu")[2]


def random_texts(n):
    """Texts of characters from everywhere, and of those that the tokenizer joins."""
    rng = np.random.default_rng(7)
    common = "the quick brown fox shalom שלום 日本語 12'3's \n\t🙂"
    found = []
    for i in range(n):
        points = rng.integers(0, 0x3000 if i % 2 else 0x1F800, 40)
        wild = "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
        found.append("".join(rng.choice(list(common + wild), 120)))
    return found


def test_ids_are_those_of_the_library(load, answers):
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("theabcd "), 100_000)), "".join(rng.choice(list("the"), 100_000))]
    texts = [*HOSTILE, *words, *random_texts(60), *small.TEXTS]
    known = small.tokenizer()
    known.encode_special_tokens = True
    found = ids_of(answers, load, texts)
    for text, ids in zip(texts, found, strict=True):
        assert ids == known.encode(well_formed(text), add_special_tokens=False).ids, repr(text[:80])
    assert max(map(len, found)) > 20_000 and len({i for ids in found for i in ids}) > 200


def test_merges_come_in_their_order_where_many_overlap(load, answers):
    """Few letters and many merges: nearly every pair competes with its neighbours."""
    rng = np.random.default_rng(2)
    texts = [" ".join("".join(rng.choice(list("abcd"), 30)) for _ in range(300)) for _ in range(20)]
    tangled = train_tokenizer(texts[:10], 1500)
    found = ids_of(answers, {**load, "tokenizer": tokenizer_data(tangled.to_str())}, texts)
    assert found == [tangled.encode(text).ids for text in texts]
    assert len({i for ids in found for i in ids}) > 700


def other(**changes):
    """The small tokenizer with parts exchanged, and its data for the page."""
    found = Tokenizer.from_str(small.tokenizer().to_str())
    found.encode_special_tokens = True
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_variants_of_byte_level_bpe_give_the_same_ids_too(load, answers):
    variants = [
        other(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
        other(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
        *(other(normalizer=getattr(normalizers, form)()) for form in ("NFC", "NFD", "NFKC", "NFKD")),
    ]
    whole = json.loads(small.tokenizer().to_str())
    whole["model"] |= {"ignore_merges": True, "vocab": {**whole["model"]["vocab"], "Ġzebra": 400}}  # no merge makes it
    variants.append(Tokenizer.from_str(json.dumps(whole)))
    variants[-1].encode_special_tokens = True
    assert 400 in variants[-1].encode("a zebra").ids
    texts = ["a zebra zebra", *(t for t in HOSTILE if len(t) < 400 and all(unicodedata.category(c) != "Cn" for c in t))]
    for variant in variants:
        found = ids_of(answers, {**load, "tokenizer": tokenizer_data(variant.to_str())}, texts)
        for text, ids in zip(texts, found, strict=True):
            assert ids == variant.encode(well_formed(text), add_special_tokens=False).ids, repr(text)


def test_a_tokenizer_of_another_kind_is_refused_with_the_reason():
    alphabet = {c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    word = Tokenizer(models.WordLevel({"a": 0}, "a"))
    pieces = Tokenizer(models.BPE(alphabet, []))
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    suffix = Tokenizer(models.BPE(alphabet, [], end_of_word_suffix="</w>"))
    suffix.pre_tokenizer = pre_tokenizers.ByteLevel()
    few = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    few.pre_tokenizer, few.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    added = other()
    added.add_tokens(["zebra"])
    for tokenizer, reason in (
        (word, "the tokenizer is WordLevel with the pre-tokenizer None"),
        (pieces, "the tokenizer is BPE with the pre-tokenizer Metaspace"),
        (suffix, "end_of_word_suffix '</w>'"),
        (few, "no token for 254 of the 256 bytes"),
        (added, "added tokens that are not special, such as 'zebra'"),
        (other(normalizer=normalizers.Lowercase()), "normalizer Lowercase"),
    ):
        with pytest.raises(NotServed, match=re.escape(reason)):
            tokenizer_data(tokenizer.to_str())
    assert tokenizer_data(train_tokenizer(["a b"], 300).to_str())["special"] == [0]
