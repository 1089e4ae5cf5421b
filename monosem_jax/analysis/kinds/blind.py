"""Material for people who rate features and neurons without knowing which is which."""

from __future__ import annotations

import dataclasses

import numpy as np

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.rating.material import write_material
from monosem_jax.runtime.errors import BadInput


@dataclasses.dataclass(frozen=True)
class RatingConfig:
    """Blind rating: `rating.json` is what raters see, `rating_key.json` says which item is what."""

    n_per_set: int = 20
    """Features, and as many neurons; 0: none."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.n_per_set < 0:
            raise BadInput(f"config.kinds.rating.n_per_set is {self.n_per_set}: expected a number, or 0 for none")


def rating_material(study: Study, config: RatingConfig) -> None:
    """Writes both files for the dictionary and the neurons."""
    if not config.n_per_set:
        return
    subjects = [study.features, study.neurons]
    sets = [s.features for s in subjects]

    def weights_of(features):
        site, _ = features.effect_site

        def weights(chosen) -> np.ndarray:
            found = np.full((len(chosen), len(study.heldout.strings)), np.nan, np.float32)
            directions = features.effect_directions[np.asarray(chosen)]
            found[:, study.usual_tokens] = logit_weights(features.tapped, site, directions, study.usual_tokens)
            return found

        return weights

    ids = write_material(
        study.path,
        sets,
        [s.heldout for s in subjects],
        study.heldout,
        {s.name: weights_of(s) for s in sets},
        n_per_set=config.n_per_set,
        seed=study.seed,
    )
    study.summary["rating_items"] = len(ids)
