"""What a traced training step does on each device: FLOPs of its products, and what it sends to other devices.

The figures are read from the program as JAX traces it, before any compiler sees it, so they are right for every
architecture. Tracing takes some tenths of a second.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

REDUCING = ("psum", "psum2", "psum_invariant", "pmax", "pmin")  # their result is as large as what is put in


class TracedCosts(NamedTuple):
    """Of one step on each device: `flops` of products of matrices, `reconstructions` [rows,M] that products make,
    `reduced` and `gathered` bytes that are put into collectives, by the axis of the mesh."""

    flops: int
    reconstructions: int
    reduced: Counter[str]
    gathered: Counter[str]


def read_trace(program: ClosedJaxpr, rows: int, width: int) -> TracedCosts:
    """Reads a step on micro-batches of `rows` that reconstructs activations of `width`.

    Of the branches of a choice, the one with the most FLOPs counts. A loop whose number of steps is not known counts
    as one step: those of dictionaries exchange single numbers only.
    """
    flops, reconstructions, reduced, gathered = 0, 0, Counter[str](), Counter[str]()
    for equation, times in _equations(program.jaxpr, 1):
        name, shape = equation.primitive.name, _aval(equation.outvars[0]).shape
        if name == "dot_general" and len(shape) > 1:
            flops += times * _product_flops(equation)
            reconstructions += times * (shape == (rows, width))
        elif name in REDUCING or name == "all_gather":
            axes = equation.params.get("axes") or equation.params["axis_name"]
            put_in = sum(math.prod(_aval(v).shape) * _aval(v).dtype.itemsize for v in equation.invars)
            for axis in (axes,) if isinstance(axes, str) else axes:
                (gathered if name == "all_gather" else reduced)[axis] += times * put_in
    return TracedCosts(flops, reconstructions, reduced, gathered)


def _equations(program: Jaxpr, times: int) -> Iterator[tuple[JaxprEqn, int]]:
    """The equations that hold no others and whose results are used, with how often each runs."""
    for equation in _used(program):
        inner = [_open(p) for value in equation.params.values() for p in _each(value) if _open(p) is not None]
        if equation.primitive.name == "cond":
            yield from _equations(max(inner, key=_flops), times)
        elif inner:
            repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            for program in inner:
                yield from _equations(program, times * repeats)
        else:
            yield equation, times


def _used(program: Jaxpr) -> list[JaxprEqn]:
    """The equations that the results depend on. A hand-written gradient also has products that nobody asks for, which
    the compiler drops."""
    needed, found = {v for v in program.outvars if isinstance(v, Var)}, []
    for equation in reversed(program.eqns):
        if equation.effects or needed.intersection(equation.outvars):
            needed.update(v for v in equation.invars if isinstance(v, Var))
            found.append(equation)
    return found[::-1]


def _each(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _open(value: Any) -> Any:
    """The program in a parameter of an equation, None where it is something else."""
    if isinstance(value, ClosedJaxpr):
        return value.jaxpr
    return value if isinstance(value, Jaxpr) else None


def _aval(variable: Any) -> Any:
    """The shape and dtype of an array in the program."""
    return variable.aval


def _flops(program: Jaxpr) -> int:
    return sum(n * _product_flops(e) for e, n in _equations(program, 1) if e.primitive.name == "dot_general")


def _product_flops(equation: JaxprEqn) -> int:
    """A multiplication and an addition for each number of the result and each number that is summed over."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _aval(equation.invars[0]).shape
    return 2 * math.prod(_aval(equation.outvars[0]).shape) * math.prod(left[axis] for axis in contracted)
