"""What the browser of features shows, gathered from run directories."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.records_parse import plain
from monosem_jax.analysis.run import TABLES, AnalyzeRun, CompareRun
from monosem_jax.load import load_run
from monosem_jax.report.browser.material import ComparisonMaterial, DictionaryMaterial
from monosem_jax.report.browser.model import write_model
from monosem_jax.report.browser.overview import overview
from monosem_jax.report.browser.tokenizer import NotServed
from monosem_jax.runtime.config import from_dict, upgrade
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages.browser_model import served_model
from monosem_jax.training.config import TrainConfig

ARRAYS = ("matches", "splitting_edges", "map", "stability", "crosscoder")


def dictionary_material(id: str, analysis: AnalyzeRun) -> DictionaryMaterial:
    """The dictionary of an analysis, under the name that it has in addresses.

    Raises BadInput when a run that it was made from is gone.
    """
    dictionary = analysis.dictionary
    absent: dict[str, str] = {}
    rating = analysis.path / "rating.json"
    if not rating.exists():
        absent["rating"] = "the analysis made no rating material (kind rating)"
    model = _model(dictionary, absent)
    return DictionaryMaterial(
        id=id,
        name=id,
        run=_provenance(analysis, dictionary),
        site=str(dictionary.site),
        n_features=int((analysis.summary or {})["n_features"]),
        records=analysis.records,
        records_folder=analysis.path / "records",
        overview=_overview(analysis, dictionary),
        vectors=_vectors(dictionary, absent),
        rating=read_json(rating, dict) if rating.exists() else None,
        model=model,
        absent=absent,
    )


def _model(dictionary: SaeRun, absent: dict[str, str]) -> Callable[[pathlib.Path, str], int] | None:
    """What writes the model that the page runs, or None with the reason in `absent`."""
    try:
        served = served_model(dictionary)
    except NotServed as e:
        absent["model"] = str(e)
        return None
    return lambda folder, key: write_model(folder, key, served)


def _provenance(analysis: AnalyzeRun, dictionary: SaeRun) -> dict[str, str | float | None]:
    sae = dictionary.config.get("sae", {})
    summary = dictionary.summary or {}
    parents = dictionary.record["parents"]
    found: dict[str, str | float | None] = {
        "dictionary": dictionary.path.name,
        "dictionary sha256": analysis.record["parents"]["run"]["sha256"],
        "architecture": sae.get("architecture"),
        "features": summary.get("n_features"),
        "site": str(dictionary.site),
        "rows trained": summary.get("rows_trained"),
        "seed": dictionary.config.get("seed"),
    }
    for name, record in parents.items():
        found[f"{name}"] = str(record.get("path", "")).rstrip("/").rpartition("/")[2]
        found[f"{name} sha256"] = record.get("sha256")
    found["records measured on"] = f"{(analysis.summary or {}).get('scanned_tokens', 0):,} held-out tokens"
    found["monosem_jax"] = analysis.record.get("versions", {}).get("monosem_jax")
    found["git revision"] = analysis.record.get("git")
    return found


def _overview(analysis: AnalyzeRun, dictionary: SaeRun) -> dict[str, Any]:
    steps: tuple[int, ...] = ()
    if "train" in dictionary.config:  # otherwise it was imported
        resample = from_dict(ResampleConfig, dictionary.config["resample"])
        steps = resample.resolve(from_dict(TrainConfig, upgrade(TrainConfig, dictionary.config["train"]))).steps
    summary = analysis.summary or {}
    transformer = dictionary.transformer
    return overview(
        dictionary=dictionary.summary or {},
        transformer=transformer.summary,
        evidence=summary,
        dictionary_metrics=dictionary.metrics,
        transformer_metrics=transformer.metrics,
        resample_steps=list(steps),
        density=analysis.density,
        density_tokens=summary["scanned_tokens"],
        categories=plain(analysis.category_records),
        tables={name: analysis.table(name) for name in TABLES if (analysis.path / f"{name}.json").exists()},
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
    """A comparison, whose sets know by the hash of their run which of the dictionaries in the browser they are."""
    ids = {run.record["parents"]["run"]["sha256"]: material.id for run, material in zip(analyses, shown, strict=True)}
    runs = {
        r["path"]: r["sha256"] for name, r in compared.record["parents"].items() if name.startswith(("run", "contr"))
    }
    sets = [{**s, "dictionary": ids.get(runs.get(s.get("run") or "", ""))} for s in compared.table("sets")]
    arrays = {name: compared.arrays(name) for name in ARRAYS if (compared.path / f"{name}.npz").exists()}
    tables = {name: compared.table(name) for name in compared.tables if name != "sets"}
    return ComparisonMaterial(json.loads(json.dumps(sets)), tables, arrays, compared.summary or {})
