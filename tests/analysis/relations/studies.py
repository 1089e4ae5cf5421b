"""A study of planted dictionaries in which one kind of relation was looked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.joint.pair_sums import pair_sums
from monosem_jax.analysis.relations.base import Compared, Relation, Relations
from monosem_jax.text.directory import Text


def study_of(relation: Relation, text: Text, sets: Sequence[Compared], config: Any, **changes: Any) -> Relations:
    """`changes`: fields of the study. Sets whose neurons are not among `sets` have none."""
    here = range(len(sets))
    chosen = [s if s.neurons in here else dataclasses.replace(s, neurons=None) for s in sets]
    study = Relations(chosen, text, ExampleText.of(text, "heldout"), text.path, 0, 50, **changes)
    pairs = [p for p in dict.fromkeys(relation.needs(study, config)) if study.fits(p)]
    if pairs:
        sums = pair_sums([s.features for s in chosen], pairs, study.heldout.tokens, batch=50)
        study.sums.update(zip(pairs, sums, strict=True))
    relation.find(study, config)
    return study
