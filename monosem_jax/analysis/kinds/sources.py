"""Which tokens cause the features of every set: the sources of their top examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.sources.summary import SourceSums, source_sums
from monosem_jax.analysis.sources.table import source_row
from monosem_jax.analysis.subjects import Subject
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import progress


def sources(study: Study) -> None:
    """A row per set in the table; records get the sources of their top examples."""
    rows: dict[str, Any] = {}
    for subject in study.subjects:
        try:
            rows[subject.name] = _of_set(study, subject)
        except BadInput as e:
            study.gap(f"sources of {subject.name}", str(e))
    if rows:
        study.tables["sources"] = rows


def _of_set(study: Study, subject: Subject) -> dict[str, Any]:
    scan, k = subject.heldout, study.n_examples
    feature, n = np.nonzero(scan.top_context[:, :k] >= 0)
    context, position, value = (a[feature, n] for a in (scan.top_context, scan.top_position, scan.top_value))
    if not len(feature):
        raise BadInput("no feature fires on the text")
    with progress(len(feature), f"sources of {subject.name}", "examples") as bar:
        found = source_sums(
            subject.features, study.heldout.tokens, feature, context, position, batch=study.batch, advance=bar.update
        )
    study.evidence[subject.name].sources = _Records(study, found, feature, context, position)
    return source_row(found, feature, value)


class _Records:
    """The sources of the top examples of a feature, in their order."""

    def __init__(self, study: Study, sums: SourceSums, feature: np.ndarray, context: np.ndarray, position: np.ndarray):
        self._text, self._sums, self._context, self._position = study.heldout, sums, context, position
        self._begin = np.searchsorted(feature, np.arange(feature.max() + 2))

    def __call__(self, i: int):
        if i + 1 >= len(self._begin):
            return ()
        return tuple(
            self._sums.record(p, int(self._position[p]), self._text.tokens[self._context[p]], self._text.strings)
            for p in range(self._begin[i], self._begin[i + 1])
        )
