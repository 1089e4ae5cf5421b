"""The words of a text as the search knows them; `front/src/terms.ts` does the same to what people type.

A text is put into Unicode's form NFKC and lower case, without the optional vowel signs of Arabic and Hebrew. A word is
a run of letters, digits and combining marks. Scripts that are written without spaces (Chinese, Japanese, Thai, …) give
every character and every pair of neighbours instead.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 32  # characters of a word; longer ones are cut, in what is typed too
# Arabic and Hebrew vowel signs and the Arabic letter stretcher: most texts leave them out.
OPTIONAL = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670]")
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
FIRST = re.compile(f"[{UNSPACED}]")
RUNS = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")
BYTES = re.compile(r"(?:\\x[89a-f][0-9a-f])+")  # bytes that are not a whole character, as tokens are shown
PLAIN = re.compile("[a-z0-9]+")


def whole(text: str) -> str:
    """The text of joined tokens with characters that were divided over tokens put together; bytes that make none become
    a space."""
    return BYTES.sub(_character, text) if "\\x" in text else text


def terms(text: str) -> list[str]:
    """The words of a text, in its order and with repetitions."""
    text = unicodedata.normalize("NFKC", text).lower()
    if text.isascii():
        return [w[:LONGEST] for w in PLAIN.findall(text)]
    text = OPTIONAL.sub("", text).replace("ς", "σ").replace("_", " ")  # a sigma has another form at the end
    found: list[str] = []
    for word in _word().findall(text):
        if word.isascii():
            found.append(word[:LONGEST])
        else:
            for run in RUNS.findall(word):
                found.extend(_of_run(run))
    return found


def _of_run(run: str) -> Iterable[str]:
    if not FIRST.match(run):
        return (run[:LONGEST],)
    return (*run, *(run[i : i + 2] for i in range(len(run) - 1)))


@functools.cache
def _word() -> re.Pattern[str]:
    """Runs of letters, digits and marks: Python's \\w leaves out the marks, without which Hindi falls apart."""
    marks: list[str] = ["", ""]
    for n in itertools.chain(range(128, 0xD800), range(0xF900, 0x40000), range(0xE0100, 0xE01F0)):
        if unicodedata.category(chr(n))[0] == "M":
            marks[n > 0xFFFF] += chr(n)
    # Marks beyond U+FFFF apart and behind a quick test: they would slow down every character that is none.
    return re.compile(f"(?:[\\w{marks[0]}]+|(?=[\U00010000-\U0010ffff])[{marks[1]}]+)+")


def _character(match: re.Match[str]) -> str:
    data = bytes.fromhex(match.group().replace("\\x", ""))
    return data.decode("utf-8", "replace").replace("\ufffd", " ")
