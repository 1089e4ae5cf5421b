"""How good a dictionary is before one looks at any feature: its density spectrum, dead features, twins."""

from __future__ import annotations

import numpy as np

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.metrics import ULTRALOW_DENSITY, ULTRALOW_TOKENS
from monosem_jax.analysis.spectrum import spectrum
from monosem_jax.analysis.subjects import Subject
from monosem_jax.analysis.twins import twins


def health(study: Study) -> None:
    """A row of figures per set; those of the dictionary are in the summary."""
    rows = {subject.name: _row(subject) for subject in study.subjects}
    study.tables["health"] = rows
    study.summary |= rows[study.features.name]


def _row(subject: Subject) -> dict:
    density = subject.heldout.density
    enough = subject.heldout.tokens >= ULTRALOW_TOKENS
    return {
        "n_features": len(density),
        "scanned_tokens": subject.heldout.tokens,
        "l0": float(density.sum()),
        **spectrum(density),
        "dead": int(np.sum(density == 0)),
        "ultralow": int(np.sum((density > 0) & (density < ULTRALOW_DENSITY))) if enough else None,
        "twins": twins(subject.features.directions),
    }
