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
    """A window of a context around the token on which a feature fires.

    `context` and `position` number that token in the held-out text, `peak` is its index in the window. `tokens`,
    `token_ids` and `activations` have one entry per token of the window. `origin` and `label` are those of the
    document, "" if it has none. `loss_effects`: by how much the loss on each token of the window rises when the feature
    is ablated on every token of the context, in nats (empty: not measured; 0 for the first token of a context).
    """

    context: int
    position: int
    peak: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    origin: str
    label: str
    token_ids: tuple[int, ...] = ()
    loss_effects: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Interval:
    """Examples drawn uniformly from the firings in (low, high], one of several equal intervals of (0, maximum].

    `count` is the number of firings there in the scanned text.
    """

    low: float
    high: float
    count: int
    examples: tuple[Example, ...]


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of firings: `counts[i]` lie in (edges[i], edges[i+1]]."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class TopToken:
    """A token on which a feature fires: its share of the feature's firings, and the share of the token's own
    occurrences on which the feature fires. `mean` is the mean activation on it when firing."""

    id: int
    token: str
    fired: int
    share_of_firings: float
    share_of_occurrences: float
    mean: float


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A similar feature of the set named `set`: Pearson correlation of activations, cosine of directions (null where
    one of them never fires, or the spaces differ)."""

    set: str
    feature: int
    correlation: float | None
    cosine: float | None


@dataclasses.dataclass(frozen=True)
class ProxyScore:
    """A feature against a proxy (paper, "Detailed investigations of individual features").

    `pearson` with the proxy in the form in which the paper compares it (`form`: "positive part" or "sign").
    `specificity`: for each of 12 equal intervals of (0, maximum] the share of firings on which the proxy holds, null
    where the feature has too few firings (see `firings`) to say; `specificity_top` of the highest interval that has
    enough, `specificity_all` of all firings. `expected_value`: the same with firings weighted by their activation.
    `sensitivity`: the share of the proxy's tokens on which the feature fires. `positive`: tokens on which it holds.
    """

    proxy: str
    form: str
    pearson: float | None
    specificity: tuple[float | None, ...]
    firings: tuple[int, ...]
    specificity_top: float | None
    specificity_all: float | None
    expected_value: float | None
    sensitivity: float | None
    positive: int


@dataclasses.dataclass(frozen=True)
class TokenInContext:
    """A feature at least 90 % of whose firings are on one token: the share of that token's occurrences on which it
    fires, and how well the label of the document tells those apart (`label_auc`, 0.5: not at all; null: no labels or
    too few), with the label that does it best."""

    id: int
    token: str
    share_of_firings: float
    share_of_occurrences: float
    occurrences: int
    label: str | None
    label_auc: float | None


@dataclasses.dataclass(frozen=True)
class LogitSummary:
    """The distribution of a feature's logit weights over the `n_tokens` tokens that are not rare: median 0."""

    n_tokens: int
    deviation: float
    skewness: float
    kurtosis: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a judge says that a feature is: text, and its length (`size` in units that the judge names)."""

    judge: str
    text: str
    size: int
    unit: str


@dataclasses.dataclass(frozen=True)
class Score:
    """How well a judge predicts a feature from an explanation of it.

    `kind`: "simulation" (Spearman, `other` is Pearson), "detection" and "fuzzing" (balanced accuracy, `other` is F1),
    "logits" (accuracy; `other` is null). `shuffled`: the same with the explanation of another feature. `samples`:
    predictions that the score is over. A null value: the judge could not be asked, for the reason in `note`.
    """

    judge: str
    kind: str
    value: float | None
    other: float | None
    shuffled: float | None
    samples: int
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Ablation on every token of the contexts of the top examples, keeping the dictionary's error: the mean change of
    the next token's loss in nats where the feature fires and where it does not, and the `tokens` of each kind."""

    loss_change_firing: float | None
    loss_change_elsewhere: float | None
    tokens_firing: int
    tokens_elsewhere: int


@dataclasses.dataclass(frozen=True)
class Sample:
    """Text sampled from `prompt` with a feature held at `value` (in units of its maximum: `strength`)."""

    prompt: str
    strength: float
    value: float
    text: str


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of a set, measured on held-out text.

    `density` is the share of tokens on which it fires, `largest` its largest activation, `mean` the mean over its
    firings. `label` is the category for which it is the best feature (null for most features), `label_correlation` its
    correlation there; `nearest_label` the label it correlates with most, with `nearest_label_correlation`. `top_logits`
    and `bottom_logits` are [token, logit weight] pairs, strongest first. `examples` are its top contexts, in falling
    order of their largest activation; `intervals` are samples of its firings from the highest of 12 equal intervals of
    (0, largest] to the lowest; `random` are windows around tokens drawn from all text. What was not measured is empty
    or null.
    """

    feature: int
    density: float
    largest: float
    label: str | None
    label_correlation: float | None
    top_logits: tuple[tuple[str, float], ...]
    bottom_logits: tuple[tuple[str, float], ...]
    examples: tuple[Example, ...]
    set: str = "features"
    fired: int = 0
    mean: float = 0.0
    nearest_label: str | None = None
    nearest_label_correlation: float | None = None
    log_histogram: Histogram | None = None
    linear_histogram: Histogram | None = None
    intervals: tuple[Interval, ...] = ()
    random: tuple[Example, ...] = ()
    top_tokens: tuple[TopToken, ...] = ()
    token_in_context: TokenInContext | None = None
    proxies: tuple[ProxyScore, ...] = ()
    logits: LogitSummary | None = None
    neighbours: tuple[Neighbour, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    scores: tuple[Score, ...] = ()
    ablation: Ablation | None = None
    samples: tuple[Sample, ...] = ()
    stability: float | None = None


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
