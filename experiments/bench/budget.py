"""Timing within limits: how often a call is repeated to be timed well, and how many rounds there is time for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from experiments.bench.timing import rates


class Budget:
    """Seconds divided over parts by their weights; what one leaves unspent goes to those after it."""

    def __init__(self, seconds: float, weights: dict[str, float]):
        self._end, self._weights = time.perf_counter() + seconds, dict(weights)

    def take(self, part: str) -> float:
        """The seconds for a part; each is asked for once, when it begins."""
        left, whole = max(self._end - time.perf_counter(), 0.0), sum(self._weights.values())
        return left * self._weights.pop(part) / whole


class TimedWork:
    """Work that is repeated until about `seconds` have passed, as a way for `timing.rates`.

    `run(n)` does it n times, and returns arrays that are waited for, or what is none if it waits itself. It is called
    twice here: to be compiled, and to see how long it takes.
    """

    def __init__(self, run: Callable[[int], Any], units: float, seconds: float):
        self._run, self._units = run, units
        jax.block_until_ready(run(1))
        begin = time.perf_counter()
        jax.block_until_ready(run(1))
        once = time.perf_counter() - begin
        self._times = max(1, round(seconds / once))
        self.seconds, self.rate = self._times * once, units / once

    def __call__(self) -> float:
        jax.block_until_ready(self._run(self._times))
        return self._times * self._units


def repeated(once: Callable[[], Any]) -> Callable[[int], Any]:
    """A function of one call as one of n calls, which returns what the last of them does."""

    def run(n: int) -> Any:
        for _ in range(n):
            last = once()
        return last

    return run


def take_turns(turns: dict[str, TimedWork], most: int, seconds: float) -> tuple[int, dict[str, list[float]]]:
    """(number of rounds, rates of all ways in them), as many rounds as there is time for, at most `most`. Without time
    for one, the rates are those that the turns had at first."""
    rounds = min(most, int(max(seconds, 0) / sum(t.seconds for t in turns.values())))
    if not rounds:
        return 0, {name: [turn.rate] for name, turn in turns.items()}
    return rounds, rates(turns, rounds, uncounted=0)  # every way has run before
