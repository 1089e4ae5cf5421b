"""Opening the crosscoders of a comparison: of two transformers, of each of which a dictionary is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from monosem_jax.activations.store.store import find_store, read_manifest
from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.relations.base import Compared
from monosem_jax.load import load_run
from monosem_jax.models.base import SITES_BETWEEN
from monosem_jax.models.joined import join
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import separated
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages.compared_sets import Opened, model_of, names_of
from monosem_jax.text.directory import Text


class OpenedCrosscoder(NamedTuple):
    """A crosscoder under its name in tables; `parts`: for each of its models the number of a dictionary among the runs
    that are compared."""

    name: str
    run: SaeRun
    parts: tuple[int, ...]


def open_crosscoders(paths: str, runs: Sequence[Opened], text: Text) -> list[OpenedCrosscoder]:
    """The crosscoders of a comma-separated list, none for "".

    Raises BadInput on what is no finished crosscoder of the stores of two transformers, on one that is given twice, on
    one of another text, and where no dictionary of one of its transformers, at its site, is among `runs`.
    """
    found: list[SaeRun] = []
    for path in separated(paths, "config.crosscoder") if paths else []:
        run = _open(path)
        if any(run.path == other.path for other in found):
            raise BadInput(f"config.crosscoder has {run.path} twice: expected different runs")
        found.append(run)
    places = [(model_of(o.run.transformer), o.run.site) for o in runs]
    parts = [tuple(_number(run, place, places) for place in _places(run, text)) for run in found]
    names = names_of([run.path for run in found])
    return [OpenedCrosscoder(f"crosscoder {n}", r, p) for n, r, p in zip(names, found, parts, strict=True)]


def _open(path: str) -> SaeRun:
    run = load_run(path)
    if not isinstance(run, SaeRun) or run.summary is None:
        raise BadInput(f"config.crosscoder: {path} is not a finished train_sae run")
    config, parts = run.sae.config, run.sae.parts
    if not isinstance(config, CrosscoderConfig) or len(parts) != 2:
        what = f"{config.architecture} with parts of widths {tuple(parts)}"
        raise BadInput(f"config.crosscoder: {path} is {what}: expected a crosscoder of two models")
    return run


def _places(run: SaeRun, text: Text) -> list[tuple[str, str]]:
    """(transformer, site) of each of the two stores that a crosscoder was trained on."""
    manifests = [_manifest(run, name) for name in ("source", "source_2")]
    for manifest in manifests:
        for key, what in (("tokenizer_sha256", "tokenizer"), ("corpus_sha256", "corpus")):
            if manifest.get(key) != text.manifest.get(key):
                raise BadInput(f"config.crosscoder: {run.path} was trained with another {what} than config.runs")
    models = [str(m["model"]) for m in manifests]
    if models[0] == models[1]:
        raise BadInput(
            f"config.crosscoder: {run.path} is of two sites of one transformer: expected stores of two transformers"
        )
    return [(model, str(m["site"])) for model, m in zip(models, manifests, strict=True)]


def _manifest(run: SaeRun, name: str) -> dict[str, Any]:
    """That of a store that a crosscoder was trained on."""
    location = find_store(run.parent(name)) if name in run.record["parents"] else None
    manifest = read_manifest(location) if location is not None else {}
    if not (manifest.get("model") and manifest.get("site")):
        raise BadInput(
            f"config.crosscoder: {run.path} was not trained on two stores of transformers, which say whose rows they "
            "have: expected config.source=STORE_A,STORE_B"
        )
    return manifest


def _number(run: SaeRun, place: tuple[str, str], places: Sequence[tuple[str, str | None]]) -> int:
    """The first dictionary of a transformer and site."""
    if place not in places:
        raise BadInput(
            f"config.crosscoder: {run.path} reads {place[1]} of the transformer {place[0][:12]}: expected a dictionary "
            f"of it in config.runs, which are of {', '.join(f'{s} of {m[:12]}' for m, s in dict.fromkeys(places))}"
        )
    return places.index(place)


def crosscoder_sets(opened: Sequence[OpenedCrosscoder], sets: Sequence[Compared]) -> list[Compared]:
    """The features of crosscoders, which are read from their models joined; `sets` begin with the dictionaries."""
    joined: dict[tuple[int, ...], TappedModel] = {}  # one object for all of the same models, which share its pass
    found = []
    for each in opened:
        of = [sets[i] for i in each.parts]
        tapped = joined.setdefault(each.parts, join([s.features.tapped for s in of]))
        features = feature_sets.dictionary(each.name, tapped, PublishedSAE(each.run.sae, each.run.params))
        config = each.run.sae.config
        assert isinstance(config, CrosscoderConfig)
        found.append(
            Compared(
                features,
                "crosscoder",
                SITES_BETWEEN.join(s.model for s in of),
                f"crosscoder ({config.activation})",
                each.run.config.get("seed"),
                parts=each.parts,
            )
        )
    return found
