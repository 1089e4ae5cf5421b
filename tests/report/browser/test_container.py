"""Data files: what is written is what the page reads, and nothing in them is code of the data."""

import gzip
import re

import pytest

from monosem_jax.report.browser.container import unpacked, write_chunk, write_json_chunk, write_packed
from monosem_jax.runtime.errors import BadInput

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}} ${7*7} <%= 7 %>",
    "\u202eevil\u202c",
    "\x00\u2028\u2029",
    '"); alert(1); ("',
    "x" * 100_000,
]


def test_a_value_comes_back(tmp_path):
    value = {"text": HOSTILE, "numbers": [1, 2.5, None], "öäü": "אב"}
    size = write_json_chunk(tmp_path, "a/b-1", value)
    file = tmp_path / "data" / "a" / "b-1.js"
    assert unpacked(file) == value and file.stat().st_size == size


def test_the_file_is_one_call_with_a_name_and_base64(tmp_path):
    write_json_chunk(tmp_path, "site", HOSTILE)
    text = (tmp_path / "data" / "site.js").read_text(encoding="ascii")
    assert re.fullmatch(r'monosem\("site","[A-Za-z0-9+/=]+"\)\n', text)


def test_equal_values_give_equal_files_and_packed_bytes_are_passed_through(tmp_path):
    write_chunk(tmp_path, "one", b"[1]")
    write_packed(tmp_path, "two", gzip.compress(b"[1]", 6, mtime=0))
    one, two = ((tmp_path / "data" / f"{name}.js").read_text() for name in ("one", "two"))
    assert one.replace("one", "two") == two


def test_a_lone_surrogate_is_written_as_its_escape(tmp_path):
    write_json_chunk(tmp_path, "a", ["\ud800"])
    assert unpacked(tmp_path / "data" / "a.js") in (["\ud800"], ["\\ud800"])


@pytest.mark.parametrize("key", ["", "/a", "a/", "../a", "a/../b", 'a"b', "a b", "a\nb", "ä", "a\\b"])
def test_a_key_that_is_more_than_a_name_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="cannot name a data file"):
        write_chunk(tmp_path, key, b"")
    assert not list(tmp_path.iterdir())


def test_a_number_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(ValueError):
        write_json_chunk(tmp_path, "a", float("nan"))


@pytest.mark.parametrize(
    "text", ["", "alert(1)", 'monosem("a","AAAA")\n', 'monosem("a","H4sI")\n', 'monosem("a","!")\n']
)
def test_a_damaged_file_is_one_line(tmp_path, text):
    (tmp_path / "a.js").write_text(text)
    with pytest.raises(BadInput, match=r"a\.js is damaged: expected JSON in a data file"):
        unpacked(tmp_path / "a.js")
