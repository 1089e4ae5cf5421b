"""Opening the dictionaries of a comparison: finished runs and members of sweeps, of one text."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.relations.base import Compared
from monosem_jax.load import check_control, control, feature_set, is_control, load_run
from monosem_jax.models.run import TransformerRun
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import separated
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.run import SaeRun, SweepRun
from monosem_jax.stages.evaluate import open_dictionary
from monosem_jax.text.directory import Text

TRAINED_BY = ("steps", "batch_size", "learning_rate", "optimizer", "schedule")


class Opened(NamedTuple):
    """A dictionary of a comparison, under the name that it has in tables."""

    name: str
    run: SaeRun


def open_runs(paths: str, key: str) -> tuple[list[Opened], list[str]]:
    """The dictionaries of a comma-separated list of runs and sweeps, and the reasons why some are left out.

    Members of a sweep come in rising order of their size, without those that diverged. Names are the ends of paths that
    tell them apart. Raises BadInput on an empty list, on a run that is given twice, and on what is no finished run.
    """
    found: list[SaeRun] = []
    left_out = []
    for path in separated(paths, key) if paths else []:
        opened = load_run(path)
        if isinstance(opened, SaeRun) and opened.summary is not None and "transformer" not in opened.record["parents"]:
            _check_no_crosscoder(opened, key)
        if not isinstance(opened, SweepRun):
            found.append(open_dictionary(path))
            continue
        if opened.table is None:
            raise BadInput(f"{path} is an unfinished sweep: expected a finished one")
        for row in sorted(opened.table, key=lambda row: row.get("n_features") or 0):
            if row.get("diverged_at_step") is None:
                found.append(open_dictionary(str(opened.path / "members" / row["name"])))
            else:
                left_out.append(f"{row['name']} of {path} diverged at step {row['diverged_at_step']}: left out")
    if not found:
        raise BadInput(f"{key} is {paths!r}: expected directories of finished train_sae runs, with commas between")
    places = [run.path for run in found]
    if len(set(places)) < len(places):
        twice = next(p for p in places if places.count(p) > 1)
        raise BadInput(f"{key} has {twice} twice: expected different runs")
    return [Opened(name, run) for name, run in zip(names_of(places), found, strict=True)], left_out


def _check_no_crosscoder(run: SaeRun, key: str) -> None:
    """Raises BadInput on a crosscoder of two models, which has no transformer of its own."""
    if isinstance(run.sae.config, CrosscoderConfig):
        raise BadInput(
            f"{key} has {run.path}, a crosscoder of several models: expected dictionaries of one model each there, and "
            "crosscoders in config.crosscoder"
        )


def check_controls(runs: Sequence[Opened], controls: Sequence[Opened]) -> None:
    """Raises BadInput on a control of a trained transformer, and on one among the runs that is compared with a
    dictionary: it would be taken for one of another model."""
    for each in controls:
        check_control(each.run)
    known = [is_control(each.run) for each in runs]
    if len(set(known)) > 1:
        path = runs[known.index(True)].run.path
        raise BadInput(f"config.runs has {path}, a dictionary of a control transformer: expected it in config.control")


def names_of(paths: Sequence[pathlib.Path]) -> list[str]:
    """The shortest ends of paths, which are all different, that tell them apart."""
    n = 1
    while len(set(names := ["/".join(p.parts[-n:]) for p in paths])) < len(paths):
        n += 1
    return names


def check_same_text(opened: Sequence[Opened], split: str) -> Text:
    """The text of the first dictionary's transformer; raises BadInput unless all have its tokenizer and split."""
    first = opened[0]
    text = first.run.transformer.text
    text.check_split(split)
    for other in opened[1:]:
        theirs = other.run.transformer.text
        for key, what in (("tokenizer_sha256", "tokenizer"), ("corpus_sha256", "corpus")):
            if text.manifest.get(key) != theirs.manifest.get(key):
                raise BadInput(
                    f"{first.run.path} and {other.run.path} are of transformers with another {what}: expected the same"
                )
        if theirs.path != text.path and not _equal(text.tokens(split), theirs.tokens(split)):
            raise BadInput(
                f"{first.run.path} and {other.run.path} are of transformers with another {split} split "
                f"({text.tokens(split).shape[0]} and {theirs.tokens(split).shape[0]} contexts): expected the same "
                "text.seed, fractions and context_length"
            )
    return text


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and _hash(a) == _hash(b)


def _hash(tokens: np.ndarray) -> str:
    found = hashlib.sha256()
    for start in range(0, len(tokens), 4096):
        found.update(np.ascontiguousarray(tokens[start : start + 4096], np.int64).tobytes())
    return found.hexdigest()


def compared_sets(runs: Sequence[Opened], controls: Sequence[Opened]) -> list[Compared]:
    """The sets of a comparison: dictionaries, controls, and the neurons of every transformer and site."""
    opened = [("dictionary", each) for each in runs] + [("control", each) for each in controls]
    params: dict[str, Any] = {}
    names = {"dictionary": "{}", "control": "control" if len(controls) == 1 else "control {}"}
    sets = []
    for role, each in opened:
        model = model_of(each.run.transformer)
        features = (feature_set if role == "dictionary" else control)(each.run, names[role].format(each.name))
        # One object for all dictionaries of a transformer, so that they share its forward pass.
        tapped = dataclasses.replace(features.tapped, params=params.setdefault(model, features.tapped.params))
        architecture, seed = each.run.config["sae"]["architecture"], each.run.config.get("seed")
        features = dataclasses.replace(features, tapped=tapped)
        sets.append(Compared(features, role, model, architecture, seed, recipe=recipe_of(each.run)))
    return [*(_with_neurons(s, sets) for s in sets), *_all_neurons(sets)]


def _places(sets: Sequence[Compared]) -> list[tuple[str, str]]:
    """The different (transformer, site) whose neurons there are."""
    return list(dict.fromkeys((s.model, s.features.tapped.site) for s in sets))


def _with_neurons(of: Compared, sets: Sequence[Compared]) -> Compared:
    place = _places(sets).index((of.model, of.features.tapped.site))
    return dataclasses.replace(of, neurons=len(sets) + place)


def _all_neurons(sets: Sequence[Compared]) -> list[Compared]:
    found = []
    for n, (model, site) in enumerate(_places(sets)):
        of = next(s for s in sets if (s.model, s.features.tapped.site) == (model, site))
        name = f"neurons of {of.name}" if n else "neurons"
        found.append(Compared(feature_sets.neurons(of.features.tapped, name), "neurons", model))
    return found


def recipe_of(run: SaeRun) -> str:
    """What decides how a dictionary is trained, without seeds, its size, and how its training is watched."""
    sae = {key: value for key, value in run.config["sae"].items() if key != "n_features"}
    train = {key: run.config.get("train", {}).get(key) for key in TRAINED_BY}
    return json.dumps([sae, train, run.config.get("resample")], sort_keys=True)


def model_of(run: TransformerRun) -> str:
    """What tells transformers apart: the hash of their parameters, or of those that do not have one, where they are."""
    return str((run.summary or {}).get("params_sha256") or run.path)
