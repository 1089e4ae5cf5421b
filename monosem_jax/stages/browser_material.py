"""What the browser of features shows, gathered from run directories."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from monosem_jax.analysis.records_parse import plain
from monosem_jax.analysis.run import TABLES, AnalyzeRun, CompareRun
from monosem_jax.load import load_run
from monosem_jax.models.run import TransformerRun
from monosem_jax.report.browser.material import ComparisonMaterial, DictionaryMaterial
from monosem_jax.report.browser.model import write_model
from monosem_jax.report.browser.overview import figures, overview, starts
from monosem_jax.report.browser.tokenizer import NotServed
from monosem_jax.runtime.config import from_dict, upgrade
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages.browser_logits import logit_histograms
from monosem_jax.stages.browser_model import served_model
from monosem_jax.training.config import TrainConfig

R = TypeVar("R")
SPARSITY = ("l1_coefficient", "k", "l0_coefficient", "target_l0")


def dictionary_material(id: str, analysis: AnalyzeRun) -> DictionaryMaterial:
    """The dictionary of an analysis, under the name that it has in addresses. What needs its run, or the transformer's,
    is absent when that is not where it was."""
    absent: dict[str, str] = {}
    dictionary = _opened("dictionary", lambda: analysis.dictionary, absent)
    transformer = None if dictionary is None else _opened("transformer", lambda: dictionary.transformer, absent)
    rating = analysis.path / "rating.json"
    if not rating.exists():
        absent["rating"] = "the analysis made no rating material (kind rating)"
    whole = dictionary if transformer is not None else None
    return DictionaryMaterial(
        id=id,
        name=id,
        run=_provenance(analysis, dictionary, transformer),
        site=str(dictionary.site or "") if dictionary is not None else "",
        n_features=int((analysis.summary or {})["n_features"]),
        records=analysis.records,
        records_folder=analysis.path / "records",
        overview=_overview(analysis, dictionary, transformer),
        figures=figures((dictionary and dictionary.summary) or {}, analysis.summary or {}),
        vectors=None if dictionary is None else _vectors(dictionary, absent),
        rating=read_json(rating, dict) if rating.exists() else None,
        model=None if whole is None else _model(whole, absent),
        logits=None if whole is None else logit_histograms(whole, absent),
        absent=absent,
    )


def _opened(name: str, open_it: Callable[[], R], absent: dict[str, str]) -> R | None:
    """A run that the analysis was made from, or None when it is not where it was."""
    try:
        return open_it()
    except BadInput as e:
        print(f"note: {e}: the browser has no model and no dictionary vectors that need it", file=sys.stderr)
        gone = f"the run of the {name} was not where it had been when this browser was written"
        absent.update({part: gone for part in ("model", "logits", *(["vectors"] if name == "dictionary" else []))})
        return None


def _model(dictionary: SaeRun, absent: dict[str, str]) -> Callable[[pathlib.Path, str], int] | None:
    """What writes the model that the page runs, or None with the reason in `absent`."""
    try:
        served = served_model(dictionary)
    except NotServed as e:
        absent["model"] = str(e)
        return None
    return lambda folder, key: write_model(folder, key, served)


def _provenance(
    analysis: AnalyzeRun, dictionary: SaeRun | None, transformer: TransformerRun | None
) -> dict[str, str | float | None]:
    """What was trained on what. `X sha256` is the hash of the run named X."""
    parent = analysis.record["parents"]["run"]
    found: dict[str, str | float | None] = {"dictionary": _end(parent), "dictionary sha256": parent["sha256"]}
    if dictionary is not None:
        found |= _trained(dictionary)
    if transformer is not None:
        found |= _transformer(transformer)
        found["text"] = _end({"path": transformer.config.get("text", {}).get("corpus") or ""}) or None
    found["records measured on"] = f"{(analysis.summary or {}).get('scanned_tokens', 0):,} held-out tokens"
    found["analysis"] = analysis.path.name
    for package in ("monosem_jax", "jax"):
        found[package] = analysis.record.get("versions", {}).get(package)
    found["git revision"] = analysis.record.get("git")
    return found


def _end(record: Mapping[str, Any]) -> str:
    """The last part of a recorded path: the rest is nobody's business."""
    return str(record.get("path", "")).rstrip("/").rpartition("/")[2]


def _trained(dictionary: SaeRun) -> dict[str, str | float | None]:
    """How the dictionary was trained, and from what."""
    summary, config = dictionary.summary or {}, dictionary.config
    train = config.get("train", {})
    found: dict[str, str | float | None] = {
        "architecture": config.get("sae", {}).get("architecture"),
        "features": summary.get("n_features"),
        "site": str(dictionary.site),
        "rows trained": summary.get("rows_trained"),
        "steps": train.get("steps"),
        "rows a step": train.get("batch_size"),
        "learning rate": train.get("learning_rate"),
        **{name.replace("_", " "): summary[name] for name in SPARSITY if summary.get(name) is not None},
        "seed": config.get("seed"),
    }
    for name, record in dictionary.record["parents"].items():
        found[name] = _end(record)
        found[f"{name} sha256"] = record.get("sha256")
    return found


def _transformer(transformer: TransformerRun) -> dict[str, str | float | None]:
    """What is known of the transformer's training; an imported one has no summary."""
    summary, shape = transformer.summary or {}, transformer.config.get("transformer", {})
    return {
        "transformer layers": shape.get("n_layers"),
        "transformer width": shape.get("d_model"),
        "neurons of a layer": shape.get("d_mlp"),
        "parameters": summary.get("parameters"),
        "tokens trained": summary.get("tokens_trained"),
        "transformer seed": transformer.config.get("seed"),
    }


def _overview(analysis: AnalyzeRun, dictionary: SaeRun | None, transformer: TransformerRun | None) -> dict[str, Any]:
    steps: tuple[int, ...] = ()
    if dictionary is not None and "train" in dictionary.config:  # otherwise it was imported
        resample = from_dict(ResampleConfig, dictionary.config["resample"])
        steps = resample.resolve(from_dict(TrainConfig, upgrade(TrainConfig, dictionary.config["train"]))).steps
    summary = analysis.summary or {}
    return overview(
        dictionary=(dictionary and dictionary.summary) or {},
        transformer=transformer.summary if transformer is not None else None,
        evidence=summary,
        dictionary_metrics=dictionary.metrics if dictionary is not None else [],
        transformer_metrics=transformer.metrics if transformer is not None else [],
        resample_steps=list(steps),
        density=analysis.density,
        density_tokens=summary["scanned_tokens"],
        categories=plain(analysis.category_records),
        tables={name: analysis.table(name) for name in TABLES if (analysis.path / f"{name}.json").exists()},
        start=starts(analysis.records.index("features"), analysis.records.vocabulary()),
    )


def _vectors(dictionary: SaeRun, absent: dict[str, str]) -> np.ndarray | None:
    vectors = dictionary.params.get("W_dec")
    if vectors is None or np.ndim(vectors) != 2:
        absent["vectors"] = "this architecture has no single dictionary vector for each feature"
        return None
    return np.asarray(vectors)


def open_comparison(path: str) -> CompareRun:
    """A finished compare run; raises BadInput on anything else."""
    found = load_run(path)
    if not isinstance(found, CompareRun) or found.summary is None:
        raise BadInput(f"{path} is not a finished compare run: expected one as config.compare")
    return found


def comparison_material(
    compared: CompareRun, shown: Sequence[DictionaryMaterial], analyses: Sequence[AnalyzeRun]
) -> ComparisonMaterial:
    """A comparison, whose sets know which dictionary of the browser has their records."""
    of_runs: dict[str, tuple[str, str]] = {}
    for run, material in zip(analyses, shown, strict=True):
        for parent_name, name in (("run", "features"), ("control", "control")):
            record = run.record["parents"].get(parent_name)
            if record is not None and name in material.records.sets:
                of_runs.setdefault(record["sha256"], (material.id, name))
    with_neurons = {material.id for material in shown if "neurons" in material.records.sets}
    sets = sets_shown(compared.table("sets"), compared.record["parents"], of_runs, with_neurons)
    tables = {name: compared.table(name) for name in compared.tables if name != "sets"}

    def arrays(name: str) -> dict[str, np.ndarray] | None:
        return compared.arrays(name) if (compared.path / f"{name}.npz").exists() else None

    return ComparisonMaterial(sets, tables, arrays, compared.summary or {})


def sets_shown(
    table: Sequence[Mapping[str, Any]],
    parents: Mapping[str, Mapping[str, Any]],
    of_runs: Mapping[str, tuple[str, str]],
    with_neurons: Collection[str],
) -> list[dict[str, Any]]:
    """The sets of a comparison, each with `dictionary` and `set`: where in the browser its records are.

    Dictionaries and controls stand in the order of the comparison's parents run0, … and control0, …; `of_runs` says by
    the hash of such a run which (dictionary, set) of the browser it is. The neurons that a dictionary of the browser
    reconstructs have their records in its analysis, if it is one of those `with_neurons`.
    """
    sets, seen = [dict(row) for row in table], {"dictionary": 0, "control": 0}
    for row in sets:
        row["dictionary"], row["set"] = None, "features"
        if row["role"] in seen:
            record = parents.get(f"{'run' if row['role'] == 'dictionary' else 'control'}{seen[row['role']]}", {})
            if found := of_runs.get(str(record.get("sha256"))):
                row["dictionary"], row["set"] = found
            seen[row["role"]] += 1
    here = [row for row in sets if row["role"] == "dictionary" and row["dictionary"] in with_neurons]
    for row in sets:
        if row["role"] == "neurons":
            same = (s["dictionary"] for s in here if (s["model"], s["site"]) == (row["model"], row["site"]))
            row["dictionary"], row["set"] = next(same, None), "neurons"
    return sets
