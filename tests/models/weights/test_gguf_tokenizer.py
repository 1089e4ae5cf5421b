"""Tokenizers in GGUF files: the tokens that llama.cpp makes (see tests/models/weights/tokens/make.py)."""

import json
import pathlib

import numpy as np
import pytest

from monosem_jax.models.weights.gguf_tokenizer import CUTS, make_tokenizer
from monosem_jax.text.tokenizer import bos_id, plain_tokenizer
from tests.models.weights.test_hf import line
from tests.models.weights.tokens.make import CONTROL, EXPECTED, USER, metadata

KEPT = json.loads(pathlib.Path(EXPECTED).read_text())
CASES = {"-".join(map(str, (c["vocabulary"], *c["more"].values()))): c for c in KEPT["cases"]}


def made(name: str, **more):
    return plain_tokenizer(make_tokenizer(metadata(KEPT["vocabularies"][name], **more), "m.gguf"))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_tokens_are_those_of_llama_cpp(case):
    found = made(case["vocabulary"], **case["more"])
    for text, expected in zip(KEPT["texts"], case["tokens"], strict=True):
        assert found.encode(text, add_special_tokens=False).ids == expected, text
    assert found.encode("a", add_special_tokens=True).ids == case["begin"]


def test_every_kind_is_checked_and_they_differ():
    assert {c["more"]["pre"] for c in KEPT["cases"] if "pre" in c["more"]} == {*CUTS} - {""}
    different = {json.dumps(c["tokens"]) for c in KEPT["cases"]}
    assert len(different) >= len({*CUTS.values()}) - 2


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_text_comes_back(case):
    found = made(case["vocabulary"], **case["more"])
    for text, ids in zip(KEPT["texts"], case["tokens"], strict=True):
        if case["vocabulary"] == "byte_level" or not {"▁", USER} & {c for c in ("▁", USER) if c in text}:
            assert found.decode(ids, skip_special_tokens=False) == text


def test_tokens_that_control_are_five_letters_in_a_text_and_those_of_users_are_found():
    for name in KEPT["vocabularies"]:
        found = made(name)
        control, user = found.token_to_id(CONTROL), found.token_to_id(USER)
        assert control not in found.encode(f"a {CONTROL}").ids and user in found.encode(f"a{USER}b").ids
        found.encode_special_tokens = False
        assert control in found.encode(f"a {CONTROL}").ids


def test_a_text_begins_with_the_token_that_the_file_says():
    found = made("byte_level", add_bos_token=True, bos_token_id=65)
    assert bos_id(found) == 65 and found.encode("x").ids[0] == 65
    found = made("sentencepiece")
    assert bos_id(found) == 1
    vocabulary = {k: v for k, v in KEPT["vocabularies"]["byte_level"].items() if k != "add_bos_token"}
    begun = make_tokenizer(metadata(vocabulary, pre="llama-bpe", bos_token_id=3), "m.gguf")
    plain = make_tokenizer(metadata(vocabulary, pre="qwen2", bos_token_id=3), "m.gguf")
    assert begun.encode("x").ids[0] == 3 and plain.encode("x").ids[0] != 3


DAMAGES = {
    "no model": ({"model": ""}, "has no tokenizer (no key tokenizer.ggml.model)"),
    "another model": ({"model": "bert"}, "tokenizer.ggml.model is 'bert': expected gpt2 or llama"),
    "another cut": ({"pre": "bloom"}, "tokenizer.ggml.pre is 'bloom': expected one of default, gpt-2"),
    "no tokens": ({"tokens": []}, "tokenizer.ggml.tokens is missing"),
    "numbers": ({"tokens": np.ones(3)}, "tokenizer.ggml.tokens is missing"),
    "a token twice": ({"tokens": ["a", "a"]}, "tokenizer.ggml.tokens has 'a' twice"),
    "few types": ({"token_type": [1, 1]}, "tokenizer.ggml.token_type is missing or not one number for each token"),
    "no merges": ({"merges": 3}, "tokenizer.ggml.merges is missing"),
    "a merge of one": ({"merges": ["ab"]}, "tokenizer.ggml.merges has 'ab': expected two parts"),
    "a merge of others": ({"merges": ["zzz qqq"]}, "its tokenizer cannot be made: "),
    "a beginning beyond": ({"add_bos_token": True, "bos_token_id": 10**6}, "bos_token_id is 1000000: expected a token"),
    "no scores": ({"model": "llama"}, "tokenizer.ggml.scores is missing"),
}  # fmt: skip


@pytest.mark.parametrize("change, expected", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_tokenizer_is_one_line(change, expected):
    assert expected in line(lambda: made("byte_level", **change))
