"""Features against proxies: numbers per token that say what kind of text a token lies in."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Float32

from monosem_jax.analysis.scan.batch import Batch, Sums
from monosem_jax.analysis.scan.intervals import interval_of
from monosem_jax.analysis.scan.result import INTERVALS
from monosem_jax.runtime.errors import BadInput

PER = INTERVALS[-1]  # the number of intervals in which hits are counted


class Proxies(Protocol):
    """P proxies for the contexts of a text."""

    @property
    def names(self) -> tuple[str, ...]: ...
    def values(self, first_context: int, stop_context: int) -> Float32[np.ndarray, "P n T"]:
        """Their values on the tokens of some contexts."""
        ...


def read_proxies(proxies: Proxies | None, first: int, stop: int, length: int) -> np.ndarray | None:
    """[P,n·T] the values in contexts `first` to `stop`; raises BadInput on another shape or values that are not
    finite, naming the proxy."""
    if proxies is None:
        return None
    found = np.asarray(proxies.values(first, stop), np.float32)
    expected = (len(proxies.names), stop - first, length)
    if found.shape != expected:
        raise BadInput(f"scan: proxies gave values of shape {list(found.shape)}: expected {list(expected)}")
    found = found.reshape(expected[0], expected[1] * length)
    for name, values in zip(proxies.names, found, strict=True):
        if not np.isfinite(values).all():
            raise BadInput(f"scan: proxy {name!r} is not finite on {int((~np.isfinite(values)).sum())} tokens")
    return found


class ProxySums(Sums):
    """Sums over tokens of each proxy, of its square, and of its products with the activations."""

    def __init__(self, n_proxies: int, n_features: int):
        self.state = {
            "total": np.zeros(n_proxies),
            "square": np.zeros(n_proxies),
            "positive": np.zeros(n_proxies, np.int64),
            "product": np.zeros((n_proxies, n_features)),
            "on_positive": np.zeros((n_proxies, n_features)),
        }

    def add(self, batch: Batch) -> None:
        if batch.proxies is None:
            return
        p, s = batch.proxies.astype(np.float64) * batch.real, self.state
        holds = (p > 0).astype(np.float64)
        s["total"] += p.sum(axis=1)
        s["square"] += np.square(p).sum(axis=1)
        s["positive"] += (p > 0).sum(axis=1)
        f = batch.firings.matrix()
        s["product"] += (f @ p.T).T
        s["on_positive"] += (f @ holds.T).T


class ProxyHits(Sums):
    """Firings above zero on tokens with proxy > 0, by interval of the activation, and the sums of the activations
    there."""

    def __init__(self, n_proxies: int, maximum: np.ndarray):
        self._maximum = maximum
        self.state = {
            "hits": np.zeros((n_proxies, len(maximum), PER), np.int64),
            "value": np.zeros((n_proxies, len(maximum))),
        }

    def add(self, batch: Batch) -> None:
        if batch.proxies is None:
            return
        f = batch.firings.positive
        at = f.feature.astype(np.int64) * PER + interval_of(f.value, self._maximum[f.feature], PER)
        value = f.value.astype(np.float64)
        for i, p in enumerate(batch.proxies):
            hit = (p > 0)[f.row]
            np.add.at(self.state["hits"][i].reshape(-1), at[hit], 1)
            np.add.at(self.state["value"][i], f.feature[hit], value[hit])
