"""A language model on this machine as a judge. A small one cannot answer in a prescribed form, so it is not asked to
write its answers, but how probable it finds them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.autointerp import local_prompts as prompts
from monosem_jax.analysis.autointerp.answer_cache import AnswerCache
from monosem_jax.analysis.autointerp.calibrate import part, threshold
from monosem_jax.analysis.autointerp.local_config import LocalConfig
from monosem_jax.analysis.autointerp.local_model import LocalModel
from monosem_jax.analysis.autointerp.protocol import Explainer, Known, Refusal
from monosem_jax.analysis.autointerp.reader import Beginning
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.windows import Excerpts
from monosem_jax.analysis.records import Explanation
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.progress import SHORT, progress

LONGEST = 40  # tokens of an explanation that are read
ENDING = 40  # tokens of a window and what is asked about it, in most prompts
LARGEST = 30.0  # of a log-odds, in a probability
Advance = Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class Told:
    """An explanation as it stands in prompts: `words`."""

    words: str
    record: Explanation


class LocalJudge:
    """The judge.

    Detection: log P(window | explanation) − log P(window | words that say nothing), or log P(yes) − log P(no) after an
    explanation, a window and a question, calibrated for each feature on known windows. Simulation: the mean of the
    activations 0 to 9, weighted by their probabilities after each token.

    Args:
      explainer: whose explanations it is given; without one it writes its own. `whose` is its name.
    """

    def __init__(
        self,
        local: LocalModel,
        shown: prompts.Shown,
        config: LocalConfig,
        cache: AnswerCache,
        explainer: Explainer[Any] | None = None,
        whose: str = "",
    ):
        self.local, self.reader, self.shown, self.config, self.cache = local, local.reader, shown, config, cache
        self.explainer = explainer
        self.name = f"{local.name} ({whose})" if explainer else local.name
        self.kinds: tuple[str, ...] = config.kinds
        self.n_features = config.n_features
        self._begun: dict[str, Beginning] = {}
        self._without: dict[str, float] = {}  # text of a window → its log-probability without an explanation

    @pinned()
    def explain(self, samples: Sequence[Samples]) -> list[Told | Refusal]:
        """An explanation of each feature: its own, from the strongest examples, or the other judge's."""
        if self.explainer is None:
            with progress(len(samples), f"{self.name}: explanations", "features", delay=SHORT) as bar:
                return [told for first in range(0, len(samples), self.config.batch)
                        for told in self._written(samples[first : first + self.config.batch], bar.update)]  # fmt: skip
        found = self.explainer.explain(samples)
        return [e if isinstance(e, Refusal) else self._told(prompts.told(e, e.record.text, self.shown)) for e in found]

    @pinned()
    def detect_calibrated(self, questions: Sequence[tuple[Told, tuple[Excerpts, Known]]]) -> list[np.ndarray | Refusal]:
        """Probabilities [n] that a feature fires in each window: 0.5 at the threshold chosen on the known windows."""
        out: list[np.ndarray | Refusal] = []
        chosen = [part(known, self.config.calibration) for _, (_, known) in questions]
        total = sum(len(rows) + len(w) for (rows, _), (_, (w, _)) in zip(chosen, questions, strict=True))
        with progress(total, f"{self.name}: detection", "windows", delay=SHORT) as bar:
            for (told, (windows, known)), (rows, fires) in zip(questions, chosen, strict=True):
                if fires.all() or not fires.any():
                    bar.update(len(rows) + len(windows))
                    out.append(Refusal("no windows with and without a firing on which to choose a threshold"))
                    continue
                tokens = np.concatenate([known.windows.tokens[rows], windows.tokens])
                scores = self.log_odds(told, tokens, bar.update)
                over = scores[len(rows) :] - threshold(scores[: len(rows)], fires)
                out.append(1 / (1 + np.exp(-np.clip(over, -LARGEST, LARGEST))))
        return out

    @pinned()
    def simulate(self, questions: Sequence[tuple[Told, Excerpts]]) -> list[np.ndarray | Refusal]:
        """The expected activation of every token, from 0 to 9; all activations of a window are asked for at once."""
        with progress(sum(len(w) for _, w in questions), f"{self.name}: simulation", "windows", delay=SHORT) as bar:
            return [self.simulated(told, w.tokens, bar.update) for told, w in questions]

    def log_odds(self, told: Told, tokens: np.ndarray, advance: Advance = lambda n: None) -> np.ndarray:
        """[n] how much the explanation speaks for a firing, in nats, for windows [n,w]."""
        texts = [self.shown.text(row) for row in tokens]
        if self.config.detection == "answers":
            return np.asarray(self._cached("answers", told.words, texts, advance, self._answered))
        if new := [t for t in dict.fromkeys(texts) if t not in self._without]:
            without = self._cached("likelihood", prompts.NOTHING, new, lambda n: None, self._likely)
            self._without |= dict(zip(new, without, strict=True))
        found = self._cached("likelihood", told.words, texts, advance, self._likely)
        return np.asarray(found) - np.asarray([self._without[t] for t in texts])

    def _likely(self, words: str, texts: list[str], advance: Advance) -> list[float]:
        """The log-probability of each text after an explanation."""
        begun = self._question("likelihood", words, "\nText")
        endings = [[*self.reader.encode(":"), *self.reader.encode(f" {t.strip(' ')}")] for t in texts]
        return [float(found.sum()) for found in self.reader.likelihood(begun, endings, advance)]

    def _answered(self, words: str, texts: list[str], advance: Advance) -> list[float]:
        begun = self._question("answers", words, "\nText:")
        endings = [self.reader.encode(prompts.question(t)) for t in texts]
        answers = self.local.answers
        found = self.reader.expected(
            begun, endings, [[len(e) - 1] for e in endings], (*answers.yes, *answers.no), advance
        )[:, 0].astype(np.float64)
        yes, no = np.split(found, [len(answers.yes)], axis=1)
        return (np.logaddexp.reduce(yes, axis=1) - np.logaddexp.reduce(no, axis=1)).tolist()

    def simulated(self, told: Told, tokens: np.ndarray, advance: Advance = lambda n: None) -> np.ndarray:
        """[n,w] the expected activations in windows [n,w]."""
        pieces = [[self.shown.text([t]) for t in row] for row in tokens]
        asked = ["\t".join(row) for row in pieces]
        found = self._cached(
            "simulation", told.words, asked, advance, lambda words, _, told_of: self._levels(words, pieces, told_of)
        )
        return np.asarray(found, np.float64).reshape(tokens.shape)

    def _levels(self, words: str, pieces: list[list[str]], advance: Advance) -> list[float]:
        begun = self._question("simulation", words, "\n")
        asked = [prompts.simulation_ending(row, self.reader.encode) for row in pieces]
        endings, at = zip(*asked, strict=True)
        found = self.reader.expected(begun, endings, at, self.local.answers.digits, advance).astype(np.float64)
        share = np.exp(found - found.max(axis=-1, keepdims=True))
        return (share @ np.arange(found.shape[-1]) / share.sum(axis=-1)).ravel().tolist()

    def _question(self, kind: str, words: str, end: str) -> Beginning:
        encode = self.reader.encode
        name = "Words:" if kind == "likelihood" else "Description:"
        ids = [*encode(name), *encode(f" {words}")[:LONGEST], *encode(end)]
        return self.reader.go_on(self._beginning(kind), ids, LONGEST + 8)

    def _beginning(self, kind: str) -> Beginning:
        """The examples that all questions of a kind begin with; they are read once."""
        if kind not in self._begun:
            encode = self.reader.encode
            examples = {"answers": prompts.DETECT, "likelihood": prompts.LIKELY}
            ids = prompts.simulation_beginning(encode) if kind == "simulation" else encode(examples[kind])
            self._begun[kind] = self.reader.begin([*self.local.begin, *ids], LONGEST + 8 + ENDING)
        return self._begun[kind]

    def _written(self, samples: Sequence[Samples], advance: Advance) -> list[Told | Refusal]:
        asked = [prompts.explain_prompt(s, self.shown) for s in samples]
        keys = [self._key("explanation", str(self.config.max_tokens), [text]) for text in asked]
        kept = [self.cache.get(key) for key in keys]
        if new := [i for i, answer in enumerate(kept) if answer is None]:
            texts = [prompts.EXPLAIN + asked[i] for i in new]
            for i, answer in zip(new, self.local.write(texts, self.config.max_tokens), strict=True):
                kept[i] = answer = f'"{answer}'
                self.cache.put(keys[i], answer)
        advance(len(samples))
        words = [" ".join((answer or "").split()) for answer in kept]
        return [self._told(w) if w else Refusal(f"{self.name} wrote no explanation") for w in words]

    def _told(self, words: str) -> Told:
        return Told(words, Explanation(self.name, words, len(words), "characters"))

    def _cached(
        self, kind: str, words: str, texts: list[str], advance: Advance, find: Callable[..., list[float]]
    ) -> list[float]:
        """Numbers from the cache, or new ones, which are put there."""
        key = self._key(kind, words, texts)
        try:
            found = json.loads(self.cache.get(key) or "")
        except ValueError:
            found = None
        if isinstance(found, list) and found and all(isinstance(x, float) and math.isfinite(x) for x in found):
            advance(len(texts))
            return found
        found = find(words, texts, advance)
        self.cache.put(key, json.dumps(found))
        return found

    def _key(self, kind: str, words: str, texts: list[str]) -> dict[str, Any]:
        examples = {
            "answers": prompts.DETECT,
            "likelihood": prompts.LIKELY,
            "simulation": repr(prompts.SIMULATE),
            "explanation": prompts.EXPLAIN,
        }
        seen = hashlib.sha256(examples[kind].encode()).hexdigest()
        return {"model": self.local.sha256, "kind": kind, "examples": seen, "words": words, "texts": texts}
