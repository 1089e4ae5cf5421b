"""From JSON to typed records and back, and the schema that describes them."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Any

from monosem_jax.runtime.errors import BadInput


@functools.cache
def fields(kind: type) -> dict[str, Any]:
    """The types of the fields of a record, by name."""
    return typing.get_type_hints(kind)


@functools.cache
def required(kind: type) -> tuple[str, ...]:
    """The fields without a default: those that every version wrote."""
    return tuple(f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING)


@functools.cache
def form(kind: Any) -> tuple[str, tuple[Any, ...]]:
    """What a type is, "record", "optional", "tuple" or "value", and its arguments."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return "record", ()
    if isinstance(kind, types.UnionType):
        return "optional", typing.get_args(kind)
    return ("tuple" if typing.get_origin(kind) is tuple else "value"), typing.get_args(kind)


def plain(value: Any) -> Any:
    """A record as JSON-able dictionaries and lists; numbers that are not finite become null."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [v if type(v) in (str, int) else plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parsed(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`, which is a record or the type of one of its fields.

    Raises BadInput naming the place of the first value that is missing or of another type; `where` is that of `value`.
    """
    what, arguments = form(kind)
    if what == "record":
        found = value if isinstance(value, dict) else {}
        if missing := [name for name in required(kind) if name not in found]:
            raise BadInput(f"{where} has no {missing[0]}: expected {', '.join(required(kind))}")
        known = {name: t for name, t in fields(kind).items() if name in found}
        return kind(**{name: parsed(t, found[name], f"{where}.{name}") for name, t in known.items()})
    if what == "optional":
        return None if value is None else parsed(arguments[0], value, where)
    if what == "tuple":
        variable = arguments[-1] is Ellipsis
        if not isinstance(value, list) or not (variable or len(value) == len(arguments)):
            raise _wrong(value, where, "a list" if variable else f"a list of {len(arguments)}")
        if variable and arguments[0] in (str, int, float) and all(type(v) is arguments[0] for v in value):
            return tuple(value)
        each = arguments[:1] * len(value) if variable else arguments
        return tuple(parsed(t, v, f"{where}[{i}]") for i, (t, v) in enumerate(zip(each, value, strict=True)))
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise _wrong(value, where, {int: "a whole number", float: "a number", str: "a text"}[kind])


def _wrong(value: Any, where: str, expected: str) -> BadInput:
    text = f"a {type(value).__name__}" if isinstance(value, (dict, list)) else repr(value)
    return BadInput(f"{where} is {text if len(text) <= 80 else text[:77] + '…'}: expected {expected}")


def object_schema(kind: type) -> dict[str, Any]:
    """The JSON schema of a record."""
    properties = {name: schema_of(t) for name, t in fields(kind).items()}
    about = " ".join((kind.__doc__ or "").split())
    return {"description": about, "type": "object", "properties": properties, "required": list(required(kind))}


def schema_of(kind: Any) -> dict[str, Any]:
    arguments = typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, types.UnionType):
        return {"anyOf": [schema_of(arguments[0]), {"type": "null"}]}
    if typing.get_origin(kind) is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": schema_of(arguments[0])}
    if typing.get_origin(kind) is tuple:
        n = len(arguments)
        return {"type": "array", "prefixItems": [schema_of(t) for t in arguments], "minItems": n, "maxItems": n}
    return {"type": {int: "integer", float: "number", str: "string"}[kind]}
