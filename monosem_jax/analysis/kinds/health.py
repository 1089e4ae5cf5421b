"""How good a dictionary is before one looks at any feature: its density spectrum, dead features, twins."""

from __future__ import annotations

from monosem_jax.analysis import health as health_lib
from monosem_jax.analysis.kinds.base import Study


def health(study: Study) -> None:
    """A row of figures per set; those of the dictionary are in the summary."""
    rows = {
        s.name: {"n_features": s.features.n_features, **health_lib.health(s.heldout, s.features.directions)}
        for s in study.subjects
    }
    study.tables["health"] = rows
    study.summary |= rows[study.features.name]
