"""Reads a whole store back, and names the rows that are missing, truncated or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorstore as ts

from monosem_jax.activations.store.store import array_spec, checksum, hash_array, open_array, read_manifest
from monosem_jax.activations.stream.order import BLOCK_ROWS
from monosem_jax.runtime.errors import BadInput, short_error
from monosem_jax.runtime.kvstore import Location, context, last_part

READ_BLOCKS = 16
SCRATCH = Location("memory://verify")
MEANS_TOLERANCE = 1e-5  # relative, for the manifest's means: rows are summed in another order than when written


def verify_store(
    location: Location, *, total: Callable[[int], Any] = lambda n: None, advance: Callable[[int], Any] = lambda n: None
) -> tuple[list[str], int]:
    """(a line for every damage found, number of committed rows). Raises BadInput when the manifest cannot be read.

    Compares the manifest and every array's metadata with the hashes in the manifest (stores of earlier versions have
    none) and with each other, every block of the committed rows with its checksum, and the manifest's means with the
    rows. Checks that no origin is recorded twice or lies outside the tokens.
    """
    manifest = read_manifest(location)
    n, rows, width = manifest["n_rows"], manifest["rows_written"], manifest["width"]
    damages: list[str] = []
    if manifest.get("checksum", checksum(manifest)) != checksum(manifest):
        return ["store.json: it has changed since it was written: its checksum differs"], rows
    if not 0 <= rows <= n or manifest["complete"] != (rows == n):
        return [f"store.json: {rows} of {n} rows are written, complete is {manifest['complete']}"], rows
    total(rows)
    n_contexts, length = 1 << 32, 1  # for a converted array: row numbers
    if manifest["model"]:
        n_contexts, length = 0, manifest.get("context_length", 0)
        tokens = _open(location, "tokens", None, length, "int32", manifest, damages)
        if tokens is not None:
            n_contexts = tokens.shape[0]
            list(_blocks(location, "tokens", tokens, n_contexts, damages, lambda n: None))
    activations = _open(location, "activations", n, width, manifest["dtype"], manifest, damages)
    origin = _open(location, "origin", n, 2, "uint32", manifest, damages)
    norms = squares = 0.0
    whole = True
    if activations is not None:
        for _, x in _blocks(location, "activations", activations, rows, damages, advance):
            x = x.astype(np.float64)
            square = np.einsum("nm,nm->n", x, x)
            norms, squares = norms + np.sqrt(square).sum(), squares + square.sum()
        whole = not damages
    if origin is not None:
        places = _blocks(location, "origin", origin, rows, damages, lambda n: None)
        damages += _check_places(places, n_contexts, length)
    if activations is not None and whole and rows:
        for name, value in (("mean_norm", norms / rows), ("mean_square", squares / rows / width)):
            said = manifest.get(name, float("nan"))
            if not abs(said - value) <= MEANS_TOLERANCE * abs(value):
                damages.append(f"store.json: {name} is {said}, that of the rows is {value}")
    return damages, rows


def _open(
    location: Location, name: str, n: int | None, width: int, dtype: str, manifest: dict[str, Any], damages: list[str]
) -> Any:
    """Opens an array if its metadata is as the writer makes it; otherwise adds a damage and returns None."""
    file = f"{name}/zarr.json"
    try:
        array = open_array(location, name)
        shape = (array.shape[0] if n is None else n, width)
        chunk: Any = array.chunk_layout.write_chunk
        spec = array_spec(SCRATCH, name, shape, dtype, chunk.shape[0])
        ts.open(spec, create=True, delete_existing=True, context=context()).result()
        expected, found = SCRATCH.read_json(file), location.read_json(file)
    except (BadInput, ValueError, OSError, RuntimeError) as e:
        damages.append(f"{file}: {short_error(e)}")
        return None
    now = hash_array(location, name)
    if manifest.get("arrays", {}).get(name, now) != now:
        damages.append(f"{file}: it has changed since it was written")
        return None
    wrong = [k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)]
    if wrong:
        damages.append(f"{file}: {', '.join(sorted(wrong))} is not what store.json implies")
        return None
    return array


def _blocks(
    location: Location, name: str, array: Any, rows: int, damages: list[str], advance: Callable[[int], Any]
) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows) of the readable blocks, reading several at a time, or one by one where that fails."""
    shard = array.chunk_layout.write_chunk.shape[0]
    bad: list[tuple[int, int, str]] = []
    for start in range(0, rows, READ_BLOCKS * BLOCK_ROWS):
        stop = min(start + READ_BLOCKS * BLOCK_ROWS, rows)
        try:
            yield start, array[start:stop].read().result()
        except (ValueError, OSError, RuntimeError):
            for a in range(start, stop, BLOCK_ROWS):
                z = min(a + BLOCK_ROWS, stop)
                try:
                    yield a, array[a:z].read().result()
                except (ValueError, OSError, RuntimeError) as e:
                    bad.append((a, z, "missing" if str(e).startswith("NOT_FOUND") else last_part(e)))
        advance(stop - start)
    merged: list[list[Any]] = []  # damaged neighbours in a shard, since the message about a broken index varies
    for a, z, reason in bad:
        if merged and merged[-1][1] == a and a % shard:
            merged[-1][1] = z
        else:
            merged.append([a, z, reason])
    damages += [f"{name}/c/{a // shard}/0: rows {a} to {z - 1}: {reason}" for a, z, reason in merged]


def _check_places(places: Iterator[tuple[int, np.ndarray]], n_contexts: int, length: int) -> list[str]:
    """A line for every origin outside the tokens or recorded twice; without contexts nothing is checked."""
    size = n_contexts * length
    seen = np.zeros(size // 8 + 1, np.uint8) if size else None  # one bit each; pages take memory only once touched
    found = []
    for start, place in places:
        if seen is None:
            continue
        place = place.astype(np.int64)
        outside = np.flatnonzero((place[:, 0] >= n_contexts) | (place[:, 1] >= length))
        if len(outside):
            row = start + int(outside[0])
            found.append(f"origin: row {row} comes from {place[outside[0]].tolist()}, outside of the tokens")
            continue
        at = place[:, 0] * length + place[:, 1]
        again = (seen[at >> 3] >> (at & 7)) & 1
        if again.any() or len(np.unique(at)) < len(at):
            found.append(f"origin: a place among rows {start} to {start + len(at) - 1} is recorded twice")
        np.bitwise_or.at(seen, at >> 3, (1 << (at & 7)).astype(np.uint8))
    return found
