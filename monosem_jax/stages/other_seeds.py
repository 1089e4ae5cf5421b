"""Dictionaries beside one: of other seeds, and how stable its features are over them; of the control transformer."""

from __future__ import annotations

import dataclasses

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.universality.matches import STABLE, stability
from monosem_jax.load import control, feature_set
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import separated
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages.compared_sets import model_of, recipe_of
from monosem_jax.stages.evaluate import open_dictionary


def seed_paths(paths: str) -> list[str]:
    """The directories of a comma-separated list; none for ""."""
    return separated(paths, "config.seeds") if paths else []


def open_seeds(found: SaeRun, features: FeatureSet, paths: str) -> list[FeatureSet]:
    """The dictionaries of other seeds, named "seed 1", "seed 2", …; they share the transformer of `features`.

    Raises BadInput unless they differ from `found` by their seed alone: transformer, site, number of features and
    recipe (`recipe_of`) are the same.
    """
    opened: list[FeatureSet] = []
    seen = {found.path}
    for path in seed_paths(paths):
        other = open_dictionary(path)
        if other.path in seen:
            raise BadInput(f"config.seeds has {other.path}, which is compared already: expected different dictionaries")
        seen.add(other.path)
        theirs = feature_set(other, f"seed {len(opened) + 1}")
        for what, ours, there in (
            ("transformer", model_of(found.transformer), model_of(other.transformer)),
            ("site", found.site, other.site),
            ("number of features", features.n_features, theirs.n_features),
            ("recipe", recipe_of(found), recipe_of(other)),
        ):
            if ours != there:
                raise BadInput(f"config.seeds {path} has another {what}, {there}: expected that of config.run, {ours}")
        if found.config.get("seed") is not None and found.config["seed"] == other.config.get("seed"):
            raise BadInput(f"config.seeds {path} has the seed of config.run, {other.config['seed']}: expected another")
        opened.append(dataclasses.replace(theirs, tapped=features.tapped))
    return opened


def find_stability(study: Study, seeds: list[FeatureSet]) -> None:
    """Puts the stability of every feature into the evidence, and its median into the summary: None without seeds."""
    neighbours = [study.features.heldout.neighbours.get(s.name) for s in seeds]
    known = [n for n in neighbours if n is not None and np.isfinite(n.correlation[:, 0]).any()]
    if seeds and len(known) < len(seeds):
        study.gap("stability", f"{len(seeds) - len(known)} of {len(seeds)} seeds have no feature to compare")
    if not known:
        study.summary |= {"stability": None, "stable_features": None}
        return
    found = stability([n.correlation[:, 0] for n in known])
    alive = np.isfinite(found)
    study.evidence[study.features.name].stability = {int(i): float(found[i]) for i in np.flatnonzero(alive)}
    share = float(np.mean(found[alive] > STABLE))
    study.summary |= {"stability": float(np.median(found[alive])), "stable_features": share}


def open_control(found: SaeRun, path: str) -> list[FeatureSet]:
    """The control's dictionary, if there is one; raises BadInput when it is of another site or text."""
    if not path:
        return []
    other = open_dictionary(path)
    if other.site != found.site:
        raise BadInput(f"config.control {path} is of {other.site}: expected the site of config.run, {found.site}")
    ours, theirs = (run.transformer.text.manifest for run in (found, other))
    for key in ("tokenizer_sha256", "corpus_sha256"):
        if ours.get(key) != theirs.get(key):
            raise BadInput(
                f"config.control {path} is of a transformer with another {key.split('_')[0]}: expected the same"
            )
    return [control(other)]
