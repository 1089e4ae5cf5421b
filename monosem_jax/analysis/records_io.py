"""Records on disk: one writer, one reader.

`records/` holds a folder per set (features, neurons, control, random):

    records.json              format, chunk size, labels, proxies, and of every set its size and the tokens scanned
    vocabulary.json.gz        the text of every token
    SET/index.json.gz         all features of the set that have a record, as columns (see INDEX_COLUMNS)
    SET/00000.json.gz …       chunk c: the records of the features from c · CHUNK up to (c + 1) · CHUNK, as a list

so that a reader fetches the index and the chunk of one feature. `records.json` is written last. `categories.json` lies
beside the folder. Directories of format 1 have `features.json`, a list of records, in place of the folder.
"""

from __future__ import annotations

import dataclasses
import gzip
import inspect
import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from monosem_jax.analysis import records
from monosem_jax.analysis.records import FORMAT, Category, Feature
from monosem_jax.analysis.records_parse import object_schema, parsed, plain
from monosem_jax.runtime.arguments import check_name
from monosem_jax.runtime.errors import BadInput, NewerFormat
from monosem_jax.runtime.files import read_json, write_bytes, write_json

CHUNK = 64
FOLDER, HEADER, INDEX, VOCABULARY = "records", "records.json", "index.json.gz", "vocabulary.json.gz"
FEATURES, CATEGORIES = "features.json", "categories.json"
LARGEST = 1 << 28  # bytes of a chunk, uncompressed: a file that unpacks to more is refused
INDEX_COLUMNS = {
    "feature": "number of the feature",
    "density": "share of tokens on which it fires, 3 digits",
    "largest": "largest activation, 3 digits",
    "tokens": "ids of the tokens on which it fires most often, at most 3",
    "label": "the label that it correlates with most, as an index into the header's labels; -1: none",
    "label_correlation": "its correlation with that label, 2 decimals",
    "proxy": "the proxy that it correlates with most, as an index into the header's proxies; -1: none",
    "proxy_correlation": "its correlation with that proxy, 2 decimals",
    "score": "simulation score of the first judge, 2 decimals, or null",
    "shuffled": "the same with the explanation of another feature",
    "stability": "mean of its best correlations in dictionaries of other seeds, 2 decimals, or null",
}


class RecordWriter:
    """Writes the records of one set in ascending order of features; `close` writes its index."""

    def __init__(self, folder: pathlib.Path, name: str, labels: Sequence[str], proxies: Sequence[str]):
        self._folder = folder / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._labels, self._proxies = ({n: i for i, n in enumerate(names)} for names in (labels, proxies))
        self._chunk: list[Feature] = []
        self._columns: dict[str, list[Any]] = {column: [] for column in INDEX_COLUMNS}

    def add(self, record: Feature) -> None:
        """Adds the next record."""
        if self._chunk and record.feature // CHUNK != self._chunk[0].feature // CHUNK:
            self._flush()
        self._chunk.append(record)
        for column, value in self._indexed(record).items():
            self._columns[column].append(value)

    def close(self, n_features: int, tokens: int) -> dict[str, Any]:
        """Writes what is left and the index; returns what the header says of the set."""
        self._flush()
        _write(self._folder / INDEX, self._columns)
        return {"n_features": n_features, "records": len(self._columns["feature"]), "tokens": tokens}

    def _flush(self) -> None:
        if self._chunk:
            number = self._chunk[0].feature // CHUNK
            _write(self._folder / f"{number:05d}.json.gz", [plain(record) for record in self._chunk])
            self._chunk = []

    def _indexed(self, r: Feature) -> dict[str, Any]:
        best = max((p for p in r.proxies if p.pearson is not None), key=lambda p: p.pearson or 0.0, default=None)
        score = next((s for s in r.scores if s.kind == "simulation"), None)
        return {
            "feature": r.feature,
            "density": _digits(r.density),
            "largest": _digits(r.largest),
            "tokens": [t.id for t in r.top_tokens[:3]],
            "label": self._labels.get(r.nearest_label or "", -1),
            "label_correlation": _decimals(r.nearest_label_correlation),
            "proxy": self._proxies.get(best.proxy, -1) if best else -1,
            "proxy_correlation": _decimals(best.pearson) if best else None,
            "score": _decimals(score.value) if score else None,
            "shuffled": _decimals(score.shuffled) if score else None,
            "stability": _decimals(r.stability),
        }


def write_header(
    folder: pathlib.Path,
    sets: Mapping[str, Mapping[str, Any]],
    labels: Sequence[str],
    proxies: Sequence[str],
    vocabulary: Sequence[str],
) -> None:
    """Completes a folder of records: `sets` are what `RecordWriter.close` returned."""
    _write(folder / VOCABULARY, list(vocabulary))
    header = {"format": FORMAT, "chunk": CHUNK, "labels": list(labels), "proxies": list(proxies), "sets": dict(sets)}
    write_json(folder / HEADER, header)


class Records:
    """A folder of records, opened for reading. Raises BadInput on what is missing, damaged or of a newer format."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self.header: dict[str, Any] = read_json(folder / HEADER, dict, ("format", "chunk", "labels", "proxies", "sets"))
        check_format(folder / HEADER, self.header["format"])
        self._size = self.header["chunk"]
        if type(self._size) is not int or self._size < 1 or not isinstance(self.header["sets"], dict):
            raise BadInput(f"{folder / HEADER} is not one of ours: expected a chunk size and sets")
        self._open: tuple[pathlib.Path, list[Any]] | None = None

    @property
    def sets(self) -> tuple[str, ...]:
        return tuple(self.header["sets"])

    def vocabulary(self) -> list[str]:
        """The text of every token."""
        return _read(self._folder / VOCABULARY, list)

    def index(self, name: str = "features") -> dict[str, list[Any]]:
        """The columns of INDEX_COLUMNS."""
        return _read(self._set(name) / INDEX, dict)

    def feature(self, i: int, name: str = "features") -> Feature:
        """The record of one feature, reading its chunk alone."""
        for at, value in enumerate(self._chunk(name, i // self._size)):
            if isinstance(value, dict) and value.get("feature") == i:
                return parsed(Feature, value, f"{self._file(name, i // self._size)}[{at}]")
        count = self.header["sets"][name].get("records")
        raise BadInput(f"{self._folder} has no record of feature {i} of {name}: it has {count} records")

    def all(self, name: str = "features") -> Iterator[Feature]:
        """All records of a set in ascending order, one chunk in memory at a time."""
        for file in sorted(self._set(name).glob("[0-9]*.json.gz")):
            for at, value in enumerate(_read(file, list)):
                yield parsed(Feature, value, f"{file}[{at}]")

    def unchecked(self, name: str = "features") -> Iterator[dict[str, Any]]:
        """All records of a set as the files have them, unchecked, which takes a fraction of the time of `all`."""
        for file in sorted(self._set(name).glob("[0-9]*.json.gz")):
            yield from (value for value in _read(file, list) if isinstance(value, dict))

    def _set(self, name: str) -> pathlib.Path:
        check_name("the set", name, self.sets)
        return self._folder / name

    def _file(self, name: str, number: int) -> pathlib.Path:
        return self._set(name) / f"{number:05d}.json.gz"

    def _chunk(self, name: str, number: int) -> list[Any]:
        file = self._file(name, number)
        if self._open is None or self._open[0] != file:
            self._open = file, _read(file, list) if file.exists() else []
        return self._open[1]


def write_categories(folder: pathlib.Path, categories: Sequence[Category]) -> None:
    """Writes categories.json."""
    write_json(folder / CATEGORIES, plain(list(categories)))


def read_categories(folder: pathlib.Path) -> list[Category]:
    """Reads categories.json; raises BadInput naming the first value that is missing or of another type."""
    return _list(folder / CATEGORIES, Category)


def read_features_json(folder: pathlib.Path) -> list[Feature]:
    """Reads features.json of format 1; raises BadInput naming the first value that is missing or of another type."""
    return _list(folder / FEATURES, Feature)


def _list(path: pathlib.Path, kind: type[Any]) -> list[Any]:
    return [parsed(kind, value, f"{path}[{i}]") for i, value in enumerate(read_json(path, list))]


def check_format(file: pathlib.Path, number: Any) -> None:
    """Raises NewerFormat when a newer version wrote records whose `file` says this `number`."""
    if type(number) is not int or number > FORMAT:
        raise NewerFormat(f"{file}: records_format", number, FORMAT)


def schema() -> dict[str, Any]:
    """The JSON schema of chunks and categories, as shipped in records.schema.json."""
    kinds = [k for _, k in inspect.getmembers(records, inspect.isclass) if dataclasses.is_dataclass(k)]
    lists = {"chunk": "Feature", FEATURES: "Feature", CATEGORIES: "Category"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Records of an analysis by monosem_jax, format {FORMAT}",
        "$defs": {
            **{file: {"type": "array", "items": {"$ref": f"#/$defs/{name}"}} for file, name in lists.items()},
            **{kind.__name__: object_schema(kind) for kind in kinds},
        },
    }


def _write(path: pathlib.Path, value: Any) -> None:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    write_bytes(path, gzip.compress(text.encode(), 6, mtime=0))  # no time of writing: equal records give equal files


def _read(path: pathlib.Path, kind: type[Any]) -> Any:
    try:
        unpacker = zlib.decompressobj(wbits=31)
        data = unpacker.decompress(path.read_bytes(), LARGEST)
        found = json.loads(data) if unpacker.eof else None
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist") from None
    except (OSError, zlib.error, ValueError, RecursionError) as e:
        raise BadInput(f"{path} is damaged: {' '.join(str(e).split())[:80]}") from None
    if not isinstance(found, kind):
        raise BadInput(f"{path} is damaged, or larger than {LARGEST} bytes: expected a {kind.__name__}")
    return found


def _digits(x: float) -> float:
    return float(f"{x:.3g}")


def _decimals(x: float | None) -> float | None:
    return None if x is None else round(x, 2)
