"""A trained dictionary → records of its features: what the report shows."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np

from monosem_jax.analysis.examples import choose_features, example_records
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.metrics import replacements
from monosem_jax.analysis.scan import FeatureStatistics, category_table, scan
from monosem_jax.runtime.config import check_seed, to_dict
from monosem_jax.runtime.errors import check_counts
from monosem_jax.runtime.files import read_json, write_json
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.rng import stream
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages.evaluate import open_dictionary
from monosem_jax.text.tokenizer import token_strings

N_LOGITS = 10
# Logit weights of tokens seen less often than this in training say little: their unembedding hardly moved.
COMMON_TOKEN = 20


@dataclasses.dataclass(frozen=True)
class AnalyzeRunConfig:
    """Which dictionary is analyzed, and how many of its features get a record."""

    seed: int = 0
    """Decides which features and which training contexts are sampled."""
    run: str = ""
    """Directory of a finished train_sae run (or of an import with its transformer)."""
    n_features: int = 60
    """Features with a record: the best one of every category, then others at random."""
    n_examples: int = 8
    """Top contexts per feature."""
    training_contexts: int = 2048
    """Training contexts on which the best feature and the best neuron of a label are chosen; both are then measured on
    the held-out split."""
    batch_contexts: int = 32
    """Contexts per forward pass."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        check_counts(self, "config.", "n_features", "n_examples", "training_contexts", "batch_contexts")


def analyze(workdir: str | pathlib.Path, config: AnalyzeRunConfig) -> dict[str, Any]:
    """Writes `features.json`, `categories.json` and `density.npy` (of held-out text) and returns the summary."""
    config.check()
    begin = time.perf_counter()
    found = open_dictionary(config.run)
    parents = {"run": parent(config.run, "summary.json")}
    with RunDir(workdir, "analyze", to_dict(dataclasses.replace(config, run="")), parents) as rundir:
        return rundir.once(lambda: _write_records(rundir.path, found, config, begin))


def _write_records(path: pathlib.Path, found: SaeRun, config: AnalyzeRunConfig, begin: float) -> dict[str, Any]:
    """Writes the records of a dictionary into `path` and returns the summary."""
    labels, training, heldout = _scans(found, config)
    categories = category_table(labels, training, heldout)
    write_json(path / "categories.json", categories)
    write_json(path / "features.json", _records(found, config, heldout, categories))
    np.save(path / "density.npy", heldout.density)
    return {
        "scanned_tokens": heldout.tokens,
        "categories": len(categories),
        "categories_feature_better": sum(c["feature_correlation"] > c["neuron_correlation"] for c in categories),
        "wall_seconds": time.perf_counter() - begin,
    }


def _scans(found: SaeRun, config: AnalyzeRunConfig) -> tuple[list[str], FeatureStatistics, FeatureStatistics]:
    """The labels, and a scan of a sample of training contexts and of all held-out ones."""
    text, model = found.transformer.text, found.transformer.model
    labels = sorted(set(text.labels))
    number = np.asarray([labels.index(label) for label in text.labels], np.int32)
    n_training = len(text.tokens("train"))
    sample = np.sort(stream("analyze.contexts", config.seed).permutation(n_training)[: config.training_contexts])
    scans = []
    for split, pick in (("train", sample), ("heldout", slice(None))):
        tokens, documents = text.tokens(split)[pick], text.documents(split)[pick]
        with progress(len(tokens), f"scan {split}", "contexts") as bar:
            scans.append(
                scan(
                    model, found.transformer.params, found.sae, found.params, tokens, number[documents],
                    n_labels=len(labels), bos=text.bos, site=found.site, batch=config.batch_contexts,
                    n_top=config.n_examples, advance=bar.update,
                )
            )  # fmt: skip
    return labels, *scans


def _records(
    found: SaeRun, config: AnalyzeRunConfig, heldout: FeatureStatistics, categories: list[dict[str, Any]]
) -> list[dict]:
    """A record for the best feature of every category, then for alive features at random."""
    text, model = found.transformer.text, found.transformer.model
    features = choose_features(heldout, [c["feature"] for c in categories], config.n_features, config.seed)
    best_of = {c["feature"]: c for c in reversed(categories)}
    tokens, documents = text.tokens("heldout"), text.documents("heldout")
    examples = example_records(
        model, found.transformer.params, found.sae, found.params, tokens, heldout, features,
        site=found.site, bos=text.bos, batch=config.batch_contexts, n_examples=config.n_examples,
    )  # fmt: skip
    site, columns = replacements(model, found.sae, found.site)[-1]
    effects = logit_weights(model, found.transformer.params, site, found.params["W_dec"][features][:, columns])
    strings = token_strings(text.tokenizer)
    sources = read_json(text.path / "documents.json")
    seen = np.bincount(np.asarray(text.tokens("train")).ravel(), minlength=len(strings))
    common = np.flatnonzero(seen >= COMMON_TOKEN)
    records = []
    for feature, effect in zip(features, effects, strict=True):
        order = common[np.argsort(effect[common])]
        for e in examples[feature]:
            position = int(e["position"])
            e |= sources[int(documents[e["context"], position])]
            e["tokens"] = [strings[t] for t in e["tokens"]]
        category = best_of.get(feature)
        records.append(
            {
                "feature": feature,
                "density": float(heldout.density[feature]),
                "largest": float(heldout.top_value[feature, 0]),
                "label": category and category["label"],
                "label_correlation": category and category["feature_correlation"],
                "top_logits": [[strings[t], round(float(effect[t]), 4)] for t in order[::-1][:N_LOGITS]],
                "bottom_logits": [[strings[t], round(float(effect[t]), 4)] for t in order[:N_LOGITS]],
                "examples": examples[feature],
            }
        )
    return records
