"""Frozen dataclasses as configurations: to plain dictionaries, back again, and compared."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from typing import Any

from monosem_jax.runtime.errors import BadInput


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as JSON-able nested dictionaries (tuples become lists)."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, (tuple, list)):
        return [to_dict(v) for v in config]
    return config


def from_dict(cls: type, values: dict[str, Any], *, prefix: str = "config") -> Any:
    """Builds the frozen dataclass `cls` from nested dictionaries.

    Raises BadInput on an unknown key (naming the nearest known one) or a value of the wrong type.
    """
    cls = cls.variant(values) if "variant" in vars(cls) else cls  # which class it is may be among the values
    types = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            raise BadInput(unknown_key(f"{prefix}.{key}", key, known))
    return cls(**{key: _convert(types[key], value, f"{prefix}.{key}") for key, value in values.items()})


def unknown_key(name: str, key: str, known: typing.Iterable[str]) -> str:
    """The message for a misspelt key."""
    near = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    return f"unknown key {name}: {hint}"


def _convert(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        try:
            values = dict(value)
        except (TypeError, ValueError):
            raise BadInput(f"{name} is {value!r}: expected the keys of {kind.__name__}") from None
        return from_dict(kind, values, prefix=name)
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        values = value if isinstance(value, (list, tuple)) else (value,)
        return tuple(_convert(element, v, name) for v in values)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadInput(f"{name} is {value!r}: expected {getattr(kind, '__name__', kind)}")
    return value


def check_seed(seed: int, name: str = "config.seed") -> None:
    """Raises BadInput on a seed that random generators do not take."""
    if not 0 <= seed < 1 << 32:
        raise BadInput(f"{name} is {seed}: expected 0 to {(1 << 32) - 1}")


def difference(old: dict[str, Any], new: dict[str, Any], *, prefix: str = "config") -> list[str]:
    """The leaves in which two nested dictionaries differ, as "key: old -> new"."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        a, b, name = old.get(key), new.get(key), f"{prefix}.{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            lines += difference(a, b, prefix=name)
        elif a != b:
            lines.append(f"{name}: {a!r} -> {b!r}")
    return lines
