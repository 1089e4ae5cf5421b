"""What a judge is: an explainer and a simulator.

Both work on many features at once, so that a judge can batch its work or ask several questions at the same time. A
judge that cannot answer for one feature says so for that one; nothing is made up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.windows import LEVELS, Excerpts
from monosem_jax.analysis.records import Explanation

KINDS = ("simulation", "detection", "fuzzing")
FIRES = 0.5  # a predicted activation of at least this, which rounds to 1 or more of 9, says that the feature fires


class Explained(Protocol):
    """A judge's explanation of a feature, in a form of its own, and as a record with its text."""

    @property
    def record(self) -> Explanation: ...


E = TypeVar("E", bound=Explained)
E_out = TypeVar("E_out", bound=Explained, covariant=True)
E_in = TypeVar("E_in", contravariant=True)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a judge has no answer."""

    note: str


class Explainer(Protocol[E_out]):
    """Samples of features → an explanation of each; it sees `Samples.explanation` and nothing else of them."""

    def explain(self, samples: Sequence[Samples]) -> Sequence[E_out | Refusal]: ...


class Simulator(Protocol[E_in]):
    """(explanation, windows) of several features → the predicted activations [n,w] of each, from 0 to 9."""

    def simulate(self, questions: Sequence[tuple[E_in, Excerpts]]) -> Sequence[np.ndarray | Refusal]: ...


class Judge(Explainer[E], Simulator[E], Protocol[E]):
    """An explainer with a simulator that understands it. `name` goes into records; `kinds` are those of KINDS for which
    it is asked (what an answer costs differs)."""

    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> Sequence[str]: ...


@runtime_checkable
class SlowJudge(Protocol):
    """A judge that is asked about `n_features` of each set at most; 0: about all."""

    @property
    def n_features(self) -> int: ...


@runtime_checkable
class Detector(Protocol):
    """A judge that answers directly whether a feature fires in windows: probabilities [n] of each question."""

    def detect(self, questions: Sequence[tuple[E, Excerpts]]) -> Sequence[np.ndarray | Refusal]: ...


@dataclasses.dataclass(frozen=True)
class Known:
    """Windows of which is known whether the feature fires in them [n]. Nothing is scored on them."""

    windows: Excerpts
    fires: np.ndarray


@runtime_checkable
class CalibratedDetector(Protocol):
    """A detector whose numbers mean nothing by themselves: with each question it is given known windows of the same
    feature, on which it chooses the number from which on the feature fires. Probabilities [n] of each question."""

    def detect_calibrated(
        self, questions: Sequence[tuple[E, tuple[Excerpts, Known]]]
    ) -> Sequence[np.ndarray | Refusal]: ...


@runtime_checkable
class LogitJudge(Protocol):
    """A judge that has an opinion on which tokens a feature makes likely next: (explanation, tokens [n]) of several
    features → for each token whether it belongs to them [n]. It may know that half of the tokens do."""

    def likely_next(self, questions: Sequence[tuple[E, np.ndarray]]) -> Sequence[np.ndarray | Refusal]: ...


def detect(judge: Judge[E], questions: Sequence[tuple[E, Excerpts]]) -> Sequence[np.ndarray | Refusal]:
    """Probabilities [n] that a feature fires somewhere in each window. A judge that only simulates gives its largest
    prediction p in the window as 0.5 p / FIRES up to FIRES, and 0.5 to 1 from there to 9."""
    if isinstance(judge, Detector):
        return judge.detect(questions)
    answers = judge.simulate(questions)
    return [a if isinstance(a, Refusal) else probability(a.max(axis=1, initial=0)) for a in answers]


def probability(predicted: np.ndarray) -> np.ndarray:
    """Predicted activations from 0 to 9 as probabilities of firing: 0.5 at FIRES, linear on both sides."""
    return np.interp(predicted, [0, FIRES, LEVELS - 1], [0.0, 0.5, 1.0])
