"""The entries with the smallest keys of each of many groups."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

EMPTY = np.uint64(2**64 - 1)


class Bottom:
    """For each of `groups` groups the `k` entries with the smallest 64-bit keys: in rising order, whatever the order
    in which they came. An entry has a `place` (a token's number) and a `value`."""

    def __init__(self, groups: int, k: int):
        self.state = {
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
        enters = key < self.last[group]
        if not enters.any():
            return
        group, key, place, value = (x[enters] for x in (group, key, place, value))
        k = self.state["key"].shape[1]
        changed, at = np.unique(group, return_inverse=True)
        old = {name: x[changed].ravel() for name, x in self.state.items()}
        at = np.concatenate([np.repeat(np.arange(len(changed)), k), at])
        new = {"key": key, "place": place, "value": value}
        both = {name: np.concatenate([old[name], new[name].astype(old[name].dtype)]) for name in old}
        order = np.lexsort((both["place"], both["key"], at))
        at = at[order]
        rank = np.arange(len(at)) - np.searchsorted(at, np.arange(len(changed)))[at]
        kept = rank < k  # every group has k entries already, empty ones among them
        for name, x in self.state.items():
            x[changed] = both[name][order][kept].reshape(len(changed), k)

    def merge(self, other: Mapping[str, np.ndarray]) -> None:
        """Takes the entries of another process."""
        group, rank = np.nonzero(other["key"] != EMPTY)
        self.offer(group, *(other[name][group, rank] for name in ("key", "place", "value")))
