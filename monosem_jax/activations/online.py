"""Activations without a store: the model fills a mixing buffer on the devices, and batches are drawn from it.

The rows of one filling are permuted and each is used once; then the buffer is refilled. So batch i is a function of
(model, text, seed, i), and resuming at any batch only requires refilling the buffer that the batch comes from.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.activations.rows import DTYPES
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.models.base import LanguageModel, site_width
from monosem_jax.models.sharding import placed
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.mesh import device_get_global, largest_divisor, nearest
from monosem_jax.runtime.rng import stream

LANES = 64  # at most; divisible by every number of data shards that is a power of two up to 64


@dataclasses.dataclass(frozen=True)
class OnlineConfig:
    """Training on activations computed while training, mixed in a buffer in device memory (sharded over `data`)."""

    site: str = "mlp_hidden.0"
    """Where the model is read, such as mlp_hidden.0; several sites side by side with "+"."""
    rows_per_context: int = 250
    """Positions sampled from each context."""
    buffer_rows: int = 1 << 20
    """Rows mixed at a time. They take buffer_rows x M x 2 bytes (bfloat16) of device memory in all."""
    batch_contexts: int = 128
    """Contexts per forward pass."""
    dtype: str = "bfloat16"
    """Type of the rows in the buffer: bfloat16, float32 or float16."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(self, "online.", "rows_per_context", "buffer_rows", "batch_contexts")
        if self.dtype not in DTYPES:
            raise BadInput(f"online.dtype is {self.dtype!r}: expected {', '.join(DTYPES)}")


class OnlineStream:
    """Called with (start, n) it gives batches start … start+n-1 as one device array [n,B,M] sharded over `data`.

    The slots of a batch are divided into L lanes, each with contexts of its own. So a device makes only the rows that
    it trains on, and a batch is the same on every mesh. Raises BadInput on an impossible configuration.
    """

    kind = "online"

    def __init__(
        self,
        model: LanguageModel,
        params: Any,
        tokens: np.ndarray,
        *,
        bos: int,
        config: OnlineConfig,
        batch_size: int,
        seed: int,
        mesh: Mesh,
    ):
        config.check()
        self.width = site_width(model, config.site)
        self.batch_size, self._seed, self._k = batch_size, seed, config.rows_per_context
        self._lanes, shards = largest_divisor(batch_size, LANES), mesh.shape["data"]
        if self._lanes % shards:
            sizes = nearest(batch_size, lambda n: largest_divisor(n, LANES) % shards == 0)
            raise BadInput(
                f"train.batch_size {batch_size} is made in {self._lanes} lanes, which the {shards} data shards do not "
                f"divide: take {sizes or f'at most {LANES} data shards (train.mesh)'}"
            )
        if batch_size > config.buffer_rows:
            raise BadInput(f"online.buffer_rows {config.buffer_rows} is smaller than train.batch_size {batch_size}")
        self.contexts = ContextSampler(tokens, bos, self._k, seed)
        self._at_once = max(config.batch_contexts // self._lanes, 1)  # contexts per lane in one forward pass
        calls = -(-config.buffer_rows // (self._lanes * self._k * self._at_once))
        self._lane_contexts = calls * self._at_once
        self._lane_slots = batch_size // self._lanes
        self._batches = self._lane_contexts * self._k // self._lane_slots  # whole batches per filling
        self._sharding = NamedSharding(mesh, PartitionSpec("data"))
        self._params = placed(params, mesh, model.config)
        self._make(model, config, NamedSharding(mesh, PartitionSpec(None, "data")))
        self._filling = -1

    def _make(self, model: LanguageModel, config: OnlineConfig, batches: NamedSharding) -> None:
        """Compiles the functions. The first axis of every array is the lanes, so devices exchange no data."""
        shape = (self._lanes, self._lane_contexts * self._k, self.width)
        self._buffer = jax.jit(lambda: jnp.zeros(shape, config.dtype), out_shardings=self._sharding)()

        def fill(params, buffer, tokens, positions, c):
            tokens, positions = (jax.lax.dynamic_slice_in_dim(x, c, self._at_once, axis=1) for x in (tokens, positions))
            flat = tokens.reshape(-1, tokens.shape[-1])
            _, acts = model.apply({"params": params}, flat, config.site, method=model.to_acts)
            rows = jnp.take_along_axis(acts, positions.reshape(-1, positions.shape[-1])[..., None], axis=1)
            rows = rows.reshape(len(tokens), -1, rows.shape[-1]).astype(buffer.dtype)
            return jax.lax.dynamic_update_slice_in_dim(buffer, rows, c * self._k, axis=1)

        def draw(buffer, order, first, n):
            take = jax.lax.dynamic_slice_in_dim(order, first * self._lane_slots, n * self._lane_slots, axis=1)
            rows = jnp.take_along_axis(buffer, take[..., None], axis=1)
            rows = rows.reshape(len(buffer), n, self._lane_slots, self.width)
            return rows.transpose(1, 0, 2, 3).reshape(n, self.batch_size, self.width)

        self._fill = jax.jit(fill, donate_argnums=1, out_shardings=self._sharding)
        self._draw = jax.jit(draw, static_argnums=3, out_shardings=batches)

    def __call__(self, start: int, n: int) -> jax.Array:
        parts = []
        while n:
            filling, first = divmod(start, self._batches)
            self._refill(filling)
            m = min(n, self._batches - first)
            parts.append(self._draw(self._buffer, self._order, first, m))
            start, n = start + m, n - m
        return parts[0] if len(parts) == 1 else _join(parts)

    def sample(self, n: int) -> np.ndarray:
        """The first n rows on the host, [n,M], or fewer if the buffer holds fewer."""
        count = min(-(-n // self.batch_size), self._batches)
        return device_get_global(self(0, count)).reshape(-1, self.width)[:n]

    def _refill(self, filling: int) -> None:
        """Fills the buffer with the rows of this filling, unless it holds them already."""
        if filling == self._filling:
            return
        n, length = self._lane_contexts, self.contexts.length

        def which(lanes):  # for all lanes together, since positions are drawn for 1,024 contexts at a time
            return ((filling * self._lanes + lanes)[:, None] * n + np.arange(n)).reshape(-1)

        tokens = self._place((n, length), lambda lanes: self.contexts.tokens(which(lanes)))
        positions = self._place((n, self._k), lambda lanes: self.contexts.positions(which(lanes)))
        for c in range(0, n, self._at_once):
            self._buffer = self._fill(self._params, self._buffer, tokens, positions, c)
        size = self._lane_contexts * self._k
        self._order = self._place(
            (size,),
            lambda lanes: np.stack(
                [stream("online.order", self._seed, filling, i).permutation(size) for i in lanes]
            ).astype(np.int32),
        )
        self._filling = filling

    def _place(self, tail: tuple[int, ...], make: Any) -> jax.Array:
        """An array [L, …] divided over `data`; each process makes the lanes of its own devices."""
        shape = (self._lanes, *tail)

        def part(index):
            lanes = np.arange(self._lanes)[index[0]]
            return make(lanes).reshape(len(lanes), *tail)

        return jax.make_array_from_callback(shape, self._sharding, part)


@jax.jit
def _join(parts: list[jax.Array]) -> jax.Array:
    return jnp.concatenate(parts)
