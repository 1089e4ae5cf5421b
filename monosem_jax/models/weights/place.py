"""Parameters of a module from a source of weights: checked, then read to the host or straight onto a mesh."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding

from monosem_jax.models.base import LanguageModel
from monosem_jax.models.sharding import spec_of
from monosem_jax.models.weights.base import From, Index, Tensors
from monosem_jax.models.weights.files import LocalFile
from monosem_jax.runtime.errors import BadInput

MOST_COMPARED = 10_000  # names of tensors


def shapes_of(model: LanguageModel) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter; nothing is computed."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"])
    return {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}


def check(model: LanguageModel, table: Mapping[str, From], tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters; raises BadInput, before anything is read, on a tensor that is missing or of
    another shape."""
    for source in table.values():  # first, since it costs little however many layers a configuration claims
        if source.name not in tensors.shapes:
            raise BadInput(f"{tensors.where} has no tensor {source.name}: {_nearest(source.name, tensors.shapes)}")
        tensors.check(source.name)
    shapes = shapes_of(model)
    for path, shape in shapes.items():
        source = table[path]
        found, expected = tensors.shapes[source.name], source.stored(shape)
        if source.arrange is None and tuple(found) != tuple(expected):
            raise BadInput(f"{tensors.where}: {source.name} has shape {list(found)}: expected {list(expected)}")
    return shapes


def _nearest(name: str, known: Collection[str]) -> str:
    """What there is instead of a tensor, for a message."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0) if len(known) < MOST_COMPARED else sorted(known)[:3]
    return f"it has {len(known)} others, such as {', '.join(near)}" if near else "it has none"


def read_params(
    model: LanguageModel,
    table: Mapping[str, From],
    tensors: Tensors,
    mesh: Mesh | None = None,
    dtype: Any = np.float32,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    put: Callable[[np.ndarray], Any] = lambda array: array,
) -> dict[str, Any]:
    """The parameters in `dtype`, one tensor after the other: NumPy on the host, or on a mesh, where each device is
    given its own part and no other.

    Args:
      shapes: those that are read, by their paths, as `check` gives them; default: all.
      put: what is done with each array without a mesh, before the next is read.
    """
    found: dict[str, Any] = {}
    for path, shape in (check(model, table, tensors) if shapes is None else shapes).items():
        source = table[path]
        if mesh is None:
            found[path] = put(_checked(source.read(tensors).astype(dtype), shape, source, tensors))
        else:
            sharding = NamedSharding(mesh, spec_of(path, shape, mesh, model.config))
            found[path] = jax.make_array_from_callback(shape, sharding, _reader(source, tensors, shape, dtype))
    return unflatten_dict(found, sep="/")


def _reader(source: From, tensors: Tensors, shape: tuple[int, ...], dtype: Any) -> Any:
    """What gives a device its part. Devices that hold the same part are given one array.

    Of a file elsewhere, columns come with whole rows: they are read once, for all devices of this process.
    """
    held: dict[Any, np.ndarray] = {}
    far = not all(isinstance(file, LocalFile) for file in tensors.files)
    rows = -1 if source.transposed else 0  # the axis of ours that is the first in the file

    def read(index: Index) -> np.ndarray:
        if not far or index[rows] != slice(None):
            return source.read(tensors, index)
        if "all" not in held:
            held["all"] = source.read(tensors)
        return held["all"][index]

    def part(index: Index) -> np.ndarray:
        key = tuple((s.start, s.stop) for s in index)
        if key not in held:
            held[key] = np.ascontiguousarray(read(index).astype(dtype))
        return held[key]

    return part


def _checked(array: np.ndarray, shape: tuple[int, ...], source: From, tensors: Tensors) -> np.ndarray:
    if array.shape != shape:
        raise BadInput(f"{tensors.where}: {source.name} becomes {list(array.shape)}: expected {list(shape)}")
    return np.ascontiguousarray(array)
