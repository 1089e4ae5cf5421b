"""What the browser of features shows, gathered from run directories."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.records_parse import plain
from monosem_jax.analysis.run import TABLES, AnalyzeRun, CompareRun
from monosem_jax.load import load_run
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

SPARSITY = ("l1_coefficient", "k", "l0_coefficient", "target_l0")


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
        figures=figures(dictionary.summary or {}, analysis.summary or {}),
        vectors=_vectors(dictionary, absent),
        rating=read_json(rating, dict) if rating.exists() else None,
        model=model,
        logits=logit_histograms(dictionary, absent),
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
    """What was trained on what. `X sha256` is the hash of the run named X."""
    summary = dictionary.summary or {}
    config = dictionary.config
    train, text = config.get("train", {}), dictionary.transformer.config.get("text", {})
    found: dict[str, str | float | None] = {
        "dictionary": dictionary.path.name,
        "dictionary sha256": analysis.record["parents"]["run"]["sha256"],
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
        found[name] = str(record.get("path", "")).rstrip("/").rpartition("/")[2]
        found[f"{name} sha256"] = record.get("sha256")
    found |= _transformer(dictionary)
    found["text"] = str(text.get("corpus") or "").rstrip("/").rpartition("/")[2] or None
    found["records measured on"] = f"{(analysis.summary or {}).get('scanned_tokens', 0):,} held-out tokens"
    found["analysis"] = analysis.path.name
    for package in ("monosem_jax", "jax"):
        found[package] = analysis.record.get("versions", {}).get(package)
    found["git revision"] = analysis.record.get("git")
    return found


def _transformer(dictionary: SaeRun) -> dict[str, str | float | None]:
    """What is known of the transformer's training; an imported one has no summary."""
    transformer = dictionary.transformer
    summary, shape = transformer.summary or {}, transformer.config.get("transformer", {})
    return {
        "transformer layers": shape.get("n_layers"),
        "transformer width": shape.get("d_model"),
        "neurons of a layer": shape.get("d_mlp"),
        "parameters": summary.get("parameters"),
        "tokens trained": summary.get("tokens_trained"),
        "transformer seed": transformer.config.get("seed"),
    }


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
    """A comparison, whose sets know by the hash of their run which dictionary of the browser has their records;
    neurons and the control have theirs in the analysis of a dictionary."""
    runs = {
        r["path"]: r["sha256"] for name, r in compared.record["parents"].items() if name.startswith(("run", "control"))
    }
    shown_as: dict[str, tuple[str, str]] = {}
    for run, material in zip(analyses, shown, strict=True):
        for parent_name, name in (("run", "features"), ("control", "control")):
            record = run.record["parents"].get(parent_name)
            if record is not None and name in material.records.sets:
                shown_as.setdefault(record["sha256"], (material.id, name))
    sets = [dict(s) for s in compared.table("sets")]
    for row in sets:
        row["dictionary"], row["set"] = shown_as.get(runs.get(row.get("run") or "", ""), (None, "features"))
    with_neurons = {material.id for material in shown if "neurons" in material.records.sets}
    for row in sets:
        if row["role"] == "neurons":
            row["set"] = "neurons"
            row["dictionary"] = next(
                (
                    s["dictionary"]
                    for s in sets
                    if s["role"] == "dictionary"
                    and s["dictionary"] in with_neurons
                    and (s["model"], s["site"]) == (row["model"], row["site"])
                ),
                None,
            )
    tables = {name: compared.table(name) for name in compared.tables if name != "sets"}

    def arrays(name: str) -> dict[str, np.ndarray] | None:
        return compared.arrays(name) if (compared.path / f"{name}.npz").exists() else None

    return ComparisonMaterial(sets, tables, arrays, compared.summary or {})
