"""Timing within limits: how often a call is repeated in one timing, and how many rounds fit into the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from experiments.bench.timing import rates


class Budget:
    """Seconds divided over parts by their weights; time that a part does not use goes to the later parts."""

    def __init__(self, seconds: float, weights: dict[str, float]):
        self._end, self._weights = time.perf_counter() + seconds, dict(weights)

    def take(self, part: str) -> float:
        """The seconds for a part. Call it once per part, when the part begins."""
        left, whole = max(self._end - time.perf_counter(), 0.0), sum(self._weights.values())
        return left * self._weights.pop(part) / whole


class TimedWork:
    """Work that is repeated for about `seconds`, in the form that `timing.rates` takes.

    `run(n)` does the work n times and returns the arrays to wait for, or anything else if it waits itself. The
    constructor calls it twice: to compile it, and to measure how long it takes.
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
    """A function of n that calls `once` n times and returns the last result."""

    def run(n: int) -> Any:
        for _ in range(n):
            last = once()
        return last

    return run


def take_turns(turns: dict[str, TimedWork], most: int, seconds: float) -> tuple[int, dict[str, list[float]]]:
    """(number of rounds, rates of every way per round), with as many rounds as fit into `seconds`, at most `most`. If
    not even one fits, returns the rates that the turns measured when they were created."""
    rounds = min(most, int(max(seconds, 0) / sum(t.seconds for t in turns.values())))
    if not rounds:
        return 0, {name: [turn.rate] for name, turn in turns.items()}
    return rounds, rates(turns, rounds, uncounted=0)  # every way has already run once
