"""A finished analysis of the planted dictionary, with little text: made once in a session, by the fixture of this name
in conftest.py. Tests leave it as it is."""

from __future__ import annotations

import pathlib

from monosem_jax.analysis.kinds.concepts import ProbesConfig
from monosem_jax.analysis.kinds.judges import JudgeConfig
from monosem_jax.analysis.kinds.table import KINDS, KindsConfig
from monosem_jax.stages.analyze import AnalyzeRunConfig, analyze
from tests import planted

ASKED = ("health", "categories", "proxies", "logits", "tokens_in_context", "probes", "judge")
CONTEXTS, RANDOM = 60, 4


def make(root: pathlib.Path) -> pathlib.Path:
    """Writes root/transformer, root/sae and root/analysis, and returns the last."""
    planted.write_runs(root, contexts=CONTEXTS)
    config = AnalyzeRunConfig(
        run=str(root / "sae"),
        training_contexts=CONTEXTS,
        batch_contexts=20,
        random_directions=RANDOM,
        without=tuple(kind for kind in KINDS if kind not in ASKED),
        kinds=KindsConfig(probes=ProbesConfig(rows=60), judge=JudgeConfig(n_features=6)),
        proxies=("acgt=regex:ACGT|TTGA|GATC|CCGA",),
    )
    analyze(root / "analysis", config)
    return root / "analysis"
