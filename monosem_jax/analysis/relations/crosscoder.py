"""Crosscoders of two models: which features both models have, and what the models' own dictionaries say of them."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from monosem_jax.analysis.joint.pair_sums import Pair
from monosem_jax.analysis.model_diff.recovered import recovered
from monosem_jax.analysis.model_diff.sides import Sides, sides
from monosem_jax.analysis.model_diff.table import classes, difference, median
from monosem_jax.analysis.model_diff.text_rows import TextRows
from monosem_jax.analysis.relations.base import Relation, Relations
from monosem_jax.analysis.universality.matches import STABLE, check_some_vary, largest
from monosem_jax.runtime.config import check_bounds, field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.rng import stream
from monosem_jax.sae.published import PublishedSAE

SIDES = ("a", "b")


@dataclasses.dataclass(frozen=True)
class CrosscoderConfig:
    """On how much text crosscoders are measured beside the correlations, which are those of all of it."""

    contexts: int = field(512, at_least=1)
    """Random contexts whose tokens decide whether a feature belongs to one model or to both."""
    loss_contexts: int = field(256, at_least=1)
    """Contexts, drawn at random, on which each model is run with its half of the reconstruction."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_bounds(self, "config.relations.crosscoder.")


class Best(NamedTuple):
    """For each feature of a set the feature of another with the largest correlation of activations (-1: none), and that
    correlation (NaN)."""

    feature: np.ndarray
    correlation: np.ndarray

    @property
    def matched(self) -> np.ndarray:
        """[F] the features that have a match."""
        return np.nan_to_num(self.correlation, nan=-1) >= STABLE


def needs(study: Relations, config: CrosscoderConfig) -> list[Pair]:
    """The sums of every crosscoder with the dictionaries of its two models, and of these with each other."""
    found = []
    for i in study.of_role("crosscoder"):
        a, b = study.sets[i].parts
        found += [Pair(i, a), Pair(i, b), Pair(a, b)]
    return found


def find(study: Relations, config: CrosscoderConfig) -> None:
    """Puts the table `crosscoder`, a row for each crosscoder, and the arrays `crosscoder` (NAME|relative_norm, …). Says
    nothing without crosscoders."""
    found = _Found(study, config)
    rows = []
    for i in study.of_role("crosscoder"):
        try:
            rows.append(found.row(i))
        except BadInput as e:
            study.gap("crosscoder", f"{study.sets[i].name}: {e}")
    if rows:
        study.tables["crosscoder"] = rows
        study.arrays["crosscoder"] = found.arrays
        counts = {row["name"]: {c["class"]: c["features"] for c in row["classes"]} for row in rows}
        study.summary["crosscoder"] = counts


class _Found:
    """What is found of crosscoders, one after the other. Matches of dictionaries are computed once."""

    def __init__(self, study: Relations, config: CrosscoderConfig):
        self._study, self._config = study, config
        self._best: dict[tuple[int, int], Best] = {}
        self.arrays: dict[str, np.ndarray] = {}

    def row(self, i: int) -> dict[str, Any]:
        study, of = self._study, self._study.sets[i]
        measured = self._sides(i)
        masks = classes(measured)
        of_models = [self.best(i, d) for d in of.parts]
        models = recovered(self._models(i), self._sae(i), self._some(self._config.loss_contexts), batch=study.batch)
        row = {
            "name": of.name,
            "a": study.sets[of.parts[0]].name,
            "b": study.sets[of.parts[1]].name,
            "architecture": of.architecture,
            "l0": float(measured.fired.sum() / measured.rows),
            **difference(measured),
            "recovered": models,
            "classes": class_rows(measured, masks, of_models),
            "dictionaries": {
                side: dictionary_rows(self.best(d, i), self.best(d, other), masks)
                for side, d, other in zip(SIDES, of.parts, of.parts[::-1], strict=True)
            },
        }
        arrays = {"relative_norm": measured.relative, "relative_norm_refitted": measured.relative_refitted}
        arrays |= {"partner": measured.partner, "fired": measured.fired, "confirmed": masks["confirmed"]}
        for side, best in zip(SIDES, of_models, strict=True):
            arrays |= {f"feature_{side}": best.feature, f"correlation_{side}": best.correlation}
        self.arrays |= {f"{of.name}|{key}": x for key, x in arrays.items()}
        return row

    def best(self, i: int, j: int) -> Best:
        """The best features of set j for those of set i."""
        if (i, j) not in self._best:
            self._best[i, j] = self._find_best(i, j)
        return self._best[i, j]

    def _find_best(self, i: int, j: int) -> Best:
        study = self._study
        if not study.fits(Pair(i, j)):
            found = study.by_candidates(i, j)
            return Best(found.feature, found.correlation)
        sums = study.pair(i, j)
        r = sums.correlation()
        check_some_vary(r, sums.a.name, sums.b.name, sums.tokens)
        return Best(*largest(r))

    def _sides(self, i: int) -> Sides:
        of = self._study.sets[i].features
        rows = TextRows(of.tapped, self._some(self._config.contexts), self._study.batch)
        with progress(rows.n_rows, of.name, "rows") as bar:
            return sides(self._sae(i), rows, advance=bar.update)

    def _sae(self, i: int) -> PublishedSAE:
        found = self._study.sets[i].features.encoder
        assert isinstance(found, PublishedSAE)
        return found

    def _models(self, i: int) -> Any:
        return tuple(self._study.sets[d].features.tapped for d in self._study.sets[i].parts)

    def _some(self, n: int) -> np.ndarray:
        """n contexts of the text drawn at random, or all if there are fewer."""
        tokens, rng = np.asarray(self._study.heldout.tokens), stream("crosscoder.contexts", self._study.seed)
        return tokens[np.sort(rng.permutation(len(tokens))[:n])]


def class_rows(measured: Sides, masks: dict[str, np.ndarray], best: list[Best]) -> list[dict[str, Any]]:
    """A row for each class of features of a crosscoder: `a`, `both`, `b`, and those of one model that are confirmed.

    `best`: medians of the best correlation with a feature of A's and of B's dictionary. `matched`: how many have a
    match of STABLE or more in both dictionaries, in A's alone, in B's alone, in neither. `contradicted`: of a class of
    one model alone, how many have one in the other model's dictionary. `alone`: medians of `Sides.alone`.
    """
    groups = {name: masks[name] for name in ("a", "both", "b")}
    groups |= {f"confirmed_{side}": masks[side] & masks["confirmed"] for side in SIDES}
    in_a, in_b = (m.matched for m in best)
    found = []
    for name, g in groups.items():
        other = {"a": in_b, "b": in_a}.get(name.removeprefix("confirmed_"))
        matched = {"both": in_a & in_b, "a": in_a & ~in_b, "b": in_b & ~in_a, "neither": ~in_a & ~in_b}
        found.append({
            "class": name,
            "features": int(g.sum()),
            "best": {side: median(m.correlation[g]) for side, m in zip(SIDES, best, strict=True)},
            "matched": {where: int((g & m).sum()) for where, m in matched.items()},
            "contradicted": None if other is None else int((g & other).sum()),
            "alone": {side: median(measured.alone[g, k]) for k, side in enumerate(SIDES)},
        })  # fmt: skip
    return found


def dictionary_rows(there: Best, across: Best, masks: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Universality of the features of one model's dictionary, by the class of the crosscoder's feature that matches
    them with STABLE or more (`none`: no feature does).

    Args:
      there: the best features of the crosscoder.
      across: the best features of the other model's dictionary.

    `features` that fire, `median` of their best correlation with a feature of the other model's dictionary, `shared`:
    how many have a match there of STABLE or more.
    """
    alive = there.feature >= 0
    found = []
    for name in ("a", "both", "b", "none"):
        g = alive & (there.matched & masks[name][np.maximum(there.feature, 0)] if name != "none" else ~there.matched)
        found.append({
            "class": name,
            "features": int(g.sum()),
            "median": median(across.correlation[g]),
            "shared": int((g & across.matched).sum()),
        })  # fmt: skip
    return found


CROSSCODER = Relation(needs, find)
