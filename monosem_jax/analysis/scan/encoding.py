"""From contexts to what fires: the part of a scan that runs on the device."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.analysis.feature_sets import Encoder, FeatureSet
from monosem_jax.analysis.scan.firings import Dense, Firings, activations_of
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import device_put_sharded, shard_rows
from monosem_jax.sae.params import RULES

CAPACITY = 64  # entries per row that travel from an accelerator, at first


@dataclasses.dataclass(frozen=True)
class Block:
    """What fires in some rows of a batch, of the first set and of others: `first` is the number of the first context,
    counted from the batch's."""

    first: int
    firings: Firings
    others: tuple[Firings | Dense, ...]


class Started(NamedTuple):
    """A batch that the device is working on: what it was given, and what it will give."""

    tokens: np.ndarray
    weight: np.ndarray
    which: tuple[int, ...]
    capacities: tuple[int, ...]
    out: list[dict[str, jax.Array]]


class Encoding:
    """Feature sets on the device. A batch is started, and its firings are collected later: meanwhile the device works.

    On a CPU all activations lie in host memory anyway, and the host looks for those that are not zero. From an
    accelerator only those travel (`compact`): the `capacity` largest of each row, which doubles when a row has more.
    """

    def __init__(self, sets: Sequence[FeatureSet], mesh: Mesh | None, compact: bool | None = None):
        self._mesh = mesh
        self._compact = jax.default_backend() != "cpu" if compact is None else compact
        self._widths = [s.n_features for s in sets]
        self._capacity = [min(CAPACITY, n) for n in self._widths]
        self._names = [s.name for s in sets]
        models: list[TappedModel] = []
        self._of: list[int] = []
        for s in sets:  # sets of one model and site share a forward pass
            same = (i for i, t in enumerate(models) if t.site == s.tapped.site and t.params is s.tapped.params)
            self._of.append(next(same, len(models)))
            if self._of[-1] == len(models):
                models.append(s.tapped)
        self._models = [m.on(mesh) for m in models]
        self._encoders = [_placed(s.encoder, mesh) for s in sets]

    def batch_size(self, contexts: int) -> int:
        """`contexts` rounded up to equal parts of the devices."""
        return shard_rows(self._mesh, contexts)[0]

    def start(self, tokens: np.ndarray, weight: np.ndarray, which: Sequence[int]) -> Started:
        """Begins to encode contexts [C,T] with weight [C] (0 for padding) with the sets `which`, the scanned one
        first."""
        used = sorted({self._of[i] for i in which})
        capacities = tuple(self._capacity[i] if self._compact else 0 for i in which)
        _, spread = shard_rows(self._mesh, len(tokens))
        out = _encode(
            tuple(self._models[i] for i in used),
            tuple(self._encoders[i] for i in which),
            *spread(tokens, weight),
            of=tuple(used.index(self._of[i]) for i in which),
            capacities=capacities,
            mesh=self._mesh,
        )
        return Started(tokens, weight, tuple(which), capacities, out)

    def collect(self, started: Started) -> list[Block]:
        """The firings of a batch that was started, in the rows that this process has."""
        tokens, which, out = started.tokens, started.which, started.out
        if self._compact:
            fits = True
            for i, capacity, o in zip(which, started.capacities, out, strict=True):
                most = int(np.asarray(o["most"]))
                fits &= most <= capacity
                while self._capacity[i] < most:
                    self._capacity[i] = min(2 * self._capacity[i], self._widths[i])
            if not fits:
                return self.collect(self.start(tokens, started.weight, which))
        length = tokens.shape[1]
        parts = [_local(o["value"]) for o in out]
        indices = [_local(o["index"]) if self._compact else {} for o in out]
        blocks = []
        for first in sorted(parts[0]):
            found: list[Firings | Dense] = []
            for j, i in enumerate(which):
                f: Firings | Dense
                value = parts[j][first]
                if self._compact:
                    f = _of_codes(value, indices[j][first], self._widths[i])
                else:
                    f = activations_of(value) if j else Firings.of_dense(value)
                if not np.isfinite(f.f if isinstance(f, Dense) else f.value).all():
                    raise BadInput(f"scan: activations of {self._names[i]} are not finite: expected finite parameters")
                found.append(f)
            assert isinstance(found[0], Firings)
            blocks.append(Block(first // length, found[0], tuple(found[1:])))
        return blocks


def _local(x: jax.Array) -> dict[int, np.ndarray]:
    """First row -> rows, of the parts of an array that this process answers for: each row belongs to one process."""
    return {s.index[0].start or 0: np.asarray(s.data) for s in x.addressable_shards if s.replica_id == 0}


def _of_codes(value: np.ndarray, index: np.ndarray, width: int) -> Firings:
    """From values and feature numbers [B,k], with zeros where a row has fewer."""
    there = value != 0
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    return Firings.of_rows(starts, index[there].astype(np.int32), value[there], width)


def _placed(encoder: Encoder, mesh: Mesh | None) -> Encoder:
    """An encoder on the default device, or on a mesh: parameters of a dictionary are divided over `model`."""
    if mesh is None:
        return jax.device_put(encoder)

    def put(path: Any, x: Any) -> Any:
        if isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding) and x.sharding.mesh == mesh:
            return x
        names = [str(getattr(k, "key", getattr(k, "name", ""))) for k in path]
        spec = next((RULES[n] for n in reversed(names) if n in RULES), PartitionSpec())
        sizes = [mesh.shape["model"] if part == "model" else 1 for part in spec]
        fits = len(np.shape(x)) == len(sizes) and all(n % k == 0 for n, k in zip(np.shape(x), sizes, strict=True))
        return device_put_sharded(np.asarray(x), mesh, spec if fits else PartitionSpec())

    return jax.tree_util.tree_map_with_path(put, encoder)


@functools.partial(jax.jit, static_argnames=("of", "capacities", "mesh"))
def _encode(
    models: tuple[TappedModel, ...],
    encoders: tuple[Any, ...],
    tokens: jax.Array,
    weight: jax.Array,
    *,
    of: tuple[int, ...],
    capacities: tuple[int, ...],
    mesh: Mesh | None,
) -> list[dict[str, jax.Array]]:
    """For each encoder its activations {value [C·T,F]}, or with a capacity k those that are not zero {value, index
    [C·T,k], most}, where `most` is the largest number of them in a row."""
    rows = [m.rows(tokens) for m in models]
    out = []
    for encoder, i, k in zip(encoders, of, capacities, strict=True):
        real = (tokens != models[i].bos) * weight[:, None]
        f = encoder.encode(rows[i]) * real[..., None]
        f = f.reshape(-1, f.shape[-1]).astype(jnp.float32)
        found = _compacted(f, k, mesh) if k else {"value": f}
        if mesh is not None:
            by_row = NamedSharding(mesh, PartitionSpec("data"))
            everywhere = NamedSharding(mesh, PartitionSpec())
            found = {
                name: jax.lax.with_sharding_constraint(x, everywhere if name == "most" else by_row)
                for name, x in found.items()
            }
        out.append(found)
    return out


def _compacted(f: jax.Array, k: int, mesh: Mesh | None) -> dict[str, jax.Array]:
    """The k entries of each row that are furthest from zero; on a mesh, of each part of a row."""
    shards = mesh.shape["model"] if mesh is not None and f.shape[1] % mesh.shape["model"] == 0 else 1
    width = f.shape[1] // shards
    kept = min(k, width)

    def part(f: jax.Array, number: jax.Array | int) -> tuple[jax.Array, jax.Array, jax.Array]:
        index = jax.lax.top_k(jnp.abs(f), kept)[1]
        value = jnp.take_along_axis(f, index, axis=1)
        return value, index + number * width, jnp.sum(f != 0, axis=1, keepdims=True)

    if mesh is None:
        value, index, count = part(f, 0)
    else:
        spec = PartitionSpec("data", "model" if shards > 1 else None)
        value, index, count = jax.shard_map(
            lambda x: part(x, jax.lax.axis_index("model") if shards > 1 else 0),
            mesh=mesh,
            in_specs=spec,
            out_specs=spec,
            check_vma=False,
        )(f)
    return {"value": value, "index": index, "most": jnp.max(count)}
