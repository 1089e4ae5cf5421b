"""The logit interpretation task (paper, "Automated Interpretability - Logit Weights"): which of 100 tokens does a
feature make likely? 50 are those of ranks 10 to 59 by logit weight, 50 are random ones; the explanation is the one that
was made from activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from monosem_jax.analysis.autointerp.protocol import E, Judge, LogitJudge, Refusal
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.scoring import Explanations, asked
from monosem_jax.analysis.records import Score
from monosem_jax.runtime.arguments import check_shape
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream

RANKS = (10, 60)
LogitWeights = Callable[[Sequence[int]], np.ndarray]  # features [n] → their logit weights [n,V]


def logit_questions(weights: np.ndarray, common: np.ndarray, seed: int, feature: int) -> tuple[np.ndarray, np.ndarray]:
    """(tokens [100] in random order, whether each is one of the ranks RANKS by its logit weight [100]).

    `weights` [V] of one feature; `common` are the ids of the tokens that are not rare: all are drawn from those, the
    random ones from behind the ranks. Raises BadInput where there are too few.
    """
    n = RANKS[1] - RANKS[0]
    if len(common) < RANKS[1] + n:
        raise BadInput(f"{len(common)} tokens are not rare: the logit task needs {RANKS[1] + n}")
    order = common[np.argsort(-weights[common], kind="stable")]
    rng = stream("autointerp.logits", seed, feature)
    tokens = np.concatenate([order[slice(*RANKS)], rng.choice(order[RANKS[1] :], n, replace=False)])
    mixed = rng.permutation(len(tokens))
    return tokens[mixed], (np.arange(len(tokens)) < n)[mixed]


def logit_scores(
    judge: Judge[E],
    samples: Sequence[Samples],
    explanations: Explanations[E],
    weights: LogitWeights,
    common: np.ndarray,
    seed: int,
) -> list[Score]:
    """The accuracy of a judge on each feature; chance is 0.5."""
    if not isinstance(judge, LogitJudge):
        return [Score(judge.name, "logits", None, None, None, 0, "this judge has no opinion on next tokens")] * len(
            samples
        )
    found = np.asarray(weights([s.feature for s in samples]))
    check_shape("logit_scores: weights", found.shape, len(samples), "V")
    drawn = [logit_questions(w, common, seed, s.feature) for w, s in zip(found, samples, strict=True)]
    answers = asked(judge.likely_next, explanations, [tokens for tokens, _ in drawn])
    scores = []
    for (_, truth), (own, other) in zip(drawn, answers, strict=True):
        value, shuffled = (
            None if isinstance(a, Refusal) else float(np.mean(np.asarray(a, bool) == truth)) for a in (own, other)
        )
        note = next((a.note for a in (own, other) if isinstance(a, Refusal)), "")
        if value is None:
            scores.append(Score(judge.name, "logits", None, None, None, 0, note))
        else:
            scores.append(Score(judge.name, "logits", value, None, shuffled, len(truth), note))
    return scores
