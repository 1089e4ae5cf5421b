"""SAEDashboard's batches for Neuronpedia: batch-0.json, batch-1.json, … of 128 features each.

Neuronpedia's own converter turns such a folder into what its database imports; nothing else of SAEDashboard is needed.
"""

from __future__ import annotations

import itertools
import json
import pathlib
from typing import Any

from monosem_jax.interop.analyzed import Analyzed, Shown
from monosem_jax.interop.dashboards import plain_text, statistics, url_name, vector_list, windows
from monosem_jax.runtime.files import write_text

BATCH = 128  # features in a file, as SAEDashboard has by default


def write(folder: pathlib.Path, analysis: Analyzed) -> str:
    """Fills a folder, with a batch in memory at a time; returns what was written in words."""
    contexts = analysis.contexts
    about = {
        "n_prompts_total": 0 if contexts is None else int(contexts.shape[0]),
        "n_tokens_in_prompt": 0 if contexts is None else int(contexts.shape[1]),
        "dataset": plain_text(_dataset(analysis)),
    }
    shown, count = analysis.shown(), 0
    for number in itertools.count():
        features = [_feature(one, analysis.tokens, about) for one in itertools.islice(shown, BATCH)]
        if not features and number:
            return f"{count} features in {number} batches"
        count += len(features)
        batch = {
            "model_id": url_name(analysis.model_name),
            "layer": analysis.layer,
            "sae_set": url_name(analysis.dictionary_name),
            "sae_id_suffix": None,
            "features": features,
        }
        write_text(folder / f"batch-{number}.json", json.dumps(batch, allow_nan=False, ensure_ascii=False))
    raise AssertionError


def _feature(shown: Shown, tokens: int, about: dict[str, Any]) -> dict[str, Any]:
    activations = [
        {
            "bin_min": w.low,
            "bin_max": w.high,
            "bin_contains": w.share,
            "tokens": [plain_text(t) for t in w.example.tokens],
            "values": list(w.example.activations),
            "qualifying_token_index": w.example.peak,
        }
        for w in windows(shown.record, tokens)
    ]
    return {
        "feature_index": shown.record.feature,
        **statistics(shown),
        **about,
        "activations": activations,
        "vector": vector_list(shown.vector),
    }


def _dataset(analysis: Analyzed) -> str:
    """The name of the corpus, "" where the text is gone."""
    if analysis.contexts is None:
        return ""
    return pathlib.PurePath(str(analysis.run.dictionary.transformer.text.manifest.get("corpus", ""))).name
