"""The data files of one dictionary: its records as they are, and the index of each set in segments."""

from __future__ import annotations

import gc
import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from monosem_jax.report.browser.container import write_chunk, write_json_chunk, write_packed
from monosem_jax.report.browser.index import SetIndex
from monosem_jax.report.browser.material import DictionaryMaterial
from monosem_jax.runtime.ambient import pool
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import SHORT, progress

VECTORS = 64  # dictionary vectors of a file
LARGEST = 1 << 28  # bytes of a chunk, unpacked: a file that unpacks to more is refused


def write_dictionary(folder: pathlib.Path, material: DictionaryMaterial) -> dict[str, Any]:
    """Writes the data files of a dictionary into the browser in `folder`; returns its part of the manifest.

    Raises BadInput naming the file of records that is damaged.
    """
    header = material.records.header
    parts = {name: getattr(material, name) for name in ("vectors", "rating", "model", "logits")}
    has = {"overview": True, "search": True, **{name: part is not None for name, part in parts.items()}}
    absent = dict(material.absent)
    with pool(1, "browser-rest") as beside:  # what is large beside the records is written meanwhile
        rest = beside.submit(_write_rest, folder, material)
        for name in material.records.sets:
            _write_set(folder, material, name)
        rest.result()
    return {
        "id": material.id,
        "name": material.name,
        "run": dict(material.run),
        "site": material.site,
        "n_features": material.n_features,
        "sets": header["sets"],
        "chunk": header["chunk"],
        "segment": SetIndex.SEGMENT,
        "figures": dict(material.figures),
        "labels": header["labels"],
        "proxies": header["proxies"],
        "has": has,
        "absent": absent,
    }


def chunks(folder: pathlib.Path, name: str) -> Iterator[tuple[str, bytes, list[dict[str, Any]]]]:
    """(number, bytes of the file, its records) of each chunk of a set: one in memory, and the text of the next.

    Raises BadInput when one is damaged.
    """
    files = sorted((folder / name).glob("[0-9]*.json.gz"))
    with pool(1, "records") as reader:
        ahead = [reader.submit(_unpacked, file) for file in files[:1]]
        for i, file in enumerate(files):
            unpacked = ahead.pop()
            ahead = [reader.submit(_unpacked, following) for following in files[i + 1 : i + 2]]
            yield _chunk(file, unpacked)


def _unpacked(file: pathlib.Path) -> tuple[bytes, bytes]:
    """The bytes of a file, and what they unpack to."""
    packed = file.read_bytes()
    return packed, zlib.decompressobj(wbits=31).decompress(packed, LARGEST)


def _chunk(file: pathlib.Path, unpacked: Future[tuple[bytes, bytes]]) -> tuple[str, bytes, list[dict[str, Any]]]:
    try:
        packed, text = unpacked.result()
        found = _parsed(text)
    except (zlib.error, ValueError, RecursionError) as e:
        raise BadInput(f"{file} is damaged: {' '.join(str(e).split())[:80]}") from None
    if not isinstance(found, list) or not all(isinstance(r, dict) and type(r.get("feature")) is int for r in found):
        raise BadInput(f"{file} is damaged: expected a list of records with the number of their feature")
    return file.name.removesuffix(".json.gz"), packed, found


def _files(
    material: DictionaryMaterial, name: str, number: str, packed: bytes, features: Sequence[int]
) -> dict[str, bytes | dict[str, Any]]:
    """The data files of a chunk by key: the records as they are, and the histograms of the logit weights."""
    files: dict[str, bytes | dict[str, Any]] = {f"{material.id}/{name}/{number}": packed}
    if name == "features" and material.logits is not None:
        histograms = zip(map(str, features), material.logits(features), strict=True)
        files[f"{material.id}/logits/{number}"] = dict(histograms)
    return files


def _write_files(folder: pathlib.Path, files: Mapping[str, bytes | dict[str, Any]]) -> None:
    for key, content in files.items():
        if isinstance(content, bytes):
            write_packed(folder, key, content)
        else:
            write_json_chunk(folder, key, content)


def _parsed(text: bytes) -> Any:
    """The JSON value of a text. Without the collector of cycles, which takes a fifth of the time in vain."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return json.loads(text, parse_constant=_refused)
    finally:
        if collects:
            gc.enable()


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")  # Python reads it, but no browser does


def _write_set(folder: pathlib.Path, material: DictionaryMaterial, name: str) -> None:
    header, prefix = material.records.header, f"{material.id}/{name}"
    expected = header["sets"][name]["records"]
    index = SetIndex(folder, prefix, header["labels"], header["proxies"])
    # Files are written while the next ones are unpacked and read.
    with (
        progress(expected, f"browser: {name} of {material.name}", "features", delay=SHORT) as bar,
        pool(1, "browser") as writer,
    ):
        writing: list[Future[None]] = []
        for number, packed, records in chunks(material.records_folder, name):
            files = _files(material, name, number, packed, [r["feature"] for r in records])
            writing = [*writing[-3:], writer.submit(_write_files, folder, files)]
            writing[0].result()  # so that few wait at a time
            for record in records:
                index.add(record, material.records_folder / name / f"{number}.json.gz")
            bar.update(len(records))
        for last in writing:
            last.result()
    if index.records != expected:
        raise BadInput(
            f"{material.records_folder / name} holds {index.records} records, its header says {expected}: "
            "expected the same number"
        )
    index.close()


def _write_rest(folder: pathlib.Path, material: DictionaryMaterial) -> None:
    """What there is beside the sets of records."""
    write_json_chunk(folder, f"{material.id}/vocabulary", material.records.vocabulary())
    write_json_chunk(folder, f"{material.id}/overview", dict(material.overview))
    if material.vectors is not None:
        _write_vectors(folder, material)
    if material.rating is not None:
        write_json_chunk(folder, f"{material.id}/rating", material.rating)
    if material.model is not None:
        material.model(folder, f"{material.id}/model")


def _write_vectors(folder: pathlib.Path, material: DictionaryMaterial) -> None:
    assert material.vectors is not None
    vectors = np.asarray(material.vectors)
    for number, begin in enumerate(range(0, len(vectors), VECTORS)):
        data = np.ascontiguousarray(vectors[begin : begin + VECTORS], "<f4").tobytes()
        write_chunk(folder, f"{material.id}/vectors/{number:05d}", data)
