"""Scores of a judge: how well it predicts features from its own explanations of them, and from those of other features.

Simulation is the paper's: Spearman correlation of predicted and true activations, both from 0 to 9, over all tokens of
60 windows. Detection and fuzzing are those of EleutherAI's delphi, as balanced accuracy: does the feature fire in this
window, are the marked tokens those on which it fires. Half of their windows have a firing, half are random without one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from monosem_jax.analysis.autointerp.agreement import balanced_accuracy, f1, pearson, spearman
from monosem_jax.analysis.autointerp.protocol import KINDS as SCORES
from monosem_jax.analysis.autointerp.protocol import (
    CalibratedDetector,
    E,
    Judge,
    Known,
    Refusal,
    detect,
    probability,
)
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.windows import KINDS, Excerpts, Windows, quantised, together
from monosem_jax.analysis.records import Explanation, Score
from monosem_jax.runtime.rng import stream

LEAST_WINDOWS = 5  # windows of each kind without which detection and fuzzing say nothing
MARKED = 0.3  # share of a window's largest activation above which a token is marked
Q = TypeVar("Q")


@dataclasses.dataclass(frozen=True)
class Judged:
    """A feature's explanation (None if the judge had none) and scores."""

    feature: int
    explanation: Explanation | None
    scores: tuple[Score, ...]
    single_token: bool


@dataclasses.dataclass(frozen=True)
class Explanations(Generic[E]):
    """Explanations of features of one set by a judge. `other` [n] is the index of the feature whose explanation is the
    control of each; -1 where there is none."""

    of: Sequence[E | Refusal]
    other: np.ndarray

    def own(self, i: int) -> E | Refusal:
        return self.of[i]

    def shuffled(self, i: int) -> E | Refusal:
        j = int(self.other[i])
        return self.of[j] if j >= 0 else Refusal("no other feature was explained")


def explained(judge: Judge[E], samples: Sequence[Samples], seed: int) -> Explanations[E]:
    """Asks for explanations and deals them out as controls: all on one cycle in random order, so none gets its own."""
    found = list(judge.explain(samples))
    if len(found) != len(samples):
        raise ValueError(f"{judge.name} explained {len(found)} features of {len(samples)}")
    good = np.flatnonzero([not isinstance(e, Refusal) for e in found])
    cycle = stream("autointerp.shuffled", seed).permutation(good)
    other = np.full(len(found), -1)
    if len(cycle) > 1:
        other[cycle] = np.roll(cycle, 1)
    return Explanations(found, other)


def judged(
    judge: Judge[E], samples: Sequence[Samples], seed: int, kinds: Sequence[str] = SCORES
) -> tuple[list[Judged], Explanations[E]]:
    """Scores of all features, of the `kinds` that the judge is asked for."""
    kinds = [k for k in kinds if k in judge.kinds]
    explanations = explained(judge, samples, seed)
    columns = []
    if "simulation" in kinds:
        columns.append(_simulation(judge, samples, explanations))
    if "detection" in kinds or "fuzzing" in kinds:
        columns += _on_firings(judge, samples, explanations, seed, kinds)
    out = []
    for i, s in enumerate(samples):
        e = explanations.of[i]
        record = None if isinstance(e, Refusal) else e.record
        out.append(Judged(s.feature, record, tuple(column[i] for column in columns), s.single_token))
    return out, explanations


def asked(
    ask: Callable[[list[tuple[E, Q]]], Sequence[np.ndarray | Refusal]],
    explanations: Explanations[E],
    about: Sequence[Q],
) -> list[list[np.ndarray | Refusal]]:
    """For every feature the answers with its own and with another's explanation, refusals in their places."""
    whose = (explanations.own, explanations.shuffled)
    given = [[choose(i) for choose in whose] for i in range(len(about))]
    questions = [(e, q) for row, q in zip(given, about, strict=True) for e in row if not isinstance(e, Refusal)]
    answers = ask(questions) if questions else ()
    if len(answers) != len(questions):
        raise ValueError(f"a judge gave {len(answers)} answers to {len(questions)} questions")
    left = iter(answers)
    return [[e if isinstance(e, Refusal) else next(left) for e in row] for row in given]


def _simulation(judge: Judge[E], samples: Sequence[Samples], explanations: Explanations[E]) -> list[Score]:
    answers = asked(judge.simulate, explanations, [s.test.seen for s in samples])
    scores = []
    for s, (own, other) in zip(samples, answers, strict=True):
        truth = quantised(s.test.activations, s.maximum)
        own, other = _valid(own, truth.shape), _valid(other, truth.shape)
        if not isinstance(own, Refusal) and not truth.any():
            own = Refusal("the activations in the test examples are all 0")
        if isinstance(own, Refusal):
            scores.append(Score(judge.name, "simulation", None, None, None, 0, own.note))
            continue
        shuffled = None if isinstance(other, Refusal) else spearman(other, truth)
        note = other.note if isinstance(other, Refusal) else ""
        value = spearman(own, truth)
        scores.append(Score(judge.name, "simulation", value, pearson(own, truth), shuffled, truth.size, note))
    return scores


@dataclasses.dataclass(frozen=True)
class _Trial:
    """Windows with a firing and without: `fires` [n], and `marked` [n,w] tokens, the firing ones or random ones."""

    windows: Excerpts
    fires: np.ndarray
    marked: np.ndarray

    @property
    def fault(self) -> str:
        n, m = int(self.fires.sum()), int((~self.fires).sum())
        if min(n, m) >= LEAST_WINDOWS:
            return ""
        return f"{n} windows with a firing and {m} without: {LEAST_WINDOWS} of each are needed"


def trial(s: Samples, seed: int) -> _Trial:
    """The windows for detection and fuzzing. In windows without a firing as many random tokens are marked as are in the
    others on average, rounded up: at least one, and never all of a window."""
    firing = _firing(s.test)
    true = firing.activations > MARKED * firing.activations.max(axis=1, initial=0, keepdims=True)
    width = s.test.tokens.shape[1]
    n = min(max(math.ceil(true.sum(axis=1).mean()), 1), width - 1) if len(firing) else 1
    rng = stream("autointerp.fuzzing", seed, s.feature)
    marked = np.zeros(s.quiet.tokens.shape, bool)
    for row in marked:
        row[rng.choice(width, n, replace=False)] = True
    fires = np.repeat([True, False], [len(firing), len(s.quiet)])
    return _Trial(together(firing.seen, s.quiet.seen), fires, np.concatenate([true, marked]))


def known(s: Samples) -> Known:
    """The windows on which a judge may choose its threshold for a feature: the explanation examples that were chosen
    for a firing and have one, and spare windows without."""
    firing = _firing(s.explanation)
    fires = np.repeat([True, False], [len(firing), len(s.spare)])
    return Known(together(firing.seen, s.spare.seen), fires)


def _firing(windows: Windows) -> Windows:
    """Those that were chosen for a firing, and have one."""
    chosen = windows[np.isin(windows.kind, [KINDS.index("top"), KINDS.index("interval")])]
    return chosen[chosen.activations.max(axis=1, initial=0) > 0]


def _on_firings(
    judge: Judge[E], samples: Sequence[Samples], explanations: Explanations[E], seed: int, kinds: Sequence[str]
) -> list[list[Score]]:
    """Detection, then fuzzing; of fuzzing a judge is asked for its simulation of the same windows."""
    trials = [trial(s, seed) for s in samples]
    windows = [t.windows for t in trials]
    columns = []
    if "detection" in kinds:
        if isinstance(judge, CalibratedDetector):
            about = [(w, known(s)) for w, s in zip(windows, samples, strict=True)]
            found = asked(judge.detect_calibrated, explanations, about)
        else:
            found = asked(lambda q: detect(judge, q), explanations, windows)
        columns.append([_decided(judge.name, "detection", t, a) for t, a in zip(trials, found, strict=True)])
    if "fuzzing" in kinds:
        found = asked(judge.simulate, explanations, windows)
        found = [[_of_marked(a, t) for a in row] for row, t in zip(found, trials, strict=True)]
        columns.append([_decided(judge.name, "fuzzing", t, a) for t, a in zip(trials, found, strict=True)])
    return columns


def _of_marked(answer: np.ndarray | Refusal, t: _Trial) -> np.ndarray | Refusal:
    """[n] the mean probability of firing over the marked tokens of each window."""
    answer = _valid(answer, t.marked.shape)
    if isinstance(answer, Refusal):
        return answer
    return (probability(answer) * t.marked).sum(axis=1) / np.maximum(t.marked.sum(axis=1), 1)


def _decided(judge: str, kind: str, t: _Trial, answers: Sequence[np.ndarray | Refusal]) -> Score:
    own, other = (_valid(a, t.fires.shape) for a in answers)
    if t.fault or isinstance(own, Refusal):
        note = t.fault or (own.note if isinstance(own, Refusal) else "")
        return Score(judge, kind, None, None, None, 0, note)
    said = own >= 0.5
    shuffled = None if isinstance(other, Refusal) else balanced_accuracy(t.fires, other >= 0.5)
    note = other.note if isinstance(other, Refusal) else ""
    return Score(judge, kind, balanced_accuracy(t.fires, said), f1(t.fires, said), shuffled, len(said), note)


def _valid(answer: np.ndarray | Refusal, shape: tuple[int, ...]) -> np.ndarray | Refusal:
    """An answer of the expected shape with finite numbers, or a refusal that says what came instead."""
    if isinstance(answer, Refusal):
        return answer
    if np.shape(answer) != shape or not np.isfinite(answer).all():
        return Refusal(f"predicted an array {np.shape(answer)}: expected finite numbers of shape {shape}")
    return answer
