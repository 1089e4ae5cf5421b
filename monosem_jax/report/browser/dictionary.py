"""The data files of one dictionary: its records as they are, and the index of each set in segments."""

from __future__ import annotations

import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from monosem_jax.report.browser.container import write_chunk, write_json_chunk, write_packed
from monosem_jax.report.browser.material import DictionaryMaterial
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import SHORT, progress

SEGMENT = 8192  # records of a segment of the index: the first is enough for the first rows of the table
VECTORS = 64  # dictionary vectors of a file
LARGEST = 1 << 28  # bytes of a chunk, unpacked: a file that unpacks to more is refused
LONGEST_TEXT = 100  # characters of an explanation in the index


def write_dictionary(folder: pathlib.Path, material: DictionaryMaterial) -> dict[str, Any]:
    """Writes the data files of a dictionary into the browser in `folder`; returns its part of the manifest.

    Raises BadInput naming the file of records that is damaged.
    """
    header = material.records.header
    has, absent = {"overview": True}, dict(material.absent)
    for name in material.records.sets:
        _write_set(folder, material, name)
    write_json_chunk(folder, f"{material.id}/vocabulary", material.records.vocabulary())
    write_json_chunk(folder, f"{material.id}/overview", dict(material.overview))
    if has.setdefault("vectors", material.vectors is not None):
        _write_vectors(folder, material)
    if has.setdefault("rating", material.rating is not None):
        write_json_chunk(folder, f"{material.id}/rating", material.rating)
    if material.model is not None:
        material.model(folder, f"{material.id}/model")
    has["model"] = material.model is not None
    return {
        "id": material.id,
        "name": material.name,
        "run": dict(material.run),
        "site": material.site,
        "n_features": material.n_features,
        "sets": header["sets"],
        "chunk": header["chunk"],
        "segment": SEGMENT,
        "figures": dict(material.figures),
        "labels": header["labels"],
        "proxies": header["proxies"],
        "has": has,
        "absent": absent,
    }


def chunks(folder: pathlib.Path, name: str) -> Iterator[tuple[str, bytes, list[dict[str, Any]]]]:
    """(number, bytes of the file, its records) of each chunk of a set, one in memory at a time.

    Raises BadInput when one is damaged.
    """
    for file in sorted((folder / name).glob("[0-9]*.json.gz")):
        packed = file.read_bytes()
        try:
            unpacker = zlib.decompressobj(wbits=31)
            found = json.loads(unpacker.decompress(packed, LARGEST)) if packed else None
        except (zlib.error, ValueError, RecursionError) as e:
            raise BadInput(f"{file} is damaged: {' '.join(str(e).split())[:80]}") from None
        if not isinstance(found, list) or not all(isinstance(r, dict) and type(r.get("feature")) is int for r in found):
            raise BadInput(f"{file} is damaged: expected a list of records with the number of their feature")
        yield file.name.removesuffix(".json.gz"), packed, found


def _write_set(folder: pathlib.Path, material: DictionaryMaterial, name: str) -> None:
    labels = {label: i for i, label in enumerate(material.records.header["labels"])}
    columns = material.records.index(name)
    texts: list[str] = []
    best: list[int] = []
    with progress(len(columns["feature"]), f"browser: {name} of {material.name}", "features", delay=SHORT) as bar:
        for number, packed, records in chunks(material.records_folder, name):
            write_packed(folder, f"{material.id}/{name}/{number}", packed)
            texts += [_explained(r) for r in records]
            best += [labels.get(r.get("label") or "", -1) for r in records]
            bar.update(len(records))
    if len(texts) != len(columns["feature"]):
        raise BadInput(
            f"{material.records_folder / name} holds {len(texts)} records, its index {len(columns['feature'])}: "
            "expected the same number"
        )
    columns = {**columns, "text": texts, "best": best}
    for segment, begin in enumerate(range(0, len(texts), SEGMENT)):
        part = {column: values[begin : begin + SEGMENT] for column, values in columns.items()}
        write_json_chunk(folder, f"{material.id}/{name}/index-{segment}", part)


def _explained(record: Mapping[str, Any]) -> str:
    texts = [
        e["text"] for e in record.get("explanations") or [] if isinstance(e, dict) and isinstance(e.get("text"), str)
    ]
    return texts[0][:LONGEST_TEXT] if texts else ""


def _write_vectors(folder: pathlib.Path, material: DictionaryMaterial) -> None:
    assert material.vectors is not None
    vectors = np.asarray(material.vectors)
    for number, begin in enumerate(range(0, len(vectors), VECTORS)):
        data = np.ascontiguousarray(vectors[begin : begin + VECTORS], "<f4").tobytes()
        write_chunk(folder, f"{material.id}/vectors/{number:05d}", data)
