"""What Python code gives to a public method: a value that does not fit is refused in one line, as on a command line.

Shapes and dtypes are checked inside compiled functions too; values only where they are known.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from monosem_jax.runtime.errors import BadInput, listed, short_error

Array = np.ndarray | jax.Array
V = TypeVar("V")


def check_shape(method: str, found: tuple[int, ...], *expected: int | str) -> None:
    """Raises BadInput unless an array of shape `found` fits `expected`: numbers, letters for axes of any length, and
    "..." at the beginning for any number of axes."""
    free = expected[0] == "..."
    last = expected[free:]
    fits = len(found) >= len(last) if free else len(found) == len(last)
    tail = found[len(found) - len(last) :]
    if not fits or any(isinstance(n, int) and n != size for n, size in zip(last, tail, strict=False)):
        axes = ", ".join(map(str, expected))
        raise BadInput(f"{method} was given an array of shape {list(found)}: expected [{axes}]")


def numbers(method: str, x: Any, *expected: int | str) -> Array:
    """`x` as an array of real numbers of the `expected` shape (see `check_shape`), on the device where it is, or as
    NumPy. Raises BadInput on another shape or dtype."""
    found = _array(method, x)
    if not any(jnp.issubdtype(found.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise BadInput(f"{method} was given an array of dtype {found.dtype}: expected real numbers")
    check_shape(method, found.shape, *expected)
    return found


def finite_numbers(method: str, x: Any, *expected: int | str) -> Array:
    """`numbers` in fp32. Raises BadInput also on rows, along the last axis, that are not finite in fp32."""
    with np.errstate(over="ignore"):
        found = numbers(method, x, *expected).astype(np.float32)
    xp: Any = jnp if isinstance(found, jax.Array) else np
    bad = int(xp.sum(~xp.isfinite(found).all(axis=-1)))
    if bad:
        rows = found.size // found.shape[-1]
        raise BadInput(f"{method} was given {bad} of {rows} rows with numbers that are not finite in fp32")
    return found


def token_ids(method: str, tokens: Any, vocab_size: int) -> Array:
    """`tokens` [C,T] as int32. Raises BadInput unless they are whole numbers from 0 to `vocab_size` - 1."""
    found = _array(method, tokens)
    if not jnp.issubdtype(found.dtype, jnp.integer):
        raise BadInput(f"{method} was given tokens of dtype {found.dtype}: expected whole numbers")
    check_shape(method, found.shape, "C", "T")
    if not found.shape[1]:
        raise BadInput(f"{method} was given contexts of no tokens: expected [C, T] with T of 1 or more")
    if found.size and not isinstance(found, jax.core.Tracer):
        for token in (int(found.min()), int(found.max())):
            if not 0 <= token < vocab_size:
                raise BadInput(f"{method} was given token {token}: expected 0 to {vocab_size - 1}")
    return found.astype(np.int32)


def whole_number(what: str, value: Any, least: int, most: int | None = None) -> int:
    """A number of Python or NumPy as an int. Raises BadInput unless it is whole, and from `least` to `most`.

    Args:
      what: the value in the words of the message: "feature 7 of runs/a1".
    """
    expected = f"{least} or more" if most is None else f"{least} to {most}"
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise BadInput(f"{what}: expected a whole number, {expected}") from None
    if number < least or (most is not None and number > most):
        raise BadInput(f"{what}: expected {expected}")
    return number


def check_name(what: str, value: Any, known: Collection[str]) -> None:
    """Raises BadInput with the names there are unless `value` is one of them."""
    if not isinstance(value, str) or value not in known:
        raise BadInput(f"{what} is {value!r}: expected {listed(value, known)}")


def check_mesh_axes(method: str, mesh: Any) -> None:
    """Raises BadInput unless `mesh` is a mesh with the axes data and model."""
    if not isinstance(mesh, Mesh):
        raise BadInput(f"{method} was given a {type(mesh).__name__}: expected a jax.sharding.Mesh")
    if not {"data", "model"} <= set(mesh.axis_names):
        raise BadInput(f"{method} was given a mesh of the axes {mesh.axis_names}: expected data and model")


class Named(dict[str, V]):
    """A dictionary that answers an unknown name with those there are."""

    def __init__(self, what: str, values: dict[str, V]):
        super().__init__(values)
        self._what = what

    def __missing__(self, name: Any) -> V:
        raise UnknownName(f"{self._what} {name!r} does not exist: expected {listed(name, self)}")


class UnknownName(BadInput, KeyError):
    """The KeyError of `Named`, with a message that is shown as it is."""

    __str__ = BadInput.__str__


def _array(method: str, x: Any) -> Array:
    if isinstance(x, jax.Array):
        return x
    if np.ma.is_masked(x):
        raise BadInput(f"{method} was given a masked array: fill it first")
    try:
        return np.asarray(x)
    except Exception as e:  # nested lists of unequal lengths, and what other libraries' arrays raise
        raise BadInput(f"{method} was given a {type(x).__name__}, which is no array: {short_error(e)}") from None
