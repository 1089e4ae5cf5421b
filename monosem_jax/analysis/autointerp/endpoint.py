"""A language model behind an endpoint as a judge: it explains a feature from the paper's examples, and predicts the
activations of all test windows in one shot."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

import numpy as np

from monosem_jax.analysis.autointerp import prompts
from monosem_jax.analysis.autointerp.answer_cache import AnswerCache
from monosem_jax.analysis.autointerp.chat import ChatClient
from monosem_jax.analysis.autointerp.endpoint_config import EndpointConfig, unencrypted
from monosem_jax.analysis.autointerp.prompts import Messages
from monosem_jax.analysis.autointerp.protocol import Refusal
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.windows import Excerpts
from monosem_jax.analysis.records import Explanation
from monosem_jax.runtime.ambient import pool
from monosem_jax.runtime.progress import SHORT, progress

PER_TOKEN = 3.5  # characters of JSON and English in a token of most models: for the estimate
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Prose:
    """An explanation in words."""

    record: Explanation


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What questions will cost: requests that are not in the cache, tokens of prompts and answers, dollars."""

    requests: int
    tokens_in: int
    tokens_out: int
    dollars: float


class Endpoint:
    """The judge. `failures` counts questions that have no answer, by the reason.

    `detection`: whether it is asked for detection too, one window in a prompt: 120 requests a feature.
    """

    def __init__(
        self,
        config: EndpointConfig,
        strings: Sequence[str],
        *,
        detection: bool = False,
        say: Callable[[str], Any] = lambda line: print(line, file=sys.stderr, flush=True),
    ):
        self.client = ChatClient(config)
        self.cache = AnswerCache(config.cache)
        self.config, self.strings, self.say = config, strings, say
        self.name = config.model
        self.kinds: tuple[str, ...] = ("simulation", "detection") if detection else ("simulation",)
        self.failures: dict[str, int] = {}
        self._told = ""
        if unencrypted(config):
            say(f"note: the key in {config.key_variable} travels unencrypted to {config.base_url}")

    def explain(self, samples: Sequence[Samples]) -> list[Prose | Refusal]:
        """One explanation of each feature. First a line tells what all questions about them will cost."""
        asked = [prompts.explain_prompt(s, self.strings) for s in samples]
        e = self.estimate(samples)
        price = f", about ${e.dollars:.2f}" if self.config.dollars_in or self.config.dollars_out else ""
        self.say(
            f"{self.name} at {self.config.base_url}: up to {e.requests} requests for {len(samples)} features, about "
            f"{e.tokens_in:,} tokens of prompts and {e.tokens_out:,} of answers{price}"
        )
        found = self._all("explanations", asked, [prompts.read_explanation] * len(asked))
        return [t if isinstance(t, Refusal) else self._prose(t) for t in found]

    def simulate(self, questions: Sequence[tuple[Prose, Excerpts]]) -> list[np.ndarray | Refusal]:
        """The predicted activations."""
        asked = [prompts.simulate_prompt(p.record.text, w.tokens, self.strings) for p, w in questions]
        readers = [_activations_of(w.tokens.shape) for _, w in questions]
        return self._all("simulations", asked, readers)

    def likely_next(self, questions: Sequence[tuple[Prose, np.ndarray]]) -> list[np.ndarray | Refusal]:
        """The tokens that the explanation makes it expect next."""
        asked = [prompts.logits_prompt(p.record.text, tokens, self.strings) for p, tokens in questions]
        return self._all("logits", asked, [_likely_of(len(tokens)) for _, tokens in questions])

    def detect(self, questions: Sequence[tuple[Prose, Excerpts]]) -> list[np.ndarray | Refusal]:
        """1.0 or 0.0 for each window; a feature with a window that has no answer has none."""
        asked = [prompts.detect_prompt(p.record.text, row, self.strings) for p, w in questions for row in w.tokens]
        found = iter(self._all("detections", asked, [prompts.read_active] * len(asked)))
        out: list[np.ndarray | Refusal] = []
        for _, w in questions:
            said = [next(found) for _ in range(len(w))]
            refused = [a for a in said if isinstance(a, Refusal)]
            out.append(refused[0] if refused else np.asarray(said, np.float64))
        return out

    def estimate(self, samples: Sequence[Samples]) -> Estimate:
        """An upper bound for explanations, simulations and logits of these features, own and shuffled."""
        requests = tokens_in = tokens_out = 0
        stand_in = "x" * 200
        for s in samples:
            asked = [(prompts.explain_prompt(s, self.strings), 60)]
            window = prompts.simulate_prompt(stand_in, s.test.tokens, self.strings)
            asked += [(window, 2 * s.test.tokens.size)] * 2
            asked += [(prompts.logits_prompt(stand_in, np.zeros(100, int), self.strings), 200)] * 2
            if "detection" in self.kinds:
                one = prompts.detect_prompt(stand_in, s.test.tokens[0], self.strings)
                asked += [(one, 8)] * (2 * 2 * len(s.quiet))
            requests += len(asked)
            tokens_in += sum(_tokens(messages) for messages, _ in asked)
            tokens_out += sum(n for _, n in asked)
        dollars = (tokens_in * self.config.dollars_in + tokens_out * self.config.dollars_out) / 1e6
        return Estimate(requests, tokens_in, tokens_out, dollars)

    @property
    def report(self) -> str:
        """What was asked and answered so far, in one line."""
        u = self.client.usage
        lost = "".join(f"; {n} without an answer: {note}" for note, n in self.failures.items())
        tokens = f"{u.tokens_in:,} + {u.tokens_out:,} tokens"
        return f"{self.name}: {u.answers} answers to {u.requests} requests, {tokens}{lost}"

    def _prose(self, text: str) -> Prose:
        return Prose(Explanation(self.name, text, len(text), "characters"))

    def _all(self, what: str, asked: Sequence[Messages], readers: Sequence[Callable[[str], T]]) -> list[T | Refusal]:
        """The answers to all questions, in order. Equal ones are asked once; what is in the cache is not asked."""
        requests = [self.client.request(messages) for messages in asked]
        keys = [str(r["messages"]) for r in requests]
        out: dict[str, T | Refusal] = {}
        threads = pool(self.config.concurrency, f"endpoint.{what}")
        try:
            open_: dict[Future[T | Refusal], str] = {}
            seen: set[str] = set()
            for key, request, read in zip(keys, requests, readers, strict=True):
                if key not in seen:
                    seen.add(key)
                    open_[threads.submit(self._one, request, read)] = key
            with progress(len(open_), what, "answers", delay=SHORT) as bar:
                while open_:
                    for future in wait(open_, timeout=1.0, return_when=FIRST_COMPLETED).done:
                        out[open_.pop(future)] = future.result()
                        bar.update()
        except BaseException:
            self.client.close()
            raise
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
        answers = [out[key] for key in keys]
        self._tell(answers)
        return answers

    def _one(self, request: dict[str, Any], read: Callable[[str], T]) -> T | Refusal:
        keyed = {"base_url": self.config.base_url, **request}
        kept = self.cache.get(keyed)
        if kept is not None:
            try:
                return read(kept)
            except prompts.Nonsense:
                pass  # of an earlier version, or a damaged file
        answer = self.client.ask(request)
        if isinstance(answer, Refusal):
            return answer
        try:
            found = read(answer)
        except prompts.Nonsense as e:
            return Refusal(str(e))
        self.cache.put(keyed, answer)
        return found

    def _tell(self, answers: Sequence[Any]) -> None:
        """Counts what has no answer; says once that the endpoint is down."""
        for a in answers:
            if isinstance(a, Refusal):
                self.failures[a.note] = self.failures.get(a.note, 0) + 1
        if self.client.down and self.client.down != self._told:
            self._told = self.client.down
            self.say(f"{self.name}: no more questions are asked, {self.client.down}")


def _activations_of(shape: tuple[int, ...]) -> Callable[[str], np.ndarray]:
    return lambda answer: prompts.read_activations(answer, shape)


def _likely_of(n: int) -> Callable[[str], np.ndarray]:
    return lambda answer: prompts.read_likely(answer, n)


def _tokens(messages: Messages) -> int:
    return round(sum(len(m["content"]) for m in messages) / PER_TOKEN)
