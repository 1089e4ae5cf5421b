"""A trained dictionary → records of its features, which the report shows."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np

from monosem_jax.analysis import records
from monosem_jax.analysis.collect import collect_features, common_tokens
from monosem_jax.analysis.examples import ExampleText, choose_features
from monosem_jax.analysis.label_scan import FeatureStatistics, category_table, scan
from monosem_jax.analysis.records import Category, Feature
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.config import check_seed, field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.rng import stream
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages.evaluate import open_dictionary
from monosem_jax.text.directory import Text


@dataclasses.dataclass(frozen=True)
class AnalyzeRunConfig:
    """Which dictionary is analyzed, and how many of its features get a record."""

    seed: int = 0
    """Decides which features and which training contexts are sampled."""
    run: str = field("", place=Place())
    """Directory of a finished train_sae run (or of an import with its transformer)."""
    n_features: int = 60
    """Features with a record: the best one of every category, then others at random."""
    n_examples: int = 8
    """Top contexts per feature."""
    training_contexts: int = 2048
    """Training contexts on which the best feature and the best neuron of a label are chosen; both are then measured on
    the held-out split."""
    heldout_contexts: int = 0
    """Held-out contexts on which everything is measured; 0: all."""
    batch_contexts: int = 32
    """Contexts per forward pass."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        check_counts(self, "config.", "n_features", "n_examples", "training_contexts", "batch_contexts")
        if self.heldout_contexts < 0:
            raise BadInput(
                f"config.heldout_contexts is {self.heldout_contexts}: expected a number of contexts, or 0 for all"
            )


@stage
def analyze(workdir: str | pathlib.Path, config: AnalyzeRunConfig) -> dict[str, Any]:
    """Writes `features.json`, `categories.json` and `density.npy` (of held-out text) and returns the summary."""
    config.check()
    begin = time.perf_counter()
    found = open_dictionary(config.run)
    parents = {"run": parent(config.run, "summary.json")}
    identity = dataclasses.replace(config, run="")
    with RunDir(workdir, "analyze", identity, parents, AnalyzeRunConfig()) as rundir:
        return rundir.once(lambda: _write_records(rundir.path, found, config, begin))


def _write_records(path: pathlib.Path, found: SaeRun, config: AnalyzeRunConfig, begin: float) -> dict[str, Any]:
    """Writes the records of a dictionary into `path` and returns the summary."""
    text, sae = found.transformer.text, PublishedSAE(found.sae, found.params)
    tapped = found.transformer.tapped(found.site or "")
    labels, training, heldout = _scans(text, tapped, sae, config)
    categories = category_table(labels, training, heldout)
    records.write_categories(path, categories)
    records.write_features(path, _features(text, tapped, sae, config, heldout, categories))
    np.save(path / "density.npy", heldout.density)
    return {
        "scanned_tokens": heldout.tokens,
        "categories": len(categories),
        "categories_feature_better": sum(c.feature_correlation > c.neuron_correlation for c in categories),
        "records_format": records.FORMAT,
        "wall_seconds": time.perf_counter() - begin,
    }


def _scans(
    text: Text, tapped: TappedModel, sae: PublishedSAE, config: AnalyzeRunConfig
) -> tuple[list[str], FeatureStatistics, FeatureStatistics]:
    """The labels, the scan of a sample of training contexts, and the scan of the held-out contexts."""
    labels = sorted(set(text.labels))
    number = np.asarray([labels.index(label) for label in text.labels], np.int32)
    n_training = len(text.tokens("train"))
    sample = np.sort(stream("analyze.contexts", config.seed).permutation(n_training)[: config.training_contexts])

    def scanned(split: str, pick: np.ndarray | slice) -> FeatureStatistics:
        tokens, documents = text.tokens(split)[pick], text.documents(split)[pick]
        with progress(len(tokens), f"scan {split}", "contexts") as bar:
            return scan(
                tapped,
                sae,
                tokens,
                number[documents],
                n_labels=len(labels),
                batch=config.batch_contexts,
                n_top=config.n_examples,
                advance=bar.update,
            )

    return labels, scanned("train", sample), scanned("heldout", slice(config.heldout_contexts or None))


def _features(
    text: Text,
    tapped: TappedModel,
    sae: PublishedSAE,
    config: AnalyzeRunConfig,
    heldout: FeatureStatistics,
    categories: list[Category],
) -> list[Feature]:
    """A record for the best feature of every category, then for alive features at random."""
    shown = ExampleText.of(text, "heldout")
    return collect_features(
        tapped,
        sae,
        shown,
        heldout,
        categories,
        choose_features(heldout, [c.feature for c in categories], config.n_features, config.seed),
        common=common_tokens(text.tokens("train"), len(shown.strings)),
        batch=config.batch_contexts,
        n_examples=config.n_examples,
    )
