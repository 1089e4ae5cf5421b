"""How well few features tell concepts apart, on held-out rows: k-sparse probes, Feature Monosemanticity Score."""

from __future__ import annotations

import dataclasses

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.probing import fms as fms_lib
from monosem_jax.analysis.probing import probes
from monosem_jax.analysis.probing.labelled_rows import plan_rows, read_rows, usable
from monosem_jax.analysis.records_parse import plain
from monosem_jax.runtime.errors import check_counts


@dataclasses.dataclass(frozen=True)
class ProbesConfig:
    """How many rows probes and trees are fitted on, and measured on."""

    rows: int = 200
    """Rows with a concept, and as many without, of each split."""
    contexts: int = 1024
    """Contexts of each split that are encoded for them, at most."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(self, "config.probes.", "rows", "contexts")


def probe_concepts(study: Study, config: ProbesConfig) -> None:
    """A row per concept (labels of documents, and proxies) and set; means over concepts are in the summary."""
    plans = [
        plan_rows(
            part.tokens,
            study.labels_of(part),
            study.labels,
            values,
            bos=study.text.bos,
            rows=config.rows,
            contexts=config.contexts,
            seed=study.seed,
        )
        for part, values in (
            (study.training, study.training_proxies),
            (study.heldout, study.heldout_proxies),
        )
    ]
    concepts, few = usable(plans[0], plans[1])
    for concept in few:
        study.gap(f"probes of {concept.kind} {concept.name}", "too few rows with it in one of the texts")
    probed, scored = [], []
    for subject in study.subjects:
        training, heldout = (read_rows(subject.features, plan, batch=study.batch) for plan in plans)
        probed += [probes.probe(subject.name, training, heldout, concept) for concept in concepts]
        scored += [fms_lib.score(subject.name, training, heldout, concept, study.seed) for concept in concepts]
    means = {
        s.name: {
            "concepts": len(concepts),
            **{f"probe_k{k}": probes.mean_accuracy(probed, s.name, k) for k in probes.KS},
            **{key: fms_lib.mean_of(scored, s.name, key) for key in ("fms_1", "fms_5", "fms_1_shuffled")},
        }
        for s in study.subjects
    }
    study.tables["probes"] = {"means": means, "probes": plain(probed), "fms": plain(scored)}
    study.summary |= means[study.features.name]
    for key in ("probe_k1", "probe_k5", "fms_1"):
        study.summary[f"{key}_neurons"] = means[study.neurons.name][key]
