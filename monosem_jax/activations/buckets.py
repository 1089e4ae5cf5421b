"""The parts of a harvest that look at rows: a bucket is made and permuted, and what is not finite is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.activations.producers import DropRows, RowProducer
from monosem_jax.activations.rows import as_integers
from monosem_jax.activations.store.store import create_array
from monosem_jax.activations.store.writer import PARTS, StoreWriter
from monosem_jax.activations.stream.order import BLOCK_ROWS
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.processes import barrier
from monosem_jax.runtime.progress import SHORT, progress
from monosem_jax.runtime.rng import stream
from monosem_jax.runtime.signals import SignalFlag


def fill_bucket(
    made: RowProducer,
    bucket: int,
    start: int,
    buffers: Mapping[int, tuple[np.ndarray, np.ndarray]],
    seed: int,
    advance: Callable[[int], Any],
    sites: Sequence[str],
) -> dict[int, dict[str, Any]]:
    """Writes the permuted rows of a bucket that begins at row `start`, and their origins, into `buffers`: number of a
    part -> (rows [n,M], origins [n,2]). Returns each part's sums and counts for its manifest. `sites` name the parts in
    messages."""
    n = len(next(iter(buffers.values()))[0])
    where = stream("harvest.bucket", seed, bucket).permutation(n)
    squares = np.empty((len(made.widths), n), np.float64)
    for first, values, square in made.batches(start, start + n):
        at = where[first - start : first - start + len(square)]
        places = made.origin(first, first + len(square))
        squares[:, at] = square.T
        for part, (rows, origin) in buffers.items():
            as_integers(rows)[at], origin[at] = as_integers(values[part]), places
        advance(len(square))
    return {
        part: _sums(made, start, where, rows, origin, squares[part], sites[part])
        for part, (rows, origin) in buffers.items()
    }


def _sums(
    made: RowProducer,
    start: int,
    where: np.ndarray,
    rows: np.ndarray,
    origin: np.ndarray,
    squares: np.ndarray,
    site: str,
) -> dict[str, Any]:
    """What the manifest says of a bucket's rows [n,M] with these sums of squares [n]; raises BadInput when some are not
    finite. Row i of those made is row where[i]."""
    bad = np.flatnonzero(~np.isfinite(squares[where]))
    if len(bad):
        raise BadInput(
            f"activations{site and f' at {site}'} are not finite: {len(bad)} of rows {start} to "
            f"{start + len(rows) - 1}, first at {made.place(origin[where[bad[0]]])} (in a fresh --workdir, "
            "--skip_nonfinite leaves them out)"
        )
    small = rows[squares == 0]  # the squares of small numbers vanish in fp32
    zero = int(np.count_nonzero(~(small != 0).any(axis=1)))
    return {"norm_sum": float(np.sqrt(squares).sum()), "square_sum": float(squares.sum()), "zero_rows": zero}


def skip_nonfinite(location: Location, made: RowProducer, process: tuple[int, int], stop: SignalFlag) -> RowProducer:
    """The producer without the rows that are not finite in some part. To find them, each process makes its share of
    rows once."""
    number, count = process
    low, high = number * made.n_rows // count, (number + 1) * made.n_rows // count
    found = [np.zeros(0, np.int64)]
    with progress(high - low, "check", "rows", delay=SHORT) as bar:
        for first, _, squares in made.batches(low, high) if low < high else ():
            found.append(first + np.flatnonzero(~np.isfinite(squares).all(axis=1)))
            bar.update(len(squares))
            stop.check()
    left_out = np.concatenate(found)
    if count > 1:
        location.write(f"{PARTS}nonfinite-{number}-of-{count}", left_out.astype("<i8").tobytes())
        barrier("harvest: looked for rows that are not finite")
        parts = [location.read(f"{PARTS}nonfinite-{p}-of-{count}") or b"" for p in range(count)]
        left_out = np.frombuffer(b"".join(parts), "<i8")
    if len(left_out) == made.n_rows:
        raise BadInput(f"all {made.n_rows} rows are not finite: nothing is left to harvest")
    if len(left_out) and not number:
        g = int(left_out[0])
        print(f"{len(left_out)} rows are not finite, first at {made.place(made.origin(g, g + 1)[0])}: left out")
    return DropRows(made, left_out) if len(left_out) else made


def write_tokens(writer: StoreWriter, tokens: Callable[[int, int], np.ndarray], n: int, length: int) -> None:
    """Writes the harvested contexts, a shard at a time; each process writes its share."""
    shard = min(whole_units(n, BLOCK_ROWS), 16 * BLOCK_ROWS)
    array = create_array(writer.location, "tokens", (n, length), "int32", shard)
    for i, a in enumerate(range(0, n, shard)):
        if i % writer.process[1] == writer.process[0]:
            array[a : min(a + shard, n)].write(tokens(a, min(a + shard, n)).astype(np.int32)).result()


def whole_units(n: int, unit: int) -> int:
    """n, made larger to a multiple of `unit`."""
    return -(-n // unit) * unit
