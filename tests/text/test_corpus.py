"""Reading text: what is accepted, what is refused and how clearly, and the split into training and held-out text."""

import collections
import gzip
import json
import pathlib
import re

import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.text import corpus
from monosem_jax.text.corpus import Document, corpus_hash, read_corpus, split_heldout

EMBEDDED = pathlib.Path(corpus.__file__).parent / "embedded"


def write(path: pathlib.Path, data: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.encode() if isinstance(data, str) else data
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def refusal(path: str | pathlib.Path) -> str:
    """The one line with which a corpus is refused."""
    with pytest.raises(BadInput) as e:
        read_corpus(str(path))
    assert len(str(e.value).splitlines()) == 1
    return str(e.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_json_line_gives_a_document(tmp_path, name):
    path = write(tmp_path / name, '{"text": "one\\ntwo é", "label": "x", "origin": "here"}\n\n{"text": "three"}\n')
    assert read_corpus(path) == [Document("one\ntwo é", "x", "here"), Document("three", "", f"{name}:3")]


def test_the_label_is_the_field_label_and_else_the_field_source(tmp_path):
    lines = [{"text": "a", "label": "l", "source": "s"}, {"text": "b", "source": "s"}, {"text": "c"}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert [d.label for d in read_corpus(path)] == ["l", "s", ""]


def test_a_label_that_is_the_number_zero_is_kept(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label": 1}')
    assert [d.label for d in read_corpus(path)] == ["0", "1"]


def test_a_text_file_is_one_document_without_label(tmp_path):
    assert read_corpus(write(tmp_path / "a.txt", "x\r\ny")) == [Document("x\r\ny", "", "a.txt#0")]


def test_a_directory_is_read_recursively_in_name_order(tmp_path):
    for name in ("b/z.txt", "a.txt", "b/a.jsonl.gz", "c.jsonl"):
        write(tmp_path / name, json.dumps({"text": name}) if "jsonl" in name else name)
    write(tmp_path / "ignored.md", "not read")
    assert [d.text for d in read_corpus(str(tmp_path))] == ["a.txt", "b/a.jsonl.gz", "b/z.txt", "c.jsonl"]


def test_documents_without_text_are_left_out(tmp_path):
    assert [d.text for d in read_corpus(write(tmp_path / "a.jsonl", '{"text": ""}\n{"text": "b"}'))] == ["b"]


@pytest.mark.parametrize("separator", ["\n\n", "\n", " "])
def test_a_long_text_is_cut_into_documents_that_concatenate_to_it(tmp_path, separator):
    text = separator.join(f"paragraph {i} é🙂" for i in range(5000))
    pieces = [d.text for d in read_corpus(write(tmp_path / "book.txt", text))]
    assert "".join(pieces) == text
    assert len(pieces) > 3 and all(0 < len(p) <= 2 * corpus.TEXT_PIECE for p in pieces)


def test_a_long_text_is_cut_at_blank_lines_where_it_has_them(tmp_path):
    text = "\n\n".join("word " * 30 for _ in range(500))
    pieces = [d.text for d in read_corpus(write(tmp_path / "book.txt", text))]
    assert all(p.endswith("\n") for p in pieces[:-1])


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nothing.jsonl")


def test_a_file_of_another_kind_is_refused(tmp_path):
    assert ".jsonl" in refusal(write(tmp_path / "a.parquet", "PAR1"))


def test_a_directory_without_text_is_refused(tmp_path):
    write(tmp_path / "a.md", "x")
    assert "holds no file" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize("data", ["", "\n\n"])
def test_a_corpus_without_text_is_refused(tmp_path, name, data):
    data = "" if name == "a.txt" else data
    assert "is empty" in refusal(write(tmp_path / name, data))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.gz"])
def test_invalid_utf8_is_refused_with_file_and_byte(tmp_path, name):
    line = refusal(write(tmp_path / name, b'{"text": "ab\xff"}'))
    assert name in line and "byte 12" in line and "0xff" in line


def test_the_file_that_is_invalid_is_named_among_many(tmp_path):
    write(tmp_path / "a.txt", "fine")
    write(tmp_path / "deep" / "b.txt", b"\xc3(")
    assert str(tmp_path / "deep" / "b.txt") in refusal(tmp_path)


def test_a_gzip_file_cut_short_is_refused_wherever_it_is_cut(tmp_path):
    whole = gzip.compress(b'{"text": "some words"}\n' * 20)
    for size in range(len(whole)):
        (tmp_path / "a.jsonl.gz").write_bytes(whole[:size])
        assert "a.jsonl.gz" in refusal(tmp_path / "a.jsonl.gz")


def test_a_damaged_gzip_file_is_refused(tmp_path):
    whole = bytearray(gzip.compress(b'{"text": "some words"}\n' * 20))
    whole[len(whole) // 2] ^= 1
    (tmp_path / "a.jsonl.gz").write_bytes(whole)
    assert "cannot be read" in refusal(tmp_path / "a.jsonl.gz")


# Deep nesting and long numbers make the standard library's parser raise kinds of its own.
NOT_JSON = {"words": "nonsense", "cut short": '{"text": "a', "nested": "[" * 100_000, "digits": "1" * 5_000}


@pytest.mark.parametrize("kind", NOT_JSON)
def test_a_line_that_is_not_json_is_refused_with_its_number(tmp_path, kind):
    line = refusal(write(tmp_path / "a.jsonl", '{"text": "a"}\n' + NOT_JSON[kind]))
    assert re.search(r"a\.jsonl line 2 .*JSON", line)


@pytest.mark.parametrize("line", ['{"txt": "a"}', '{"text": 3}', '{"text": null}', '["text"]', '"text"', "7"])
def test_a_line_without_a_text_field_is_refused(tmp_path, line):
    assert "line 2: expected an object with a string field 'text'" in refusal(
        write(tmp_path / "a.jsonl", '{"text": "a"}\n' + line)
    )


@pytest.mark.parametrize("field", ["text", "label", "source"])
def test_a_lone_surrogate_is_refused(tmp_path, field):
    line = json.dumps({"text": "a", field: "ab\ud800"})
    assert "line 2 is not valid Unicode" in refusal(write(tmp_path / "a.jsonl", '{"text": "a"}\n' + line))


def documents(*labels: str) -> list[Document]:
    return [Document(f"text {i}", label, str(i)) for i, label in enumerate(labels)]


def test_the_same_share_of_every_label_is_held_out():
    docs = documents(*(["a"] * 100 + ["b"] * 50 + ["c"] * 20))
    heldout = split_heldout(docs, 0.1, seed=0)
    assert collections.Counter(d.label for d, h in zip(docs, heldout, strict=True) if h) == {"a": 10, "b": 5, "c": 2}


def test_a_label_of_three_documents_has_one_held_out():
    docs = documents(*(["a"] * 100 + ["b"] * 3))
    assert split_heldout(docs, 0.1, seed=0)[-3:].sum() == 1


def test_a_split_is_one_mask_over_the_documents():
    heldout = split_heldout(documents(*"ab" * 50), 0.2, seed=0)
    assert heldout.shape == (100,) and heldout.dtype == bool and 0 < heldout.sum() < 100


def test_the_split_follows_from_the_seed():
    docs = documents(*"ab" * 100)
    assert np.array_equal(split_heldout(docs, 0.2, seed=5), split_heldout(docs, 0.2, seed=5))


def test_another_seed_holds_out_other_documents():
    docs = documents(*"ab" * 100)
    assert not np.array_equal(split_heldout(docs, 0.2, seed=5), split_heldout(docs, 0.2, seed=6))


def test_a_single_document_cannot_be_split():
    with pytest.raises(BadInput, match="give more documents"):
        split_heldout(documents("a"), 0.1, seed=0)


def test_documents_that_each_have_a_label_of_their_own_can_be_split():
    heldout = split_heldout(documents(*(f"https://example.org/{i}" for i in range(100))), 0.08, seed=0)
    assert heldout.sum() == 8


@pytest.mark.parametrize(
    "other",
    [
        [Document("ab", "x", ""), Document("d", "y", "")],
        [Document("ab", "z", ""), Document("c", "y", "")],
        [Document("c", "y", ""), Document("ab", "x", "")],
        [Document("abx", "", ""), Document("c", "y", "")],
        [Document("a", "bx", ""), Document("c", "y", "")],
        [Document("ab", "xc", ""), Document("", "y", "")],
        [Document("abxcy", "", "")],
        [Document("ab", "x", "")],
    ],
)
def test_the_hash_changes_with_text_label_order_and_boundaries(other):
    assert corpus_hash([Document("ab", "x", ""), Document("c", "y", "")]) != corpus_hash(other)


def test_the_hash_does_not_depend_on_where_the_text_lay():
    assert corpus_hash([Document("ab", "x", "here")]) == corpus_hash([Document("ab", "x", "there")])


def test_the_corpus_in_the_package_has_its_documents_and_labels():
    docs = read_corpus("embedded")
    assert len(docs) == 1113
    assert len({d.label for d in docs} - {""}) == 24


def test_every_document_of_the_embedded_corpus_is_attributed_to_its_package():
    cells = [line.split("|") for line in (EMBEDDED / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()]
    attributed = collections.Counter()
    for row in cells:
        if len(row) > 6 and row[5].strip().isdigit():
            attributed[row[1].strip()] += int(row[5])
    documents = collections.Counter(d.origin.split(" ")[0] for d in read_corpus("embedded"))
    assert {name: attributed[name] for name in documents} == documents


def test_every_package_of_the_embedded_corpus_has_its_licence_beside_it():
    packages = {d.origin.split(" ")[0].lstrip("@").replace("/", "-") for d in read_corpus("embedded")}
    licences = {p.stem for p in (EMBEDDED / "LICENSES").iterdir() if p.stat().st_size}
    assert packages <= licences


def repeated(*numbers: int, label: str = "a") -> list[Document]:
    """Documents whose texts have these numbers."""
    return [Document(f"text {n}", label, str(i)) for i, n in enumerate(numbers)]


@pytest.mark.parametrize("seed", range(5))
def test_equal_texts_lie_on_one_side_of_the_split(seed):
    docs = repeated(*(i // 4 for i in range(200)))
    heldout = split_heldout(docs, 0.08, seed)
    held = {d.text for d, h in zip(docs, heldout, strict=True) if h}
    assert not held & {d.text for d, h in zip(docs, heldout, strict=True) if not h}
    assert heldout.sum() == 16


def test_a_text_that_is_most_of_the_corpus_is_not_held_out():
    docs = repeated(*[0] * 500, *range(1, 501))
    for seed in range(5):
        heldout = split_heldout(docs, 0.08, seed)
        assert heldout.sum() == 80 and not heldout[:500].any()


def test_equal_texts_with_different_labels_lie_on_one_side():
    docs = [Document(f"text {i % 50}", "ab"[i // 50], str(i)) for i in range(100)]
    heldout = split_heldout(docs, 0.1, 0)
    assert np.array_equal(heldout[:50], heldout[50:]) and heldout.sum() == 10


def test_documents_that_are_all_equal_cannot_be_split():
    with pytest.raises(BadInput, match="10 documents with 1 different text and"):
        split_heldout(repeated(*[0] * 10), 0.1, 0)


def test_the_split_of_different_texts_is_that_of_earlier_versions():
    docs = documents(*(["a"] * 40 + ["b"] * 20 + ["c"] * 2))
    assert np.flatnonzero(split_heldout(docs, 0.1, seed=0)).tolist() == [2, 9, 14, 18, 51, 54]
