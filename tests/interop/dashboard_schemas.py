"""What public programs read from the files of SAEDashboard and Neuronpedia, as JSON schemas.

Written from SAEDashboard's NeuronpediaDashboardBatch, …Feature and …Activation (whose constructors refuse unknown
keys), from Neuronpedia's convert-saedashboard-to-neuronpedia-export, and from its database schema (Neuron, Activation,
Explanation, ExplanationScore), whose rows its API returns.
"""

from __future__ import annotations

from typing import Any

NUMBERS = {"type": "array", "items": {"type": "number"}}
WHOLE = {"type": "array", "items": {"type": "integer", "minimum": 0}}
TEXTS = {"type": "array", "items": {"type": "string"}}
ACTIVATIONS = {**NUMBERS, "minItems": 1}  # the converter takes the largest


def closed(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object with these keys and no other."""
    needed = [key for key in properties if key not in optional]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def or_null(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


STATISTICS = {
    **{f"neuron_alignment_{name}": kind for name, kind in (("indices", WHOLE), ("values", NUMBERS), ("l1", NUMBERS))},
    **{f"correlated_{of}_{name}": kind for of in ("neurons", "features")
       for name, kind in (("indices", WHOLE), ("l1", NUMBERS), ("pearson", NUMBERS))},
    "neg_str": TEXTS, "neg_values": NUMBERS, "pos_str": TEXTS, "pos_values": NUMBERS,
    "frac_nonzero": {"type": "number", "minimum": 0, "maximum": 1},
    "freq_hist_data_bar_values": NUMBERS, "freq_hist_data_bar_heights": NUMBERS,
    "logits_hist_data_bar_heights": NUMBERS, "logits_hist_data_bar_values": NUMBERS,
    "decoder_weights_dist": NUMBERS,
}  # fmt: skip
BATCH = closed({
    "model_id": {"type": "string", "minLength": 1},
    "layer": {"type": "integer", "minimum": 0},
    "sae_set": {"type": "string", "minLength": 1},
    "sae_id_suffix": or_null("string"),
    "features": {"type": "array", "items": closed({
        "feature_index": {"type": "integer", "minimum": 0},
        **STATISTICS,
        "n_prompts_total": {"type": "integer"}, "n_tokens_in_prompt": {"type": "integer"},
        "dataset": {"type": "string"},
        "activations": {"type": "array", "items": closed({
            "bin_min": {"type": "number"}, "bin_max": {"type": "number"}, "bin_contains": {"type": "number"},
            "tokens": TEXTS, "values": ACTIVATIONS, "qualifying_token_index": {"type": "integer", "minimum": 0},
        })},
        "vector": NUMBERS,
    })},
})  # fmt: skip

PLACE = {"modelId": {"type": "string"}, "layer": {"type": "string", "pattern": "^[0-9]+-"},
         "index": {"type": "string", "pattern": "^[0-9]+$"}}  # fmt: skip
FEATURE = closed({
    **PLACE,
    "sourceSetName": or_null("string"), "creatorId": or_null("string"), "maxActApprox": or_null("number"),
    "hasVector": {"type": "boolean"}, "vector": NUMBERS, "vectorLabel": or_null("string"),
    "vectorDefaultSteerStrength": or_null("number"), "hookName": or_null("string"),
    "topkCosSimIndices": WHOLE, "topkCosSimValues": NUMBERS,
    **STATISTICS,
    "umap_cluster": or_null("integer"), "umap_log_feature_sparsity": or_null("number"),
    "umap_x": or_null("number"), "umap_y": or_null("number"),
    "activations": {"type": "array", "items": closed({
        "id": {"type": "string"}, **PLACE, "creatorId": {"type": "string"}, "tokens": TEXTS, "values": ACTIVATIONS,
        "maxValue": {"type": "number"}, "maxValueTokenIndex": {"type": "integer"}, "minValue": {"type": "number"},
        "dataIndex": or_null("string"), "dataSource": or_null("string"), "dfaValues": NUMBERS,
        "dfaTargetIndex": or_null("integer"), "dfaMaxValue": or_null("number"), "lossValues": NUMBERS,
        "logitContributions": or_null("string"), "binMin": or_null("number"), "binMax": or_null("number"),
        "binContains": or_null("number"), "qualifyingTokenIndex": or_null("integer"),
    })},
    "explanations": {"type": "array", "items": closed({
        "id": {"type": "string"}, **PLACE, "description": {"type": "string"}, "typeName": or_null("string"),
        "explanationModelName": or_null("string"),
        "scores": {"type": "array", "items": closed({
            "value": {"type": "number"}, "explanationScoreTypeName": {"type": "string"},
            "explanationScoreModelName": {"type": "string"}, "jsonDetails": {"type": "string"},
        })},
    })},
})  # fmt: skip
