"""Neuronpedia's feature JSON: MODEL/SOURCE/INDEX.json, one file per feature, as its API answers
/api/feature/MODEL/SOURCE/INDEX. A source is named LAYER-SET, where the set is the dictionary."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from monosem_jax.analysis.records import Explanation, Feature
from monosem_jax.interop.analyzed import Analyzed, Shown
from monosem_jax.interop.dashboards import Window, plain_text, statistics, url_name, vector_list, windows


def write(folder: pathlib.Path, analysis: Analyzed) -> str:
    """Fills a folder, with a block of features in memory at a time; returns what was written in words."""
    set_name = url_name(analysis.dictionary_name)
    source = {"modelId": url_name(analysis.model_name), "layer": f"{analysis.layer}-{set_name}"}
    place = folder / source["modelId"] / source["layer"]
    place.mkdir(parents=True)
    count = 0
    for shown in analysis.shown():
        found = {**_feature(shown, source, set_name, analysis), **_evidence(shown.record, source, analysis.tokens)}
        text = json.dumps(found, allow_nan=False, ensure_ascii=False)
        (place / f"{shown.record.feature}.json").write_text(text, encoding="utf-8")
        count += 1
    return f"{count} features in {source['modelId']}/{source['layer']}"


def _feature(shown: Shown, source: dict[str, str], set_name: str, analysis: Analyzed) -> dict[str, Any]:
    """The columns of Neuronpedia's table of features."""
    record, vector = shown.record, vector_list(shown.vector)
    return {
        **source,
        "index": str(record.feature),
        "sourceSetName": set_name,
        "creatorId": None,
        "maxActApprox": record.largest,
        "hasVector": bool(vector),
        "vector": vector,
        "vectorLabel": plain_text(record.label) if record.label else None,
        "vectorDefaultSteerStrength": record.largest,
        "hookName": analysis.hook if vector else None,
        "topkCosSimIndices": [],  # records hold the neighbours that correlate most, not those with the largest cosine
        "topkCosSimValues": [],
        **statistics(shown),
        "umap_cluster": None,
        "umap_log_feature_sparsity": None,
        "umap_x": None,
        "umap_y": None,
    }


def _evidence(record: Feature, source: dict[str, str], tokens: int) -> dict[str, Any]:
    about = {**source, "index": str(record.feature)}
    found = [_activation(i, w, about) for i, w in enumerate(windows(record, tokens))]
    return {
        "activations": found,
        "explanations": [_explanation(i, e, record, about) for i, e in enumerate(record.explanations)],
    }


def _activation(number: int, window: Window, about: dict[str, str]) -> dict[str, Any]:
    """A row of Neuronpedia's table of activations."""
    example = window.example
    values = list(example.activations)
    largest = max(values)
    return {
        "id": f"{about['layer']}-{about['index']}-{number}",
        **about,
        "creatorId": "",
        "tokens": [plain_text(t) for t in example.tokens],
        "values": values,
        "maxValue": largest,
        "maxValueTokenIndex": values.index(largest),
        "minValue": min(values),
        "dataIndex": str(example.context),
        "dataSource": plain_text(example.origin),
        "dfaValues": [],
        "dfaTargetIndex": None,
        "dfaMaxValue": None,
        "lossValues": list(example.loss_effects),
        "logitContributions": None,
        "binMin": window.low,
        "binMax": window.high,
        "binContains": window.share,
        "qualifyingTokenIndex": example.peak,
    }


def _explanation(number: int, explanation: Explanation, record: Feature, about: dict[str, str]) -> dict[str, Any]:
    """An explanation with the scores of its judge. A score that could not be had is left out."""
    scores = [
        {
            "value": s.value,
            "explanationScoreTypeName": s.kind,
            "explanationScoreModelName": plain_text(s.judge),
            "jsonDetails": json.dumps({"other": s.other, "shuffled": s.shuffled, "samples": s.samples}),
        }
        for s in record.scores
        if s.judge == explanation.judge and s.value is not None
    ]
    return {
        "id": f"{about['layer']}-{about['index']}-explanation-{number}",
        **about,
        "description": plain_text(explanation.text),
        "typeName": plain_text(explanation.judge),
        "explanationModelName": plain_text(explanation.judge),
        "scores": scores,
    }
