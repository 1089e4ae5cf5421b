"""Crosscoders of two models, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monosem_jax.report.markdown import percent, table

Row = Mapping[str, Any]

BELONGS = (
    "By the relative norm of its two vectors a feature belongs to A alone (below 0.1), to B alone (above 0.9) or to "
    "both. Norms say more than is true where L1 was the penalty, so features of one model alone are looked at again. "
    "Shrunk: least squares gives the other model a vector too. Decoupled: a feature that the other model has fires "
    "with it. Undecided: it fires too rarely to say. Confirmed: none of these. Loss recovered: of each model, run with "
    "its half of the reconstruction. Compare crosscoders at a similar L0 and loss recovered only."
)
CLASSES = (
    "Features of each class beside the two models' own dictionaries. Best: the median over features of the largest "
    "correlation of activations with a feature of that dictionary. Match: a correlation of 0.7 or more. Found in the "
    "other: features said to be of one model alone that have a match in the dictionary of the other model, so they are "
    "not. With one model: the median correlation of a feature with what it is when only that model is read."
)
DICTIONARIES = (
    "Features of the models' own dictionaries by the class of the crosscoder's feature that matches them (none: no "
    "feature of it does): how universal are they? Shared: those that have a match in the other model's dictionary. A "
    "feature without one may be in the other model all the same: two dictionaries do not find the same features."
)
NAMES = {"a": "A alone", "both": "both", "b": "B alone", "none": "none", "confirmed_a": "A alone, confirmed",
         "confirmed_b": "B alone, confirmed"}  # fmt: skip


def section(tables: Mapping[str, Any]) -> str:
    """The table `crosscoder`."""
    rows = tables.get("crosscoder") or []
    return "\n".join(part(rows) for part in (_belongs, _classes, _dictionaries)) if rows else ""


def _belongs(rows: list[Row]) -> str:
    header = ["crosscoder", "A", "B", "architecture", "L0", "fire", "A alone", "both", "B alone", "shrunk", "decoupled",
              "undecided", "confirmed", "loss recovered A", "B"]  # fmt: skip
    lines = []
    for row in rows:
        at = next(x for x in row["by_threshold"] if x["threshold"] == 0.1)
        kinds = [row["exclusive"][name] for name in ("shrunk", "decoupled", "undecided", "confirmed")]
        loss = [model["loss_recovered_zero"] for model in row["recovered"]]
        fire = f"{row['firing']} of {row['features']}"
        first = [row["name"], row["a"], row["b"], row["architecture"], row["l0"], fire]
        lines.append([*first, at["a"], at["both"], at["b"], *kinds, *loss])
    return table("Crosscoders: features of two models", header, lines, BELONGS)


def _classes(rows: list[Row]) -> str:
    header = ["crosscoder", "class", "features", "best in A", "best in B", "match in both", "in A alone", "in B alone",
              "in neither", "found in the other", "with A alone", "with B alone"]  # fmt: skip
    lines = [
        [row["name"], NAMES[c["class"]], c["features"], c["best"]["a"], c["best"]["b"],
         *(c["matched"][where] for where in ("both", "a", "b", "neither")), c["contradicted"],
         c["alone"]["a"], c["alone"]["b"]]
        for row in rows for c in row["classes"]
    ]  # fmt: skip
    return table("Crosscoders: their classes and the models' own dictionaries", header, lines, CLASSES)


def _dictionaries(rows: list[Row]) -> str:
    header = ["crosscoder", "dictionary", "class of the match", "features", "best in the other", "shared"]
    lines = [
        [row["name"], row[side], NAMES[c["class"]], c["features"], c["median"], _share(c)]
        for row in rows for side in ("a", "b") for c in row["dictionaries"][side]
    ]  # fmt: skip
    return table("Crosscoders: universality of the dictionaries' features", header, lines, DICTIONARIES)


def _share(row: Row) -> str | None:
    return f"{row['shared']} ({percent(row['shared'] / row['features'])})" if row["features"] else None
