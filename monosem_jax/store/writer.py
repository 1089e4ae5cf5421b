"""Writing a store bucket by bucket; `rows_written` in store.json is the commit point."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from monosem_jax.errors import BadInput
from monosem_jax.run import read_json, write_json
from monosem_jax.store.arrays import BLOCK_ROWS, FORMAT, create_array


class StoreWriter:
    """Writes rows in order of position, each bucket whole. An unfinished store is taken up where it was committed.

    A bucket becomes visible when its data is on disk and the manifest says so, so a kill at any moment costs at most
    the bucket in flight and the one being filled, which are then made again with the same bytes.
    """

    def __init__(
        self, path: pathlib.Path, manifest: dict[str, Any], tokens: np.ndarray, *, shard_rows: int, bucket_rows: int
    ):
        """`manifest` holds what does not depend on the rows: n_rows, width, dtype, site and the parents' hashes."""
        if shard_rows % BLOCK_ROWS or bucket_rows % shard_rows:
            raise BadInput(
                f"harvest.bucket_rows {bucket_rows} must be a multiple of harvest.shard_rows {shard_rows}, "
                f"and that of {BLOCK_ROWS}"
            )
        self._path, self._bucket_rows = path, bucket_rows
        self._pending: tuple[list[Any], dict[str, Any]] | None = None
        fresh = {
            "format": FORMAT,
            "complete": False,
            **manifest,
            "rows_written": 0,
            "mean_norm": 0.0,
            "mean_square": 0.0,
        }
        file = path / "store.json"
        self.manifest = read_json(file) if file.exists() else fresh
        n, m = manifest["n_rows"], manifest["width"]
        self._activations = create_array(path / "activations", (n, m), manifest["dtype"], shard_rows)
        self._origin = create_array(path / "origin", (n, 2), "uint32", shard_rows)
        if not file.exists():
            array = create_array(path / "tokens", tokens.shape, "int32", -(-len(tokens) // BLOCK_ROWS) * BLOCK_ROWS)
            array.write(tokens.astype(np.int32)).result()
            write_json(file, self.manifest)

    @property
    def rows_written(self) -> int:
        """Rows committed or on their way to disk."""
        return (self._pending[1] if self._pending else self.manifest)["rows_written"]

    def write_bucket(self, rows: np.ndarray, origin: np.ndarray, *, norm_sum: float, square_sum: float) -> None:
        """Starts writing the next bucket, [n,M] and [n,2], once the one before is committed. The arrays become ours.

        Args:
          norm_sum: sum of the rows' norms; square_sum: sum of their squared elements.
        """
        self.commit()
        start, n = self.manifest["rows_written"], len(rows)
        new = {**self.manifest, "rows_written": start + n}
        new["mean_norm"] = (self.manifest["mean_norm"] * start + norm_sum) / (start + n)
        new["mean_square"] = (self.manifest["mean_square"] * start + square_sum / rows.shape[1]) / (start + n)
        new["complete"] = new["rows_written"] == new["n_rows"]
        span = slice(start, start + n)
        writes = [
            self._activations[span].write(rows, can_reference_source_data_indefinitely=True),
            self._origin[span].write(origin, can_reference_source_data_indefinitely=True),
        ]
        self._pending = (writes, new)

    def commit(self) -> None:
        """Waits for the bucket in flight and makes it visible."""
        if self._pending is None:
            return
        writes, manifest = self._pending
        for w in writes:
            w.result()
        write_json(self._path / "store.json", manifest)
        self.manifest, self._pending = manifest, None
