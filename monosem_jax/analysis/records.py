"""The records of an analysis: typed, with one writer, one reader and a JSON schema.

`features.json` is a list of `Feature`, `categories.json` a list of `Category`; keys are the names of the fields, in
their order. `records.schema.json` in this folder describes both files for programs in other languages. Fields may be
added without a new FORMAT, and readers ignore those they do not know; a field that is renamed, removed or changed in
meaning needs one. `summary.json` has the number as `records_format`; directories without it have format 1.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from monosem_jax.runtime.config import to_dict
from monosem_jax.runtime.errors import BadInput, NewerFormat
from monosem_jax.runtime.files import read_json, write_json

FORMAT = 1
FEATURES, CATEGORIES = "features.json", "categories.json"


@dataclasses.dataclass(frozen=True)
class Example:
    """A window of a context around the token on which a feature fires most strongly.

    `context` and `position` number that token in the held-out text, `peak` is its index in the window. `tokens` and
    `activations` have one entry per token of the window. `origin` and `label` are those of the document, "" if it has
    none.
    """

    context: int
    position: int
    peak: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    origin: str
    label: str


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of a dictionary, measured on held-out text.

    `density` is the share of tokens on which it fires, `largest` its largest activation. `label` is the category for
    which it is the best feature (null for most features), `label_correlation` its correlation there. `top_logits` and
    `bottom_logits` are [token, logit weight] pairs, strongest first. `examples` come in falling order of their largest
    activation.
    """

    feature: int
    density: float
    largest: float
    label: str | None
    label_correlation: float | None
    top_logits: tuple[tuple[str, float], ...]
    bottom_logits: tuple[tuple[str, float], ...]
    examples: tuple[Example, ...]


@dataclasses.dataclass(frozen=True)
class Category:
    """The best single feature and the best single neuron for a label of documents.

    Both are chosen on training text and measured on held-out text: Pearson correlation of the activation with "this
    token lies in a document of the label". `tokens` is the number of held-out tokens of the label.
    """

    label: str
    tokens: int
    feature: int
    feature_correlation: float
    neuron: int
    neuron_correlation: float


Record = TypeVar("Record", Feature, Category)


def write_features(folder: pathlib.Path, features: Sequence[Feature]) -> None:
    """Writes features.json."""
    write_json(folder / FEATURES, to_dict(list(features)))


def write_categories(folder: pathlib.Path, categories: Sequence[Category]) -> None:
    """Writes categories.json."""
    write_json(folder / CATEGORIES, to_dict(list(categories)))


def read_features(folder: pathlib.Path) -> list[Feature]:
    """Reads features.json; raises BadInput naming the first value that is missing or of another type."""
    return _read(folder / FEATURES, Feature)


def read_categories(folder: pathlib.Path) -> list[Category]:
    """Reads categories.json; raises BadInput naming the first value that is missing or of another type."""
    return _read(folder / CATEGORIES, Category)


def check_format(folder: pathlib.Path, summary: dict[str, Any] | None) -> None:
    """Raises NewerFormat when a newer version wrote the records in a directory with this summary."""
    number = (summary or {}).get("records_format", FORMAT)
    if type(number) is not int or number > FORMAT:
        raise NewerFormat(f"{folder / 'summary.json'}: records_format", number, FORMAT)


def schema() -> dict[str, Any]:
    """The JSON schema of both files, as shipped in records.schema.json."""
    defs = {kind.__name__: _object_schema(kind) for kind in (Feature, Example, Category)}
    lists = {FEATURES: "Feature", CATEGORIES: "Category"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Records of an analysis by monosem_jax, format {FORMAT}",
        "$defs": {
            **{file: {"type": "array", "items": {"$ref": f"#/$defs/{name}"}} for file, name in lists.items()},
            **defs,
        },
    }


def _read(path: pathlib.Path, kind: type[Record]) -> list[Record]:
    return [_parsed(kind, value, f"{path}[{i}]") for i, value in enumerate(read_json(path, list))]


@functools.cache
def _types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _parsed(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`, which is a record or the type of one of its fields."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        found = value if isinstance(value, dict) else {}
        if missing := [name for name in _types(kind) if name not in found]:
            raise BadInput(f"{where} has no {missing[0]}: expected {', '.join(_types(kind))}")
        return kind(**{name: _parsed(t, found[name], f"{where}.{name}") for name, t in _types(kind).items()})
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return None if value is None else _parsed(arguments[0], value, where)
    if typing.get_origin(kind) is tuple:
        variable = arguments[-1] is Ellipsis
        if not isinstance(value, list) or not (variable or len(value) == len(arguments)):
            raise _wrong(value, where, "a list" if variable else f"a list of {len(arguments)}")
        each = arguments[:1] * len(value) if variable else arguments
        return tuple(_parsed(t, v, f"{where}[{i}]") for i, (t, v) in enumerate(zip(each, value, strict=True)))
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise _wrong(value, where, {int: "a whole number", float: "a number", str: "a text"}[kind])


def _wrong(value: Any, where: str, expected: str) -> BadInput:
    text = f"a {type(value).__name__}" if isinstance(value, (dict, list)) else repr(value)
    return BadInput(f"{where} is {text if len(text) <= 80 else text[:77] + '…'}: expected {expected}")


def _object_schema(kind: type) -> dict[str, Any]:
    properties = {name: _schema_of(t) for name, t in _types(kind).items()}
    about = " ".join((kind.__doc__ or "").split())
    return {"description": about, "type": "object", "properties": properties, "required": list(properties)}


def _schema_of(kind: Any) -> dict[str, Any]:
    arguments = typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, types.UnionType):
        return {"anyOf": [_schema_of(arguments[0]), {"type": "null"}]}
    if typing.get_origin(kind) is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema_of(arguments[0])}
    if typing.get_origin(kind) is tuple:
        n = len(arguments)
        return {"type": "array", "prefixItems": [_schema_of(t) for t in arguments], "minItems": n, "maxItems": n}
    return {"type": {int: "integer", float: "number", str: "string"}[kind]}
