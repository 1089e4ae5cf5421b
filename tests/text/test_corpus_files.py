"""Which files of a corpus are read, and that every one that is not is counted by its rule."""

import json
import os

import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.input_summary import InputSummary
from monosem_jax.text.corpus import read_corpus


def put(path, text="some text"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"text": text}) if "json" in path.name.lower() else text)
    return path


def read(path) -> tuple[list[str], dict]:
    """(the texts, the findings with a count that is not 0) of a corpus."""
    summary = InputSummary()
    texts = [d.text for d in read_corpus(str(path), summary)]
    return texts, {name: count for name, count in summary.record().items() if count}


def suffixes(folder):
    for name in ("b.md", "c.txt.gz", "d.ndjson", "e.NDJSON", "README"):
        put(folder / name)
    return {"files_left_out": {".md": 1, ".gz": 1, ".ndjson": 2, "none": 1}}


def upper_case(folder):
    put(folder / "B.JSONL")
    put(folder / "C.Txt")
    return {"files": 3, "documents": 3, "documents_without_label": 3, "equal_documents": 2}


def hidden(folder):
    put(folder / ".x.txt")
    put(folder / ".ipynb_checkpoints" / "deep" / "a.txt")
    put(folder / "sub" / ".DS_Store")
    return {"hidden_left_out": 3}


def folder_link(folder):
    put(folder.parent / "elsewhere" / "b.txt")
    (folder / "sub").symlink_to("../elsewhere")
    return {"folder_links_left_out": 1}


def circle(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "again").symlink_to("..")
    return {"folder_links_left_out": 1}


def file_link(folder):
    put(folder.parent / "elsewhere" / "b.txt", "another")
    (folder / "b.txt").symlink_to("../elsewhere/b.txt")
    return {"files": 2, "documents": 2, "documents_without_label": 2}


def same_file(folder):
    (folder / "b.txt").symlink_to("a.txt")
    os.link(folder / "a.txt", folder / "c.txt")
    return {"files_again": 2}


def broken(folder):
    (folder / "b.txt").symlink_to("nowhere.txt")
    os.mkfifo(folder / "c.txt")
    return {"not_files": 2}


@pytest.mark.parametrize(
    "rule", [suffixes, upper_case, hidden, folder_link, circle, file_link, same_file, broken], ids=lambda f: f.__name__
)
def test_what_is_left_out_is_counted(tmp_path, rule):
    put(tmp_path / "c" / "a.txt")
    changed = rule(tmp_path / "c")
    expected = {"files": 1, "documents": 1, "documents_without_label": 1, **changed}
    texts, found = read(tmp_path / "c")
    assert found == expected and len(texts) == expected["documents"]


def test_a_file_whose_suffix_is_in_upper_case_is_read_alone(tmp_path):
    assert read(put(tmp_path / "A.JSONL", "x"))[0] == ["x"]


def test_a_byte_order_mark_before_json_lines_is_skipped(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}')
    assert read(tmp_path / "a.jsonl")[0] == ["a"]


def test_documents_without_text_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "", "label": "a"}\n{"text": "b", "label": "a"}\n')
    assert read(tmp_path / "a.jsonl")[1] == {"files": 1, "documents": 1, "empty_documents": 1}


def test_a_folder_with_nothing_to_read_says_what_it_holds(tmp_path):
    put(tmp_path / "a.parquet")
    put(tmp_path / ".a.txt")
    with pytest.raises(
        BadInput, match=r"no file ending in .*other suffixes: \.parquet \(1\)\) \(1 hidden entry left out"
    ):
        read_corpus(str(tmp_path))


def test_the_findings_are_told_once_and_only_those_with_a_count(capsys):
    summary = InputSummary()
    summary.add("a", 3, "three a")
    summary.add("b", 0, "no b")
    summary.tell()
    summary.add("c", 1, "one c")
    summary.tell()
    assert capsys.readouterr().out == "input: three a\ninput: one c\n"
    assert summary.record() == {"a": 3, "b": 0, "c": 1}
