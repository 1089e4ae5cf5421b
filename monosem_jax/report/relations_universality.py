"""Universality and stability of seeds, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monosem_jax.report.markdown import cell, percent, table

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], Any]]

MATCHES = (
    "For each feature of a set the feature of the other whose activations correlate most with its own. Medians are of "
    "the features that fire, with a 95 % bootstrap interval over features. One to one: the assignment that uses no "
    "feature twice; same: the share of its pairs that are best matches too. In itself: the median best correlation "
    "with another feature of the same set, which says how much of a match is repetition. Paper: 0.72 of features, 0.46 "
    "of neurons."
)
EFFECTS = (
    "Correlations between matched features of their logit weights and of their attribution vectors (activation times "
    "the logit weight of the next token). Same match: the share of sampled features whose best one is the same by "
    "attribution vectors and by activations. Agreement: the correlation over features with that of activations."
)
SPACES = (
    "Sets of one space. MMCS: the mean of the largest cosine of each direction with any of the other set. In the data: "
    "in the metric of the covariance of the activations, which leaves out what a direction does where they hardly vary."
)
STABILITY = "The mean over the other seeds of each feature's best correlation, negative ones counted as 0."


def section(tables: Mapping[str, Any]) -> str:
    """The tables `universality` and `stability`."""
    rows = tables.get("universality") or []
    stability = tables.get("stability")
    parts = [
        _table("Universality: best matches by activations", MATCH_COLUMNS, rows, MATCHES),
        _table("Universality: effects of matched features", EFFECT_COLUMNS, _with(rows, "logit_median"), EFFECTS),
        _table("Universality: directions of matched features", SPACE_COLUMNS, _with(rows, "mmcs"), SPACES),
        _table("Stability of seeds", STABILITY_COLUMNS, [stability] if stability else [], STABILITY),
    ]
    return "\n".join(part for part in parts if part)


def _table(title: str, columns: Columns, rows: Sequence[Row], note: str) -> str:
    return table(title, list(columns), [[value(row) for value in columns.values()] for row in rows], note)


def _with(rows: Sequence[Row], key: str) -> list[Row]:
    return [row for row in rows if row.get(key) is not None]


def _of(key: str) -> Callable[[Row], Any]:
    return lambda row: row.get(key)


def _share(key: str) -> Callable[[Row], Any]:
    return lambda row: percent(row.get(key))


def _range(ends: Sequence[float] | None) -> str | None:
    return f"{cell(float(ends[0]))} to {cell(float(ends[1]))}" if ends else None


def _interval(row: Row) -> str | None:
    return _range(row["interval"])


def _middle(row: Row) -> str | None:
    return _range((row["quantiles"][1], row["quantiles"][5])) if row["quantiles"] else None


def _alive(row: Row) -> str:
    return f"{row['alive']} of {row['features']}"


def _exact(row: Row) -> str:
    return "yes" if row["exact"] else f"candidates, ± {row['error']:.2g}"


def _seeds(row: Row) -> str:
    return ", ".join(row["seeds"])


MATCH_COLUMNS: Columns = {
    "set": _of("a"),
    "in": _of("b"),
    "median": _of("median"),
    "95 %": _interval,
    "in itself": _of("own_median"),
    "with dead as 0": _of("median_dead_0"),
    "10 % to 90 %": _middle,
    "fire": _alive,
    "one to one": _of("one_to_one_median"),
    "same": _share("one_to_one_same"),
    "exact": _exact,
}
EFFECT_COLUMNS: Columns = {
    "set": _of("a"),
    "in": _of("b"),
    "logit weights": _of("logit_median"),
    "of matches above 0.7": _of("logit_median_of_close"),
    "attributions": _of("attribution_median_of_matched"),
    "best by attributions": _of("attribution_median"),
    "same match": _share("attribution_same_match"),
    "agreement": _of("attribution_agreement_of_matched"),
}
SPACE_COLUMNS: Columns = {
    "set": _of("a"),
    "in": _of("b"),
    "activations": _of("median"),
    "MMCS": _of("mmcs"),
    "cosine of matches": _of("cosine_median"),
    "above 0.9": _share("cosine_alike"),
    "cosine in the data": _of("cosine_in_data_median"),
    "above 0.9 there": _share("cosine_in_data_alike"),
    "cosine of encoders": _of("encoder_cosine_median"),
}
STABILITY_COLUMNS: Columns = {
    "dictionary": _of("of"),
    "seeds": _seeds,
    "median": _of("median"),
    "95 %": _interval,
    "above 0.7": _share("stable"),
    "fire": _alive,
}
