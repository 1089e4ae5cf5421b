"""The kinds of evidence, in the order in which they are looked for; a new one is a file here and a line in KINDS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.kinds.blind import RatingConfig, rating_material
from monosem_jax.analysis.kinds.categories import categories
from monosem_jax.analysis.kinds.causes import EffectsConfig, causes
from monosem_jax.analysis.kinds.concepts import ProbesConfig, probe_concepts
from monosem_jax.analysis.kinds.health import health
from monosem_jax.analysis.kinds.judges import JudgeConfig, judge_features
from monosem_jax.analysis.kinds.logits import logits
from monosem_jax.analysis.kinds.proxies import compare_with_proxies
from monosem_jax.analysis.kinds.sources import sources
from monosem_jax.analysis.kinds.tokens import tokens_in_context


@dataclasses.dataclass(frozen=True)
class KindsConfig:
    """How much is asked of each kind of evidence."""

    probes: ProbesConfig = ProbesConfig()
    """k-sparse probes and the Feature Monosemanticity Score."""
    judge: JudgeConfig = JudgeConfig()
    """Automated interpretability."""
    effects: EffectsConfig = EffectsConfig()
    """Ablation, and steering."""
    rating: RatingConfig = RatingConfig()
    """Material for blind rating by people."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        self.probes.check()
        self.judge.check()
        self.effects.check()
        self.rating.check()


Kind = Callable[[Study, KindsConfig], None]
KINDS: dict[str, Kind] = {
    "health": lambda study, config: health(study),
    "categories": lambda study, config: categories(study),
    "proxies": lambda study, config: compare_with_proxies(study),
    "tokens_in_context": lambda study, config: tokens_in_context(study),
    "probes": lambda study, config: probe_concepts(study, config.probes),
    "logits": lambda study, config: logits(study),
    "sources": lambda study, config: sources(study),
    "judge": lambda study, config: judge_features(study, config.judge),
    "effects": lambda study, config: causes(study, config.effects),
    "rating": lambda study, config: rating_material(study, config.rating),
}
