"""Full-text search without a server: a list of words, sorted and cut into data files of which a query needs one or two.

Each word is followed by the features in whose text it stands. `ID/SET/search` holds the first word of every file
`ID/SET/search-00000` …, so that a word, or all words that begin alike, are found by their place in the order. A file is

    u32        bytes of the words
    words      UTF-8, joined by line feeds, in the order of their UTF-16 units (that of JavaScript)
    varints    for each word the number of its postings, then the postings

A posting is 8 · (row − previous row) + 4 · (in the name) + frequency, where a row is the place of a record in its set,
"in the name" says that the word stands in an explanation, a label, a proxy or a top token, and the frequency is 0 for a
word that stands once in the examples, 1 for 2 or 3 times, 2 for 4 to 7, 3 for more.
"""

from __future__ import annotations

import array
import heapq
import itertools
import pathlib
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from monosem_jax.report.browser.container import write_chunk, write_json_chunk
from monosem_jax.report.browser.terms import terms, whole

MOST = 256  # different words of a feature
AROUND = 24  # tokens on either side of the peak
LONGEST_WINDOW = 4000  # characters of a window
LEAST_CORRELATION = 0.2  # with a label or proxy whose name then finds the feature
BLOCK = 64_000  # bytes of words and postings in a file before it is packed; a word of many features can need more
BUDGET = 48_000_000  # bytes of postings in memory before they go to the disk
NAMED = 4  # of a posting: the word stands in the name

Entry = tuple[bytes, int, bytes]  # a word as UTF-16, the number of the run that it is from, its postings as u32


class SearchIndex:
    """Collects the words of the records of a set, then writes the index. Memory is flat in the number of records."""

    def __init__(self, scratch: pathlib.Path, budget: int = BUDGET):
        self._scratch, self._budget = scratch, budget
        self._open: dict[str, array.array[int]] = {}
        self._count = 0
        self._runs: list[IO[bytes]] = []

    def add(self, row: int, record: Mapping[str, Any]) -> None:
        """Adds the record at this place of its set; rows come in ascending order.

        Raises TypeError, KeyError, ValueError or AttributeError when it is no record.
        """
        found = postings(record)
        at = self._open
        for word, code in found.items():
            if word in at:
                at[word].append(8 * row + code)
            else:
                at[word] = array.array("I", (8 * row + code,))
        self._count += len(found)
        if 160 * len(at) + 6 * self._count > self._budget:
            self._spill()

    def write(self, folder: pathlib.Path, prefix: str) -> None:
        """Writes the data files `prefix` and `prefix`-00000 … of the browser in `folder`."""
        entries = heapq.merge(*(_read(run, i) for i, run in enumerate(self._runs)), self._sorted(len(self._runs)))
        firsts: list[str] = []
        words = 0
        for block in _blocks(entries):
            firsts.append(block[0][0])
            words += len(block)
            write_chunk(folder, f"{prefix}-{len(firsts) - 1:05d}", _packed(block))
        write_json_chunk(folder, prefix, {"words": words, "most": MOST, "least": LEAST_CORRELATION, "firsts": firsts})
        for run in self._runs:
            run.close()

    def _sorted(self, number: int) -> Iterator[Entry]:
        for word, rows in sorted((w.encode("utf-16-be"), rows) for w, rows in self._open.items()):
            yield word, number, rows.tobytes()

    def _spill(self) -> None:
        run = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
        for word, _, data in self._sorted(0):
            run.write(struct.pack("<HI", len(word), len(data)) + word + data)
        self._runs.append(run)
        self._open, self._count = {}, 0


def postings(record: Mapping[str, Any]) -> dict[str, int]:
    """word → the three lowest bits of its posting: the words of a record's name first, then those that stand most often
    around the peaks of its examples."""
    windows = list(record.get("examples") or [])
    for interval in record.get("intervals") or []:
        windows += interval["examples"]
    counts = Counter(terms(whole("\n".join([_window(e["tokens"], e["peak"]) for e in windows]))))
    named = dict.fromkeys(terms(whole("\n".join(_name(record)))), NAMED)
    kept = counts if len(counts) + len(named) <= MOST else dict(counts.most_common(MOST))
    found = {word: NAMED + min(3, counts[word].bit_length() - 1) if counts[word] else NAMED for word in named}
    for word, count in kept.items():
        if word not in found:
            found[word] = min(3, count.bit_length() - 1)
    return found if len(found) <= MOST else dict(itertools.islice(found.items(), MOST))


def _window(tokens: Sequence[str], peak: int) -> str:
    near = tokens if len(tokens) <= AROUND else tokens[max(0, peak - AROUND) : peak + AROUND + 1]
    return "".join(near)[:LONGEST_WINDOW]


def _name(record: Mapping[str, Any]) -> Iterator[str]:
    yield from (e["text"] for e in record.get("explanations") or [])
    yield from (t["token"] for t in record.get("top_tokens") or [])
    yield record.get("label") or ""
    if (record.get("nearest_label_correlation") or 0) >= LEAST_CORRELATION:
        yield record.get("nearest_label") or ""
    yield from (p["proxy"] for p in record.get("proxies") or [] if (p["pearson"] or 0) >= LEAST_CORRELATION)


def _read(run: IO[bytes], number: int) -> Iterator[Entry]:
    run.seek(0)
    while head := run.read(6):
        length, size = struct.unpack("<HI", head)
        yield run.read(length), number, run.read(size)


def _blocks(entries: Iterator[Entry]) -> Iterator[list[tuple[str, bytes]]]:
    """Words with all their postings, as many together as make a file."""
    block: list[tuple[str, bytes]] = []
    size = 0
    for word, same in itertools.groupby(entries, key=lambda entry: entry[0]):
        data = b"".join(entry[2] for entry in same)
        if block and size + len(word) + len(data) // 3 > BLOCK:
            yield block
            block, size = [], 0
        block.append((word.decode("utf-16-be"), data))
        size += len(word) + len(data) // 3
    if block:
        yield block


def _packed(block: Sequence[tuple[str, bytes]]) -> bytes:
    text = "\n".join(word for word, _ in block).encode()
    counts = [len(data) // 4 for _, data in block]
    codes = np.frombuffer(b"".join(data for _, data in block), np.uint32).astype(np.int64)
    rows = codes >> 3
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    steps = np.diff(rows, prepend=0)
    steps[starts] = rows[starts]
    numbers = np.insert((steps << 3) | (codes & 7), starts, counts)
    return struct.pack("<I", len(text)) + text + varints(numbers)


def varints(numbers: np.ndarray) -> bytes:
    """Whole numbers >= 0 in 7 bits a byte, the lowest first; all bytes of one but its last have the top bit set."""
    numbers = np.asarray(numbers, np.uint64)
    lengths = np.ones(len(numbers), np.int64)
    for bits in range(7, 63, 7):
        lengths += numbers >= (1 << bits)
    ends = np.cumsum(lengths)
    out = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    for place in range(int(lengths.max(initial=0))):
        has = lengths > place
        part = (numbers[has] >> np.uint64(7 * place)) & np.uint64(127)
        more = (lengths[has] > place + 1).astype(np.uint64) << np.uint64(7)
        out[ends[has] - lengths[has] + place] = part | more
    return out.tobytes()
