"""Motifs of a dictionary: families of one token, trigrams, memorised passages; each beside chance."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.motifs.families import TOLD, families
from monosem_jax.analysis.motifs.memorised import memorised
from monosem_jax.analysis.motifs.places import firing_places
from monosem_jax.analysis.motifs.result import Motifs
from monosem_jax.analysis.motifs.trigrams import candidates as trigram_candidates
from monosem_jax.analysis.motifs.trigrams import trigrams
from monosem_jax.analysis.records import TokenInContext
from monosem_jax.analysis.relations.base import Relation, Relations, no_pairs
from monosem_jax.analysis.token_in_context import ONE_TOKEN, LabelledTokens, candidates, token_in_context
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.rng import stream


@dataclasses.dataclass(frozen=True)
class MotifsConfig:
    """How motifs are looked for."""

    contexts: int = 4096
    """Held-out contexts in which trigrams and passages are looked for."""
    loose_share: float = 0.5
    """Families are of features with at least this share of their firings on one token; those with 90 % are counted
    beside."""
    most: int = 50
    """Families, trigrams and memorised passages that are listed."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(self, "config.relations.motifs.", "contexts", "most")
        if not 0 < self.loose_share <= 1:
            raise BadInput(
                f"config.relations.motifs.loose_share is {self.loose_share}: expected more than 0, at most 1"
            )


def motifs(study: Relations, config: MotifsConfig) -> None:
    """The motifs of the first dictionary."""
    features, scan = study.sets[0].features, study.scanned(0)
    rng = stream("motifs.labels", study.seed)
    documents = np.asarray(study.heldout.documents)
    order = rng.permutation(len(study.text.labels))
    mixed = dataclasses.replace(study.heldout, documents=order[documents])
    found, shuffled = (
        token_in_context(
            features,
            scan,
            LabelledTokens(study.heldout.tokens, of_tokens, study.labels, study.heldout.strings),
            least_share=config.loose_share,
            batch=study.batch,
            seed=study.seed,
        )
        for of_tokens in (study.labels_of(study.heldout), study.labels_of(mixed))
    )
    part = slice(config.contexts)
    places = firing_places(
        features, study.heldout.tokens[part], documents[part], batch=study.batch, mesh=study.mesh
    )  # fmt: skip
    weights = functools.partial(_weights, features, study.usual_tokens)
    chance = places.shuffled(study.seed)
    table = Motifs(
        set=features.name,
        one_token={f"{s:g}": len(candidates(scan, s)) for s in (ONE_TOKEN, config.loose_share)},
        families=tuple(families(found)[: config.most]),
        told_apart=_told(found),
        told_apart_shuffled=_told(shuffled),
        trigrams=tuple(trigrams(places, weights, study.usual_tokens, study.heldout.strings)[: config.most]),
        trigram_candidates=len(trigram_candidates(places)),
        trigrams_shuffled=len(trigram_candidates(chance)),
        memorised=tuple(memorised(places, study.heldout.strings)[: config.most]),
        memorised_shuffled=len(memorised(chance, study.heldout.strings)),
    )
    study.tables["motifs"] = dataclasses.asdict(table)


def _weights(features: FeatureSet, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
    site, columns = features.effect_site
    return logit_weights(features.tapped, site, features.directions[rows][:, columns], tokens)


def _told(found: dict[int, TokenInContext]) -> int:
    """How many features' firings a label tells from the token's other occurrences."""
    return sum((r.label_auc or 0) >= TOLD for r in found.values())


MOTIFS = Relation(needs=no_pairs, find=motifs)
