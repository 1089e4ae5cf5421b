"""Tokenizers: byte-level BPE that loses nothing, a BOS that text cannot forge, and tokenizers from elsewhere."""

import json
import random

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from monosem_jax.runtime.errors import BadInput
from monosem_jax.text import tokenizer as tokenizer_lib
from monosem_jax.text.shown import token_bytes, token_strings
from monosem_jax.text.tokenizer import BOS, bos_id, load_tokenizer, train_tokenizer

TEXTS = ["the cat sat on the mat, and the dog sat on the cat. " * 5, "naïve café déjà 猫 猫 猫 <bos> <bos>"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 280)


@pytest.fixture
def saved(tokenizer, tmp_path):
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_batch([text], add_special_tokens=False)[0].ids


def edit(path, **changes) -> None:
    """Changes fields of a tokenizer.json."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_any_unicode_text_comes_back_from_its_tokens(tokenizer):
    rng = random.Random(0)
    everything = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for _ in range(50):
        text = "".join(chr(rng.choice(everything)) for _ in range(50))
        assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ["", " ", "  a", "a  ", "\r\n\t\0", "é vs é", "🙂‍🙂", "\ufeffa"])
def test_odd_text_comes_back_from_its_tokens(tokenizer, text):
    assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False) == text


def test_bos_is_token_zero(tokenizer):
    assert bos_id(tokenizer) == 0 and tokenizer.id_to_token(0) == BOS


def test_a_trained_vocabulary_has_the_size_asked_for(tokenizer):
    assert tokenizer.get_vocab_size() == 280


def test_the_words_of_the_texts_become_tokens(tokenizer):
    assert len(ids(tokenizer, " the cat sat")) <= 4


@pytest.mark.parametrize("text", [BOS, f"a{BOS}b", f"{BOS} {BOS}", f" {BOS}\n"])
def test_the_letters_of_bos_in_a_text_do_not_make_the_bos_token(tokenizer, text):
    assert 0 not in ids(tokenizer, text)


@pytest.mark.parametrize("text", [BOS, f"a{BOS}b"])
def test_the_letters_of_bos_do_not_make_the_bos_token_after_saving_and_loading(saved, text):
    assert 0 not in ids(load_tokenizer(saved), text)


def test_a_text_that_holds_the_letters_of_bos_comes_back(tokenizer):
    assert tokenizer.decode(ids(tokenizer, f"a{BOS}b"), skip_special_tokens=False) == f"a{BOS}b"


def test_a_loaded_tokenizer_encodes_as_the_saved_one(tokenizer, saved):
    assert ids(load_tokenizer(saved), TEXTS[0]) == ids(tokenizer, TEXTS[0])


@pytest.mark.parametrize("size", [0, 1, 256])
def test_a_vocabulary_smaller_than_the_byte_alphabet_and_bos_is_refused(size):
    with pytest.raises(BadInput, match=f"vocab_size is {size}: at least 257"):
        train_tokenizer(TEXTS, size)


def test_the_byte_alphabet_and_bos_alone_are_a_vocabulary():
    tokenizer = train_tokenizer(TEXTS, 257)
    assert tokenizer.get_vocab_size() == 257
    assert len(ids(tokenizer, "猫 a")) == 5


def test_training_twice_gives_the_same_tokenizer():
    assert train_tokenizer(TEXTS, 280).to_str() == train_tokenizer(TEXTS, 280).to_str()


def test_token_strings_are_readable_text(tokenizer):
    strings = token_strings(tokenizer)
    assert len(strings) == 280
    assert strings[0] == BOS and " the" in strings and " " in strings and "\n" in strings


def test_token_strings_write_bytes_that_are_no_whole_character_in_hexadecimal(tokenizer):
    strings = token_strings(tokenizer)
    first = ids(train_tokenizer(TEXTS, 257), "猫")[0]
    assert strings[first] == "\\xe7"


def test_token_strings_joined_over_the_tokens_of_plain_text_are_the_text(tokenizer):
    text = "The dog sat,\n\ton 12 mats."
    assert "".join(token_strings(tokenizer)[i] for i in ids(tokenizer, text)) == text


def test_a_tokenizer_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"no\.json does not exist: expected a tokenizer\.json"):
        load_tokenizer(tmp_path / "no.json")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": "1.0"', "not json"])
def test_a_file_that_is_no_tokenizer_is_refused_by_one_line(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(BadInput, match=r"t\.json cannot be read") as e:
        load_tokenizer(tmp_path / "t.json")
    assert len(str(e.value).splitlines()) == 1


def test_a_loaded_tokenizer_does_not_cut_long_texts(tokenizer, saved):
    edit(saved, truncation={"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0})
    assert ids(load_tokenizer(saved), TEXTS[0]) == ids(tokenizer, TEXTS[0])


def test_a_loaded_tokenizer_does_not_fill_up_short_texts(tokenizer, saved):
    padding = {"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None}
    edit(saved, padding={**padding, "pad_id": 0, "pad_type_id": 0, "pad_token": BOS})
    assert ids(load_tokenizer(saved), "the cat") == ids(tokenizer, "the cat")


@pytest.mark.parametrize("name", ["<s>", "<|begin_of_text|>", "<|endoftext|>", "[CLS]"])
def test_the_bos_of_published_tokenizers_is_found(name):
    assert bos_id(Tokenizer(models.WordLevel({"a": 0, name: 7}, unk_token="a"))) == 7


def test_a_tokenizer_without_bos_is_refused():
    with pytest.raises(BadInput, match="no beginning-of-sequence token"):
        bos_id(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))


def test_words_longer_than_the_bound_are_cut_for_the_training_and_nothing_else_is():
    pieces, bound = pre_tokenizers.ByteLevel(add_prefix_space=False), tokenizer_lib.LONGEST_PIECE
    long = "x y " + "ACGT" * bound + "!" * (bound + 3) + " " * (2 * bound) + "z"
    cut = list(tokenizer_lib.cut_long_pieces(long, pieces))
    assert "".join(cut) == long
    assert all(stop - start <= bound + 1 for part in cut for _, (start, stop) in pieces.pre_tokenize_str(part))
    several = "a1" * bound  # one run without spaces, but pieces of a single character
    assert [list(tokenizer_lib.cut_long_pieces(t, pieces)) for t in (several, TEXTS[0])] == [[several], [TEXTS[0]]]


def test_a_word_of_a_million_letters_does_not_stop_the_training():
    rng = random.Random(0)
    text = "".join(rng.choices("ACGT", k=1_000_000))
    assert train_tokenizer([*TEXTS, text], 262).get_vocab_size() == 262


def test_the_bytes_of_tokens_joined_are_the_text():
    text = "añadir \\xc3 日本\n"
    tokenizer = train_tokenizer([text * 3], 270)
    pieces = token_bytes(tokenizer)
    assert b"".join(pieces[i] for i in tokenizer.encode(text).ids) == text.encode()
    assert pieces[0] == BOS.encode()
