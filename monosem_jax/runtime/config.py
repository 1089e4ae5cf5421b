"""Frozen dataclasses as configurations: to plain dictionaries, back again, checked and compared.

What a key may be, and whether it may change when a run is resumed, is declared beside its field:

    keep: int = field(2, at_least=1, identity=False)

A key that has a new name is declared on its class, so that old commands get an answer and old directories still open:

    @moved("train", {"b1": "optimizer.b1"})
    @dataclasses.dataclass(frozen=True)
    class TrainConfig: ...
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The values that a key may have; a float must also be finite."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()

    def allow(self, value: Any) -> bool:
        """Whether `value` is one of them."""
        if self.choices:
            return value in self.choices
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.choices:
            return " or ".join(filter(None, (", ".join(map(str, self.choices[:-1])), str(self.choices[-1]))))
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least} to {self.at_most}"
        words = {"{} or more": self.at_least, "more than {}": self.above, "{} or less": self.at_most}
        words["less than {}"] = self.below
        return ", and ".join(text.format(limit) for text, limit in words.items() if limit is not None)


def field(
    default: T,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] = (),
    identity: bool = True,
    place: Place | None = None,
) -> T:
    """A field of a configuration, with its default and what it may be.

    Args:
      identity: whether the key decides the result of a run; if not, it may change when the run is resumed.
      place: what its value may be if it is a path; `locations.located` makes it absolute.
    """
    metadata: dict[str, Any] = {"identity": identity}
    if place is not None:
        metadata["place"] = place
    if (bounds := Bounds(at_least, above, at_most, below, choices)) != Bounds():
        metadata["bounds"] = bounds
    return typing.cast(T, dataclasses.field(default=default, metadata=metadata))


def check_bounds(config: Any, section: str) -> None:
    """Raises BadInput naming the first key outside of its bounds, in `config` or in a section of it.

    Args:
      section: what comes before a key in messages, with its dot: "train."
    """
    for f in dataclasses.fields(config):
        value, name = getattr(config, f.name), section + f.name
        if dataclasses.is_dataclass(value):
            check_bounds(value, f"{name}.")
        elif "bounds" in f.metadata and not f.metadata["bounds"].allow(value):
            raise BadInput(f"{name} is {value!r}: expected {f.metadata['bounds']}")


def moved(section: str, names: Mapping[str, str]) -> Callable[[type[T]], type[T]]:
    """A class decorator: keys that have a new name. To give an old one raises BadInput with the new one.

    Args:
      section: the key under which the class is found, for messages.
      names: old key → new key, "section.key".
    """

    def decorate(cls: type[T]) -> type[T]:
        init = cls.__init__

        @functools.wraps(init)
        def checked(self: T, *args: Any, **values: Any) -> None:
            for key, value in values.items():
                if key in names and not dataclasses.is_dataclass(value):
                    raise BadInput(f"{section}.{key} is now {section}.{names[key]}")
            init(self, *args, **values)

        setattr(cls, "__init__", checked)  # noqa: B010 (a type checker refuses the assignment of a method)
        setattr(cls, "MOVED", dict(names))  # noqa: B010
        return cls

    return decorate


def sections(cls: type) -> dict[str, type]:
    """The fields of a configuration that are configurations themselves, with their classes."""
    return {name: kind for name, kind in typing.get_type_hints(cls).items() if dataclasses.is_dataclass(kind)}  # type: ignore[misc]


def moved_key(cls: type, key: str) -> str | None:
    """The new name of a dotted key of an earlier version of `cls`, or None."""
    name, _, rest = key.partition(".")
    if not rest:
        return getattr(cls, "MOVED", {}).get(name)
    below = moved_key(kind, rest) if (kind := sections(cls).get(name)) else None
    return below and f"{name}.{below}"


def upgrade(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a configuration as an earlier version wrote them, under the names that its keys have now."""
    found: dict[str, Any] = {}
    old: dict[str, dict[str, Any]] = {}
    kinds, names = sections(cls), getattr(cls, "MOVED", {})
    for key, value in values.items():
        if key in names and not isinstance(value, dict):
            section, name = names[key].split(".")
            old.setdefault(section, {})[name] = value
        else:
            found[key] = upgrade(kinds[key], value) if key in kinds and isinstance(value, dict) else value
    for section, own in old.items():
        now = found.get(section)
        found[section] = own | now if isinstance(now, dict) else own
    return found


def identity_of(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """`values` of a configuration without the keys that may change when a run is resumed, and with paths as they would
    be given now: earlier versions did not resolve links in them."""
    kinds = sections(cls)
    about: dict[str, Mapping[str, Any]] = {f.name: f.metadata for f in dataclasses.fields(cls)}
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in kinds and isinstance(value, dict):
            found[key] = identity_of(kinds[key], value)
        elif place := about.get(key, {}).get("place"):
            found[key] = place.same(value)
        else:
            found[key] = value
    return {key: value for key, value in found.items() if about.get(key, {}).get("identity", True)}


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as JSON-able nested dictionaries (tuples become lists)."""
    return _plain(config)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else value


class Variants:
    """A configuration whose values themselves say which of its subclasses they are of: `architecture` is its name."""

    @classmethod
    def variant(cls, values: dict[str, Any]) -> type:
        """The class to build from `values`."""
        return cls

    @classmethod
    def variants(cls) -> Mapping[str, type]:
        """name -> subclass."""
        return {}


def variants_with(cls: type, key: str) -> list[str]:
    """The variants that have a dotted key of a configuration which its own variant lacks; [] where there are none."""
    name, _, rest = key.partition(".")
    if rest:
        return variants_with(kind, rest) if (kind := sections(cls).get(name)) else []
    kinds = cls.variants() if issubclass(cls, Variants) else {}
    return [variant for variant, kind in kinds.items() if name in {f.name for f in dataclasses.fields(kind)}]


def from_dict(cls: type, values: dict[str, Any], *, prefix: str = "config") -> Any:
    """Builds the frozen dataclass `cls` from nested dictionaries.

    Raises BadInput on an unknown key (naming the nearest known one), on a key that has a new name (naming it), or on a
    value of the wrong type.
    """
    cls = cls.variant(values) if issubclass(cls, Variants) else cls
    types = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    for key, value in values.items():
        if (now := moved_key(cls, key)) and not _is_mapping(value):
            where = f"{prefix}.".removeprefix("config.")
            raise BadInput(f"{where}{key} is now {where}{now}")
        if key not in known:
            raise BadInput(unknown_key(f"{prefix}.{key}", key, known))
    return cls(**{key: _convert(types[key], value, f"{prefix}.{key}") for key, value in values.items()})


def typed(config: Any, kind: type[T], name: str = "config") -> T:
    """A configuration that was built in Python, with values of the types that its keys have: paths as str, lists as
    tuples, scalars of NumPy as numbers of Python, as from a command line. Raises BadInput on any other value.

    Args:
      kind: the class that is expected.
      name: what it is called in messages.
    """
    if not isinstance(config, kind):
        found = config.__name__ if isinstance(config, type) else f"a {type(config).__name__}"
        raise BadInput(f"{name} is {found}: expected a {kind.__name__}")
    types, changed = typing.get_type_hints(type(config)), {}
    for f in dataclasses.fields(config):  # type: ignore[arg-type]
        value, of, key = getattr(config, f.name), types[f.name], f"{name}.{f.name}"
        new = typed(value, of, key) if dataclasses.is_dataclass(of) else _convert(of, value, key)  # type: ignore[arg-type]
        if new is not value:
            changed[f.name] = new
    return dataclasses.replace(config, **changed) if changed else config  # type: ignore[type-var]


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "keys")  # a ConfigDict is none by its class


def unknown_key(name: str, key: str, known: Iterable[str]) -> str:
    """The message for a misspelt key; `known` are those of its section."""
    near = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    return f"unknown key {name}: {hint}"


def _convert(kind: Any, value: Any, name: str) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        try:
            values = dict(value)
        except (TypeError, ValueError):
            raise BadInput(f"{name} is {value!r}: expected the keys of {kind.__name__}") from None
        return from_dict(kind, values, prefix=name)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # a scalar of NumPy
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        elements = value if isinstance(value, (list, tuple)) else (value,)
        found = tuple(_convert(element, v, name) for v in elements)
        return value if found == value else found
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
