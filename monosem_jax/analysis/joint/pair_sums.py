"""Sums over tokens for every pair of a feature of one set and a feature of another, exact, in one reading of the text.

They are what universality (correlation of activations) and feature splitting (masked cosine similarity) are made of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from monosem_jax.analysis.feature_sets import FeatureSet, check_comparable
from monosem_jax.analysis.scan.batch import Batch, Sums
from monosem_jax.analysis.scan.firings import Dense, Firings
from monosem_jax.analysis.scan.pairs import add_products, mean_and_deviation
from monosem_jax.analysis.scan.passes import read_once
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_mesh_axes, token_ids, whole_number
from monosem_jax.runtime.errors import BadInput

BYTES_PER_PAIR = {False: 8, True: 32}  # of the tables of a pair, without and with those for masked similarities
BLOCK = 1 << 22  # pairs for which a quotient is computed at a time


@dataclasses.dataclass(frozen=True)
class SideSums:
    """Sums over tokens for the features of one set: `total` Σ f, `square` Σ f² (float64), and `fired`, the number of
    tokens at which f is not 0."""

    name: str
    total: Float[np.ndarray, " F"]
    square: Float[np.ndarray, " F"]
    fired: Int[np.ndarray, " F"]


@dataclasses.dataclass(frozen=True)
class PairSums:
    """Sums over the same `tokens` tokens (BOS left out) for features f of `a` and g of `b`.

    All in float64: `product` [F,G] Σ f g, and where they were asked for (`masked`) `both` [F,G] tokens at which neither
    is 0, `a_on_b` [F,G] Σ f² over the tokens at which g is not 0, and `b_on_a` [F,G] Σ g² over those at which f is not.
    """

    a: SideSums
    b: SideSums
    tokens: int
    product: Float[np.ndarray, "F G"]
    both: Float[np.ndarray, "F G"] | None = None
    a_on_b: Float[np.ndarray, "F G"] | None = None
    b_on_a: Float[np.ndarray, "F G"] | None = None

    @property
    def masked(self) -> bool:
        return self.both is not None

    def correlation(self) -> Float[np.ndarray, "F G"]:
        """Pearson correlations of activations over the tokens, fp32; NaN where one of the features never varies."""
        (mean_a, deviation_a), (mean_b, deviation_b) = (
            mean_and_deviation(side.total, side.square, self.tokens) for side in (self.a, self.b)
        )
        r = np.empty(self.product.shape, np.float32)
        for rows in self._blocks():
            with np.errstate(divide="ignore", invalid="ignore"):
                each = self.product[rows] / self.tokens - np.outer(mean_a[rows], mean_b)
                each /= np.outer(deviation_a[rows], deviation_b)
            each[~np.isfinite(each)] = np.nan
            r[rows] = np.clip(each, -1, 1)
        return r

    def masked_cosine(self) -> Float[np.ndarray, "F G"]:
        """Masked cosine similarities (paper, "Feature splitting"): the cosine of two features' activations on the
        tokens where one of them fires, and on those where the other does; the larger counts. fp32, 0 where they never
        fire together. Raises BadInput without the masked sums."""
        return np.maximum(self.cosine_where_a_fires(), self.cosine_where_b_fires())

    def cosine_where_a_fires(self) -> Float[np.ndarray, "F G"]:
        """[F,G] the cosine of activations over the tokens at which the feature of `a` fires; 0 where both never do."""
        return self._cosine(lambda rows: np.sqrt(self.a.square[rows][:, None] * self._table("b_on_a")[rows]))

    def cosine_where_b_fires(self) -> Float[np.ndarray, "F G"]:
        """[F,G] the same over the tokens at which the feature of `b` fires."""
        return self._cosine(lambda rows: np.sqrt(self._table("a_on_b")[rows] * self.b.square))

    def transposed(self) -> PairSums:
        """The same sums with the sets exchanged."""
        both = None if self.both is None else self.both.T
        a_on_b, b_on_a = (None if x is None else x.T for x in (self.a_on_b, self.b_on_a))
        return PairSums(self.b, self.a, self.tokens, self.product.T, both, b_on_a, a_on_b)

    def _cosine(self, norms: Callable[[slice], np.ndarray]) -> np.ndarray:
        found = np.zeros(self.product.shape, np.float32)
        for rows in self._blocks():
            with np.errstate(divide="ignore", invalid="ignore"):
                each = self.product[rows] / norms(rows)
            found[rows] = np.where(self._table("both")[rows] > 0, np.clip(each, -1, 1), 0)
        return found

    def _table(self, name: str) -> np.ndarray:
        found = getattr(self, name)
        if found is None:
            raise BadInput(f"the sums of {self.a.name} and {self.b.name} were made without masked ones: expected them")
        return found

    def _blocks(self) -> Iterator[slice]:
        n, g = self.product.shape
        size = max(1, BLOCK // max(g, 1))
        return (slice(start, min(start + size, n)) for start in range(0, n, size))


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two sets that are compared, by their numbers, and whether the masked sums are needed."""

    a: int
    b: int
    masked: bool = False

    def n_bytes(self, sets: Sequence[FeatureSet]) -> int:
        """What the tables of the pair take."""
        return BYTES_PER_PAIR[self.masked] * sets[self.a].n_features * sets[self.b].n_features


@pinned()
def pair_sums(
    sets: Sequence[FeatureSet],
    pairs: Sequence[Pair],
    tokens: Int[np.ndarray, "C T"],
    *,
    batch: int = 32,
    mesh: Mesh | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> list[PairSums]:
    """The sums of each of `pairs` over contexts [C,T]. Each set is encoded once, whatever the number of pairs; sets of
    one transformer and site share its forward pass.

    Args:
      batch: contexts per forward pass.
      mesh: contexts are divided over its `data` axis, and dictionaries over its `model` axis.
      advance: called with the number of contexts done.

    Raises BadInput on sets of other tokenizers or of the same name, and on tokens that the models do not have.
    """
    batch = whole_number(f"batch is {batch!r}", batch, 1)
    names = [s.name for s in sets]
    if len(set(names)) < len(names):
        raise BadInput(f"pair_sums: the sets are named {', '.join(names)}: expected different names")
    for other in sets[1:]:
        check_comparable(sets[0], other)
    if mesh is not None:
        check_mesh_axes("pair_sums", mesh)
    checked = np.asarray(token_ids("pair_sums", tokens, sets[0].tapped.model.config.vocab_size))
    n_tokens = int(np.sum(checked != sets[0].tapped.bos))
    if not n_tokens:
        raise BadInput("pair_sums was given no tokens but BOS: expected others, at which features fire")
    used = sorted({i for pair in pairs for i in (pair.a, pair.b)}, key=lambda i: sets[i].n_features, reverse=True)
    chosen = [sets[i] for i in used]
    sides = {i: _Side(sets[i].n_features, _name(used, names, i)) for i in used}
    tables = [_Tables(pair, sets, used, names) for pair in pairs]
    accumulators: dict[str, Any] = {f"side{i}": side for i, side in sides.items()}
    accumulators |= {f"pair{k}": table for k, table in enumerate(tables)}
    read_once(chosen, checked, accumulators, batch=batch, mesh=mesh, advance=advance)
    sums = {i: side.sums(names[i]) for i, side in sides.items()}
    return [
        PairSums(sums[pair.a], sums[pair.b], n_tokens, **table.state) for pair, table in zip(pairs, tables, strict=True)
    ]


def _name(used: Sequence[int], names: Sequence[str], i: int) -> str:
    """What a batch calls set i: the first one has no name."""
    return "" if i == used[0] else names[i]


def _activations(batch: Batch, name: str) -> Firings | Dense:
    return batch.others[name] if name else batch.firings


class _Side(Sums):
    def __init__(self, n: int, name: str):
        self._name = name
        self.state = {"total": np.zeros(n), "square": np.zeros(n), "fired": np.zeros(n, np.int64)}

    def add(self, batch: Batch) -> None:
        f = _activations(batch, self._name)
        total, square = f.moments()
        self.state["total"] += total
        self.state["square"] += square
        self.state["fired"] += np.diff(f.starts) if isinstance(f, Firings) else np.count_nonzero(f.f, axis=0)

    def sums(self, name: str) -> SideSums:
        return SideSums(name, **self.state)


class _Tables(Sums):
    def __init__(self, pair: Pair, sets: Sequence[FeatureSet], used: Sequence[int], names: Sequence[str]):
        self._names = [_name(used, names, i) for i in (pair.a, pair.b)]
        shape = (sets[pair.a].n_features, sets[pair.b].n_features)
        self.state = {"product": np.zeros(shape)}
        if pair.masked:
            self.state |= {name: np.zeros(shape) for name in ("both", "a_on_b", "b_on_a")}

    def add(self, batch: Batch) -> None:
        f, g = (_activations(batch, name) for name in self._names)
        add_products(self.state["product"], f, g)
        if "both" in self.state:
            fires_f, fires_g = (_mapped(x, lambda v: (v != 0).astype(np.float64)) for x in (f, g))
            square_f, square_g = (_mapped(x, lambda v: np.square(v, dtype=np.float64)) for x in (f, g))
            add_products(self.state["both"], fires_f, fires_g)
            add_products(self.state["a_on_b"], square_f, fires_g)
            add_products(self.state["b_on_a"], fires_f, square_g)


def _mapped(x: Firings | Dense, function: Callable[[np.ndarray], np.ndarray]) -> Firings | Dense:
    """A function with function(0) = 0 of all activations."""
    if isinstance(x, Dense):
        return Dense(function(x.f))
    return dataclasses.replace(x, value=function(x.value))
