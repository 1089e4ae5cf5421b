"""From a transformer and contexts to rows of activations, decorrelated at write time.

Harvested row g is sample g mod k of context g div k (k = rows_per_context). Buckets of consecutive harvested rows are
permuted within, so rows of one context lie all over their bucket, and a bucket can be made again alone.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.errors import BadInput
from monosem_jax.signals import StopFlag
from monosem_jax.store.arrays import DTYPES
from monosem_jax.store.writer import StoreWriter
from monosem_jax.transformer.model import Transformer, site_width

SAMPLING_CONTEXTS = 1024  # contexts whose positions are drawn from one generator


@dataclasses.dataclass(frozen=True)
class HarvestConfig:
    """Which activations, and how many. The paper: 250 tokens of each of 40 M contexts. `n_rows` 0 takes every context.

    Rows are permuted within buckets of `bucket_rows`, which also bound the memory: two buckets are held at a time.
    """

    site: str = "mlp_hidden.0"
    rows_per_context: int = 250
    n_rows: int = 0
    dtype: str = "bfloat16"
    batch_contexts: int = 64
    bucket_rows: int = 1 << 20
    shard_rows: int = 1 << 16

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        for name in ("rows_per_context", "batch_contexts", "bucket_rows", "shard_rows"):
            if getattr(self, name) < 1:
                raise BadInput(f"harvest.{name} is {getattr(self, name)}: at least 1 is needed")
        if self.dtype not in DTYPES:
            raise BadInput(f"harvest.dtype is {self.dtype!r}: expected {', '.join(DTYPES)}")


def sample_positions(eligible: np.ndarray, k: int, seed: int) -> np.ndarray:
    """[C,k] positions drawn without replacement from the eligible ones [C,T] of each context, in random order.

    Each context's draw depends on the seed and its index alone. Every context must have at least k eligible positions.
    """
    drawn = []
    for i in range(0, len(eligible), SAMPLING_CONTEXTS):
        part = eligible[i : i + SAMPLING_CONTEXTS]
        rng = np.random.default_rng([seed, 3, i // SAMPLING_CONTEXTS])
        order = np.where(part, rng.random((SAMPLING_CONTEXTS, part.shape[1]))[: len(part)], 2.0)
        drawn.append(np.argsort(order, axis=1, kind="stable")[:, :k])
    return np.concatenate(drawn).astype(np.int32)


def choose_contexts(tokens: np.ndarray, bos: int, config: HarvestConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The contexts to harvest in the order of harvesting [C,T], and the positions of each [C,k]; BOS is never drawn.

    Raises BadInput when there are not enough contexts with rows_per_context tokens besides BOS.
    """
    k = config.rows_per_context
    eligible = np.asarray(tokens) != bos
    usable = np.flatnonzero(eligible.sum(axis=1) >= k)
    if not len(usable):
        raise BadInput(
            f"harvest.rows_per_context is {k}: no context of {tokens.shape[1]} has that many tokens besides BOS"
        )
    wanted = config.n_rows // k if config.n_rows else len(usable)
    if not 1 <= wanted <= len(usable):
        raise BadInput(
            f"harvest.n_rows is {config.n_rows}: expected {k} to {len(usable) * k}, that is rows_per_context {k} from "
            f"each of {len(usable)} usable contexts"
        )
    chosen = np.random.default_rng([seed, 4]).permutation(usable)[:wanted]
    return np.asarray(tokens[chosen]), sample_positions(eligible[chosen], k, seed)


def make_tap(model: Transformer, params: Any, site: str, dtype: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The compiled function (tokens [C,T], positions [C,k]) -> (rows [C·k,M], their sums of squares [C·k])."""

    @jax.jit
    def tap(params, tokens, positions):
        _, acts = model.apply({"params": params}, tokens, site, method=model.to_acts)
        rows = jnp.take_along_axis(acts, positions[..., None], axis=1).astype(dtype)
        rows = rows.reshape(-1, rows.shape[-1])
        return rows, jnp.sum(jnp.square(rows.astype(jnp.float32)), axis=-1)

    return lambda tokens, positions: tap(params, tokens, positions)


def harvest(
    path: pathlib.Path,
    model: Transformer,
    params: Any,
    tokens: np.ndarray,
    *,
    bos: int,
    config: HarvestConfig,
    seed: int,
    identity: dict[str, Any],
    stop: StopFlag,
    total: Callable[[int], Any] = lambda n: None,
    advance: Callable[[int], Any] = lambda n: None,
) -> dict[str, Any]:
    """Fills the store at `path`, from its last commit on, and returns its manifest.

    Args:
      identity: hashes of the parents for the manifest: model, tokenizer_sha256, corpus_sha256.
      total, advance: told how many rows there will be, and of rows done, those of earlier runs first.

    Raises Stopped at the next commit after a signal, BadInput on an impossible configuration or non-finite activations.
    """
    config.check()
    contexts, positions = choose_contexts(tokens, bos, config, seed)
    k, n_rows = config.rows_per_context, positions.size
    width = site_width(model.config, config.site)
    manifest = {
        "n_rows": n_rows, "width": width, "dtype": config.dtype, "site": config.site,
        "context_length": int(contexts.shape[1]), "rows_per_context": k, "seed": seed, **identity,
    }  # fmt: skip
    shard_rows = min(config.shard_rows, config.bucket_rows)
    writer = StoreWriter(path, manifest, contexts, shard_rows=shard_rows, bucket_rows=config.bucket_rows)
    tap = make_tap(model, params, config.site, config.dtype)
    total(n_rows)
    advance(writer.rows_written)
    while writer.rows_written < n_rows:
        if stop.requested:
            writer.commit()
            stop.check()
        start = writer.rows_written
        stop_row = min(start + config.bucket_rows, n_rows)
        where = np.random.default_rng([seed, 5, start // config.bucket_rows]).permutation(stop_row - start)
        rows = np.empty((stop_row - start, width), DTYPES[config.dtype])
        origin = np.empty((stop_row - start, 2), np.uint32)
        squares = np.empty(stop_row - start, np.float64)
        for first, values, square in _row_batches(tap, contexts, positions, start, stop_row, config.batch_contexts):
            at = where[first - start : first - start + len(values)]
            g = np.arange(first, first + len(values))
            rows[at], squares[at] = values, square
            origin[at] = np.stack([g // k, positions[g // k, g % k]], axis=1)
            advance(len(values))
        if not np.isfinite(squares).all():
            bad = origin[np.flatnonzero(~np.isfinite(squares))[0]]
            raise BadInput(f"activations at {config.site} are not finite, first at context {bad[0]} position {bad[1]}")
        writer.write_bucket(rows, origin, norm_sum=float(np.sqrt(squares).sum()), square_sum=float(squares.sum()))
    writer.commit()
    return writer.manifest


def _row_batches(tap, contexts: np.ndarray, positions: np.ndarray, start: int, stop: int, batch: int):
    """Yields (first row, rows, squares) covering harvested rows start … stop-1, one batch computed ahead.

    Every batch has the same shape: the last is filled up with its last context, and the surplus cut off.
    """
    k = positions.shape[1]
    ahead = None
    for c in range(start // k, -(-stop // k), batch):
        pick = np.minimum(np.arange(c, c + batch), len(contexts) - 1)
        out = tap(contexts[pick].astype(np.int32), positions[pick])
        if ahead is not None:
            yield _cut(*ahead, start, stop)
        ahead = (c * k, *out)
    yield _cut(*ahead, start, stop)


def _cut(first: int, values: Any, squares: Any, start: int, stop: int):
    low, high = max(start - first, 0), min(stop - first, values.shape[0])
    return first + low, np.asarray(values)[low:high], np.asarray(squares, np.float64)[low:high]
