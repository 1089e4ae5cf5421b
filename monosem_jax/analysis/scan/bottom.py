"""The entries with the smallest keys of each of many groups."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

EMPTY = np.uint64(2**64 - 1)


class Bottom:
    """For each of `groups` groups the `k` entries with the smallest 64-bit keys: in rising order, whatever the order
    in which they came. An entry has a `place` (a token's number) and a `value`."""

    def __init__(self, groups: int, k: int):
        self.state: dict[str, np.ndarray] = {
            "key": np.full((groups, k), EMPTY),
            "place": np.full((groups, k), -1, np.int64),
            "value": np.zeros((groups, k), np.float32),
        }

    @property
    def last(self) -> np.ndarray:
        """[groups] the largest key of each group so far: only smaller ones can enter."""
        return self.state["key"][:, -1]

    def offer(self, group: np.ndarray, key: np.ndarray, place: np.ndarray, value: np.ndarray) -> None:
        """Takes entries [n]; no group may be offered the same entry twice."""
        enters = np.flatnonzero(key < self.last[group])
        if not len(enters):
            return
        order = enters[np.lexsort((place[enters], key[enters], group[enters]))]
        group = group[order]
        begins = np.concatenate([[True], group[1:] != group[:-1]])
        rank = np.arange(len(group)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
        for r in range(min(self.state["key"].shape[1], int(rank.max()) + 1)):
            at = order[rank == r]
            self._insert(group[rank == r], {"key": key[at], "place": place[at], "value": value[at]})

    def _insert(self, group: np.ndarray, new: dict[str, np.ndarray]) -> None:
        """Inserts one entry into each of different groups, whose last entry falls out."""
        old = {name: x[group] for name, x in self.state.items()}
        slot = np.arange(old["key"].shape[1])
        # Of equal keys the one that is there stays first: entries come in rising order.
        at = (old["key"] <= new["key"][:, None]).sum(axis=1)[:, None]
        for name, x in self.state.items():
            moved = np.concatenate([old[name][:, :1], old[name][:, :-1]], axis=1)
            x[group] = np.where(slot < at, old[name], np.where(slot == at, new[name][:, None], moved))

    def merge(self, other: Mapping[str, np.ndarray]) -> None:
        """Takes the entries of another process."""
        group, rank = np.nonzero(other["key"] != EMPTY)
        self.offer(group, *(other[name][group, rank] for name in ("key", "place", "value")))
