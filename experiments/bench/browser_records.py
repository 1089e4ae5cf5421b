"""Made-up records for browsers of any size, and their building in a process of its own:
`python -m experiments.bench.browser_records RECORDS SITE` prints records, seconds and peak memory as JSON."""

from __future__ import annotations

import gzip
import json
import pathlib
import re
import sys
import time

import numpy as np

from monosem_jax.analysis.records import (
    Example,
    Explanation,
    Feature,
    Histogram,
    Interval,
    Neighbour,
    Score,
    TopToken,
)
from monosem_jax.analysis.records_io import CHUNK, INDEX_COLUMNS, Records, RecordWriter, write_header
from monosem_jax.report.browser.material import DictionaryMaterial
from monosem_jax.report.browser.overview import overview
from monosem_jax.report.browser.site import write_site
from monosem_jax.runtime.files import write_bytes

LABELS = tuple(f"label_{i}" for i in range(24))
TOKENS = 20_000_000  # on which they are said to be measured
LETTERS = "etaoinshrdlucmfwypvbgk"
NUMBER = re.compile(r'\{"feature":(\d+),"density":')  # where a record begins; neighbours begin with their set


def vocabulary(n: int = 8192) -> list[str]:
    """Made-up words that begin with a space, as most tokens do."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 9, n)
    return [" " + "".join(LETTERS[i] for i in rng.integers(len(LETTERS), size=length)) for length in lengths]


def record(number: int, words: list[str], contexts: int) -> Feature:
    """A record with so many top contexts: the same every time. With 10 it is as large as those of an analysis."""
    rng = np.random.default_rng(number)
    own = rng.integers(len(words), size=40)

    def example(n: int, largest: float) -> Example:
        topical = rng.random(n) < 0.3
        ids = np.where(
            topical, own[rng.integers(len(own), size=n)], (rng.pareto(0.8, n) * 5).astype(np.int64) % len(words)
        )
        fires = np.round(np.where(topical, rng.random(n) * largest, 0), 4)
        return Example(
            int(rng.integers(9999)), int(rng.integers(128)), n // 2, tuple(words[i] for i in ids),
            tuple(fires.tolist()), f"package 1.{number}: usr/share/doc/file.txt", LABELS[number % 24],
            tuple(ids.tolist()), tuple(np.round(rng.normal(size=n) * 0.1, 4).tolist()),
        )  # fmt: skip

    largest = float(rng.uniform(1, 9))
    density = 0.0 if number % 37 == 0 else float(10 ** rng.uniform(-7, -1))
    counts = tuple(rng.integers(0, 900, 40).tolist())
    edges = tuple(np.linspace(0, largest, 41).tolist())
    some = 3 * contexts // 10
    lows = largest * np.arange(11, -1, -1) / 12
    text = f"words such as{words[own[0]]} and{words[own[1]]}"
    return Feature(
        feature=number, density=density, largest=largest, label=None, label_correlation=None,
        top_logits=tuple((words[i], 0.5) for i in own[:10]), bottom_logits=tuple((words[i], -0.5) for i in own[10:20]),
        examples=tuple(example(33, largest) for _ in range(contexts)), fired=int(density * TOKENS), mean=largest / 4,
        nearest_label=LABELS[number % 24], nearest_label_correlation=float(rng.random()),
        linear_histogram=Histogram(edges, counts), log_histogram=Histogram(edges, counts),
        intervals=tuple(
            Interval(float(low), float(low + largest / 12), 99, tuple(example(9, largest) for _ in range(some)))
            for low in lows
        ),
        random=tuple(example(9, 0.0) for _ in range(4)),
        top_tokens=tuple(TopToken(int(i), words[i], 9, 0.1, 0.5, 1.0) for i in own[:10]),
        neighbours=tuple(Neighbour("features", int(i), 0.5, 0.5) for i in own[:10]),
        explanations=(Explanation("judge", text, 7, "words"),) if number % 2 else (),
        scores=(Score("judge", "simulation", float(rng.random()), 0.1, 0.05, 400),) if number % 2 else (),
        stability=float(rng.random()),
    )  # fmt: skip


def write_records(folder: pathlib.Path, n: int, distinct: int, contexts: int) -> None:
    """Writes `n` records of a set of features into `folder`: the first `distinct` and then the same with other numbers,
    packed in less time."""
    words, distinct = vocabulary(), min(n, distinct)
    writer = RecordWriter(folder, "features", LABELS, ())
    for number in range(distinct):
        writer.add(record(number, words, contexts))
    header = writer.close(distinct, TOKENS)
    for begin in range(distinct, n, CHUNK):
        text = gzip.decompress((folder / "features" / f"{begin % distinct // CHUNK:05d}.json.gz").read_bytes()).decode()
        more = begin - begin % distinct
        text = NUMBER.sub(lambda m, more=more: f'{{"feature":{int(m[1]) + more},"density":', text)
        write_bytes(folder / "features" / f"{begin // CHUNK:05d}.json.gz", gzip.compress(text.encode(), 1, mtime=0))
    file = folder / "features" / "index.json.gz"
    columns = json.loads(gzip.decompress(file.read_bytes()))
    columns = {name: (columns[name] * -(-n // distinct))[:n] for name in INDEX_COLUMNS} | {"feature": list(range(n))}
    write_bytes(file, gzip.compress(json.dumps(columns).encode(), 6, mtime=0))
    write_header(folder, {"features": {**header, "n_features": n, "records": n}}, LABELS, (), words)


def main(records: str, site: str) -> None:
    """Writes the browser and prints what it took."""
    opened = Records(pathlib.Path(records))
    n = opened.header["sets"]["features"]["records"]
    shown = overview(
        dictionary={"n_features": n}, transformer=None, evidence={}, dictionary_metrics=[], transformer_metrics=[],
        resample_steps=[], density=np.asarray(opened.index("features")["density"]), density_tokens=TOKENS,
        categories=[], tables={},
    )  # fmt: skip
    material = DictionaryMaterial("bench", "bench", {}, "0/mlp_acts", n, opened, pathlib.Path(records), shown)
    folder = pathlib.Path(site)
    folder.mkdir(parents=True)
    before, begin, cpu = _peak(), time.perf_counter(), time.process_time()
    write_site(folder, "Benchmark", "0", [material])
    found = {"records": n, "seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps({**found, "before_mb": before, "peak_mb": _peak()}))


def _peak() -> float:
    """The peak of this process's resident memory in MB; getrusage would start from the parent's."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


if __name__ == "__main__":
    main(*sys.argv[1:])
