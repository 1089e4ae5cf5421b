"""The costs of a traced training step on each device: FLOPs of its products, and bytes sent to other devices.

The figures come from the program that JAX traces, before compilation, so they are right for every architecture. Tracing
takes a few tenths of a second.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

REDUCING = ("psum", "psum2", "psum_invariant", "pmax", "pmin")  # collectives whose result is as large as their input


class TracedCosts(NamedTuple):
    """The costs of one step on each device: `flops` of matrix products; `reconstructions`, the number of products with
    a result [rows,M]; `reduced` and `gathered`, the input bytes of such collectives by mesh axis."""

    flops: int
    reconstructions: int
    reduced: Counter[str]
    gathered: Counter[str]


def read_trace(program: ClosedJaxpr, rows: int, width: int) -> TracedCosts:
    """Reads a step on micro-batches of `rows` that reconstructs activations of `width`.

    Of the branches of a `cond`, the one with the most FLOPs counts. A loop of unknown length counts as one iteration:
    such loops of dictionaries exchange only scalars.
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
    """The equations that contain no others and whose results are used, each with the number of times it runs."""
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
    """The equations that the results depend on. A hand-written gradient also has unused products, which the compiler
    removes."""
    needed, found = {v for v in program.outvars if isinstance(v, Var)}, []
    for equation in reversed(program.eqns):
        if equation.effects or needed.intersection(equation.outvars):
            needed.update(v for v in equation.invars if isinstance(v, Var))
            found.append(equation)
    return found[::-1]


def _each(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _open(value: Any) -> Any:
    """The program in a parameter of an equation, or None if the parameter is not a program."""
    if isinstance(value, ClosedJaxpr):
        return value.jaxpr
    return value if isinstance(value, Jaxpr) else None


def _aval(variable: Any) -> Any:
    """The shape and dtype of an array in the program."""
    return variable.aval


def _flops(program: Jaxpr) -> int:
    return sum(n * _product_flops(e) for e, n in _equations(program, 1) if e.primitive.name == "dot_general")


def _product_flops(equation: JaxprEqn) -> int:
    """One multiplication and one addition per element of the result and per element of the contracted axes."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _aval(equation.invars[0]).shape
    return 2 * math.prod(_aval(equation.outvars[0]).shape) * math.prod(left[axis] for axis in contracted)
