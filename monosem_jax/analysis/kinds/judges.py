"""Automated interpretability of a sample of features of every set, by judges that need no network, and by others."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.autointerp.answer_cache import AnswerCache
from monosem_jax.analysis.autointerp.chat import EndpointConfig
from monosem_jax.analysis.autointerp.endpoint import Endpoint
from monosem_jax.analysis.autointerp.label_rule import LabelRule
from monosem_jax.analysis.autointerp.local_config import OWN, LocalConfig
from monosem_jax.analysis.autointerp.local_judge import LocalJudge
from monosem_jax.analysis.autointerp.local_model import LocalModel, check_local, open_local
from monosem_jax.analysis.autointerp.local_prompts import Shown
from monosem_jax.analysis.autointerp.logit_task import RANKS
from monosem_jax.analysis.autointerp.ngram_graph import NgramGraph
from monosem_jax.analysis.autointerp.protocol import Judge
from monosem_jax.analysis.autointerp.set_scores import SetScores, score_sets
from monosem_jax.analysis.autointerp.token_set import TokenSet
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.records_parse import plain
from monosem_jax.runtime.arguments import check_name
from monosem_jax.runtime.errors import BadInput
from monosem_jax.text.shown import token_bytes

LEAST_USUAL = 2 * RANKS[1] - RANKS[0]  # tokens for the logit task: the ranks asked about, and as many others
ANSWERS = "answers"  # the folder in which answers are kept until the kind is finished
OFFLINE = ("ngram_graph", "token_set", "label_rule")


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """Who explains features and predicts them from the explanation."""

    n_features: int = 200
    """Features of each set that are judged, drawn at random from those that fire on 20 tokens or more; 0: none."""
    judges: tuple[str, ...] = OFFLINE
    """ngram_graph, token_set, label_rule: judges that need no network. The first one's scores are in the summary."""
    endpoint: EndpointConfig = EndpointConfig()
    """A language model as a further judge."""
    local: LocalConfig = LocalConfig()
    """A language model on this machine as a further judge."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.n_features < 0:
            raise BadInput(f"config.judge.n_features is {self.n_features}: expected a number, or 0 for none")
        for name in self.judges:
            check_name("config.judge.judges", name, OFFLINE)
        if self.endpoint.base_url or self.endpoint.model:
            self.endpoint.check()
        self.local.check()
        for name in self.local.explanations:
            check_name("config.judge.local.explanations", name, (OWN, *OFFLINE))
        if self.local.model and self.n_features:
            check_local(self.local.model)


def judge_features(study: Study, config: JudgeConfig) -> None:
    """Explanations and scores of the sample, and a table with a row per judge, set and kind of score."""
    if not config.n_features or not (config.judges or config.endpoint.base_url or config.local.model):
        return
    enough = len(study.usual_tokens) >= LEAST_USUAL
    if not enough:
        reason = f"{len(study.usual_tokens)} tokens are not rare in the training text: {LEAST_USUAL} are needed"
        study.gap("the logit task", reason)
    local = open_local(config.local.model, config.local.batch) if config.local.model else None
    tables: dict[tuple[int, str], np.ndarray] = {}
    found = score_sets(
        [s.features for s in study.subjects],
        [s.heldout for s in study.subjects],
        study.heldout,
        lambda features: _judges(study, features, config, local, tables),
        n_features=config.n_features,
        seed=study.seed,
        batch=study.batch,
        logits={s.name: _weights_of(s.features) for s in study.subjects} if enough else None,
        common=study.usual_tokens,
    )
    for scores in found:
        evidence = study.evidence[scores.name]
        for judged in scores.features:
            if judged.explanation is not None:
                before = evidence.explanations.get(judged.feature, ())
                evidence.explanations[judged.feature] = (*before, judged.explanation)
            evidence.scores[judged.feature] = (*evidence.scores.get(judged.feature, ()), *judged.scores)
    study.tables["judges"] = [_row(scores) for scores in found]
    study.summary |= _summary(study, found)
    shutil.rmtree(study.path / ANSWERS, ignore_errors=True)


def _judges(
    study: Study, features: FeatureSet, config: JudgeConfig, local: LocalModel | None, tables: dict
) -> list[Judge[Any]]:
    """The judges of one set, in the order of the configuration. `tables`: what all sets know of the vocabulary."""
    graph = NgramGraph(features, study.heldout)
    graph.neighbours.tables = tables
    known: dict[str, Callable[[], Judge[Any]]] = {
        "ngram_graph": lambda: graph,
        "token_set": lambda: TokenSet(study.heldout.strings, graph.neighbours),
        "label_rule": lambda: LabelRule(study.heldout),
    }
    found = [known[name]() for name in config.judges]
    if config.endpoint.base_url:
        found.append(Endpoint(config.endpoint, study.heldout.strings))
    if local is not None and features.name in config.local.sets:
        shown = Shown(token_bytes(study.text.tokenizer))
        cache = AnswerCache(config.local.cache or study.path / ANSWERS)
        for whose in config.local.explanations:
            explainer = None if whose == OWN else known[whose]()
            found.append(LocalJudge(local, shown, config.local, cache, explainer, whose))
    return found


def _weights_of(features: FeatureSet) -> Callable[[Sequence[int]], np.ndarray]:
    site, _ = features.effect_site

    def weights(chosen: Sequence[int]) -> np.ndarray:
        return logit_weights(features.tapped, site, features.effect_directions[np.asarray(chosen)])

    return weights


def _row(scores: SetScores) -> dict:
    """A set and a judge in the table: everything but the single features, which are in records."""
    return {
        "set": scores.name,
        "judge": scores.judge,
        "features": len(scores.features),
        "dropped": len(scores.dropped),
        "never_fire": scores.never_fire,
        "too_few": scores.too_few,
        "single_token_share": scores.single_token_share,
        "summaries": plain(scores.summaries),
    }


def _summary(study: Study, found: list[SetScores]) -> dict:
    """The first judge's simulation and logit scores of features and neurons."""
    out: dict = {"judge": found[0].judge}
    for scores in found:
        if scores.judge != found[0].judge or scores.name not in (study.features.name, study.neurons.name):
            continue
        suffix = "" if scores.name == study.features.name else "_neurons"
        kinds = {s.kind: s for s in scores.summaries if s.group == "all"}
        for kind, key in (("simulation", "judge_score"), ("logits", "judge_logits")):
            if kind in kinds:
                out[f"{key}{suffix}"] = kinds[kind].mean
                out[f"{key}_shuffled{suffix}"] = kinds[kind].shuffled_mean
        out[f"judged_features{suffix}"] = len(scores.features)
    return out
