"""Packed contexts on disk: what they hold, that nothing is lost or shared between splits, and when they are refused."""

import json
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.text.corpus import corpus_hash, read_corpus
from monosem_jax.text.directory import Text
from monosem_jax.text.pack import TextConfig, prepare_text

LENGTH = 16
SPLITS = ("train", "validation", "heldout")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    """Forty documents of different lengths; one holds the letters of BOS."""
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    rng = np.random.default_rng(0)
    words = ["the", "cat", "dog", "sat", "on", "mat", "and", "ran", "to", "me", "<bos>"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 60))) for _ in range(40)]
    lines = [json.dumps({"text": t, "label": "ab"[i % 2], "origin": f"d{i}"}) for i, t in enumerate(texts)]
    path.write_text("\n".join(lines))
    return str(path)


def config(corpus: str, **changes) -> TextConfig:
    fractions = {"heldout_fraction": 0.2, "validation_fraction": 0.15}
    return TextConfig(**{"corpus": corpus, "vocab_size": 280, **fractions, **changes})


@pytest.fixture(scope="module")
def text(corpus, tmp_path_factory) -> Text:
    return prepare_text(tmp_path_factory.mktemp("text") / "text", config(corpus), LENGTH, seed=0)


def contents(path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


@pytest.mark.parametrize("split", SPLITS)
def test_every_context_begins_with_bos_and_has_the_context_length(text, split):
    tokens = text.tokens(split)
    assert tokens.shape[1] == LENGTH and len(tokens) > 0
    assert (tokens[:, 0] == text.bos).all()


def stream(text: Text, corpus: str, split: str) -> tuple[list[int], list[int]]:
    """The token stream that the documents of a split make in their packed order, and the document of every token."""
    documents = read_corpus(corpus)
    order = list(dict.fromkeys(text.documents(split)[:, 1:].ravel().tolist()))
    encoded = [text.tokenizer.encode(documents[i].text, add_special_tokens=False).ids for i in order]
    tokens = [t for e in encoded for t in (text.bos, *e)]
    return tokens, [i for i, e in zip(order, encoded, strict=True) for _ in range(len(e) + 1)]


@pytest.mark.parametrize("split", SPLITS)
def test_contexts_without_their_bos_concatenate_to_the_documents_with_bos_before_each(text, corpus, split):
    packed = text.tokens(split)[:, 1:].ravel().tolist()
    expected, _ = stream(text, corpus, split)
    assert packed == expected[: len(packed)]


@pytest.mark.parametrize("split", SPLITS)
def test_less_than_one_context_of_the_documents_is_dropped(text, corpus, split):
    expected, _ = stream(text, corpus, split)
    assert 0 <= len(expected) - text.tokens(split)[:, 1:].size < LENGTH - 1


@pytest.mark.parametrize("split", SPLITS)
def test_the_documents_array_names_the_document_of_every_token(text, corpus, split):
    where = text.documents(split)
    assert where.shape == text.tokens(split).shape and where.dtype == np.int32
    _, expected = stream(text, corpus, split)
    assert where[:, 1:].ravel().tolist() == expected[: where[:, 1:].size]
    assert np.array_equal(where[:, 0], where[:, 1])


@pytest.mark.parametrize("split", SPLITS)
def test_bos_stands_only_at_the_beginning_of_contexts_and_documents(text, split):
    where = text.documents(split)[:, 1:].ravel()
    begins = np.concatenate([[True], where[1:] != where[:-1]])
    assert np.array_equal(text.tokens(split)[:, 1:].ravel() == text.bos, begins)


def test_no_document_is_in_two_splits(text):
    members = [set(text.documents(split).ravel().tolist()) for split in SPLITS]
    assert len(set.union(*members)) == sum(map(len, members))


def test_the_tokenizer_is_trained_on_the_training_split_only(tmp_path):
    words = ["qaqaqa", "zbzbzb"]
    lines = [json.dumps({"text": f"{word} " * 60, "label": "x"}) for word in words]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    packed = prepare_text(tmp_path / "text", config(str(tmp_path / "c.jsonl"), heldout_fraction=0.5), LENGTH, seed=0)
    heldout = int(packed.documents("heldout")[0, 0])
    n_tokens = [len(packed.tokenizer.encode(word).ids) for word in words]
    assert n_tokens[heldout] == 6 and n_tokens[1 - heldout] == 1


def test_the_same_seed_gives_the_same_bytes(text, corpus, tmp_path):
    again = prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=0)
    assert contents(again.path) == contents(text.path)


def test_another_seed_gives_another_order(text, corpus, tmp_path):
    other = prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=1)
    assert not np.array_equal(other.documents("train")[:5], text.documents("train")[:5])


def test_a_second_call_opens_what_is_there(corpus, tmp_path):
    first = prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=0)
    stamps = {p: p.stat().st_mtime_ns for p in first.path.iterdir()}
    prepare_text(tmp_path / "text", config("/does/not/exist"), LENGTH, seed=0)
    assert {p: p.stat().st_mtime_ns for p in first.path.iterdir()} == stamps


def test_a_directory_without_its_manifest_is_made_again(text, corpus, tmp_path):
    first = prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=0)
    (first.path / "text.json").unlink()
    (first.path / "train_tokens.npy").write_bytes(b"half")
    assert contents(prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=0).path) == contents(text.path)


def test_the_manifest_counts_what_is_there(text, corpus):
    documents, manifest = read_corpus(corpus), text.manifest
    assert manifest["corpus_sha256"] == corpus_hash(documents)
    assert (manifest["bos"], manifest["vocab_size"], manifest["context_length"]) == (0, 280, LENGTH)
    assert text.splits == SPLITS and manifest["splits"]["validation"]["documents"] == 6
    for split in SPLITS:
        assert manifest["splits"][split]["contexts"] == len(text.tokens(split))
    assert sum(manifest["splits"][s]["documents"] for s in SPLITS) == len(documents)
    assert sum(manifest["splits"][s]["bytes"] for s in SPLITS) == sum(len(d.text.encode()) for d in documents)


def test_labels_and_origins_of_the_documents_are_kept(text):
    assert text.labels == ["a", "b"] * 20
    assert read_json(text.path / "documents.json")[7]["origin"] == "d7"


@pytest.mark.parametrize("split, length", [("train", 100_000), ("heldout", 500)])
def test_a_split_smaller_than_one_context_is_refused(corpus, tmp_path, split, length):
    with pytest.raises(BadInput, match=f"the {split} split has .* smaller than one context of {length}"):
        prepare_text(tmp_path / "text", config(corpus), length, seed=0)
    assert not (tmp_path / "text" / "text.json").exists()


def word_tokenizer(path, largest: int, words: int = 0) -> str:
    """A tokenizer.json whose words have small ids, except "cat", which has the largest."""
    others = ["dog", "sat", "on", "mat", "and", "ran", "to", "me", "<", "bos", ">"] + [f"w{i}" for i in range(words)]
    others = others[: max(words, 11)]
    vocab = {"<s>": 0, "[UNK]": 1, "the": 2, "cat": largest, **{word: 3 + i for i, word in enumerate(others)}}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    return str(path)


@pytest.mark.parametrize("words, dtype", [(11, np.uint16), (65_532, np.uint16), (65_533, np.uint32)])
def test_tokens_take_two_bytes_as_long_as_the_vocabulary_allows(corpus, tmp_path, words, dtype):
    tokenizer = word_tokenizer(tmp_path / "t.json", 3 + words, words)
    packed = prepare_text(tmp_path / "text", config(corpus, tokenizer=tokenizer), LENGTH, seed=0)
    assert packed.tokens("train").dtype == dtype
    assert packed.tokens("train").max() == 3 + words


@pytest.mark.parametrize("largest", [500, 70_000])
def test_the_vocabulary_reaches_to_the_largest_id_of_a_tokenizer_with_gaps(corpus, tmp_path, largest):
    tokenizer = word_tokenizer(tmp_path / "t.json", largest)
    packed = prepare_text(tmp_path / "text", config(corpus, tokenizer=tokenizer), LENGTH, seed=0)
    assert packed.manifest["vocab_size"] > packed.tokens("train").max() == largest


@pytest.mark.parametrize(
    "change",
    [
        {"heldout_fraction": 0.0},
        {"heldout_fraction": 1.0},
        {"validation_fraction": -0.1},
        {"validation_fraction": 0.8},
        {"vocab_size": 256},
    ],
)
def test_impossible_values_are_refused_by_name(corpus, change):
    with pytest.raises(BadInput, match=next(iter(change))):
        config(corpus, **change).check()


@pytest.mark.parametrize("document", [{"label": "a"}, {"origin": "x#1"}, {"origin": 3, "label": "a"}, ["x", "a"]])
def test_documents_without_origin_or_label_are_refused(tmp_path, document):
    (tmp_path / "text.json").write_text(json.dumps({"bos": 0, "vocab_size": 2}))
    (tmp_path / "documents.json").write_text(json.dumps([{"origin": "y", "label": ""}, document]))
    with pytest.raises(BadInput, match="expected an origin and a label for every document"):
        _ = Text(tmp_path).sources


def test_sources_are_the_origin_and_the_label_of_every_document(tmp_path):
    (tmp_path / "text.json").write_text(json.dumps({"bos": 0, "vocab_size": 2}))
    (tmp_path / "documents.json").write_text(json.dumps([{"origin": "y", "label": ""}, {"label": "a", "origin": "x"}]))
    text = Text(tmp_path)
    assert text.sources == [("y", ""), ("x", "a")] and text.labels == ["", "a"]


def copied(corpus, path, change=lambda text: text) -> str:
    path.parent.mkdir(exist_ok=True)
    with open(corpus, encoding="utf-8") as f:
        path.write_text(change(f.read()))
    return str(path)


def test_a_corpus_is_known_by_its_content_wherever_it_lies(corpus, tmp_path, capsys):
    prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=0)
    prepare_text(tmp_path / "text", config(copied(corpus, tmp_path / "moved" / "x.jsonl")), LENGTH, seed=0)
    changed = copied(corpus, tmp_path / "x.jsonl", lambda text: text.replace("cat", "dog"))
    with pytest.raises(BadInput, match=r"x\.jsonl is not the one that .*text was prepared from"):
        prepare_text(tmp_path / "text", config(changed), LENGTH, seed=0)
    prepare_text(tmp_path / "text", config(str(tmp_path / "gone.jsonl")), LENGTH, seed=0)
    assert "gone.jsonl does not exist any more: going on with the text" in capsys.readouterr().out


def test_a_corpus_that_has_changed_in_its_place_or_was_moved_and_changed_is_told(corpus, tmp_path, capsys):
    own = copied(corpus, tmp_path / "own.jsonl")
    text = prepare_text(tmp_path / "text", config(own), LENGTH, seed=0)
    before = text.tokens("train").copy()
    copied(corpus, tmp_path / "own.jsonl", lambda text: text.replace("cat", "dog"))
    (tmp_path / "moved").mkdir()
    for place in (own, str(tmp_path / "moved" / "own.jsonl")):
        if place != own:
            shutil.move(own, place)
        found = prepare_text(tmp_path / "text", config(place), LENGTH, seed=0)
        np.testing.assert_array_equal(found.tokens("train"), before)
        assert "own.jsonl is not the one that" in (out := capsys.readouterr().out) and "it has changed since" in out


def test_a_tokenizer_is_known_by_its_content_wherever_it_lies(corpus, tmp_path):
    given = word_tokenizer(tmp_path / "t.json", 50)
    prepare_text(tmp_path / "text", config(corpus, tokenizer=given), LENGTH, seed=0)
    moved = word_tokenizer(tmp_path / "moved.json", 50)
    prepare_text(tmp_path / "text", config(corpus, tokenizer=moved), LENGTH, seed=0)
    for other in (word_tokenizer(tmp_path / "other.json", 60), ""):
        with pytest.raises(BadInput, match="tokenizer"):
            prepare_text(tmp_path / "text", config(corpus, tokenizer=other), LENGTH, seed=0)


def test_the_manifest_says_what_was_left_out(text, corpus):
    found, documents = text.manifest["input"], read_corpus(corpus)
    assert (found["files"], found["documents"], found["empty_documents"]) == (1, len(documents), 0)
    assert found["equal_documents"] == len(documents) - len({d.text for d in documents})
    for split in SPLITS:
        expected, _ = stream(text, corpus, split)
        assert found[f"{split}_tokens_left_out"] == len(expected) - text.tokens(split)[:, 1:].size


def test_too_few_contexts_for_a_batch_are_refused_before_anything_is_written(corpus, tmp_path):
    with pytest.raises(BadInput, match=r"train\.batch_size 4096 is larger than the \d+ contexts"):
        prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=0, batch_size=4096)
    assert not (tmp_path / "text").exists()
