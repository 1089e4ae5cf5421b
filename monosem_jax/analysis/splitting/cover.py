"""How the children of a parent share out its firings: counted token by token, in one reading of the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jax.sharding import Mesh
from jaxtyping import Float, Int

from monosem_jax.analysis.feature_sets import FeatureSet, check_comparable
from monosem_jax.analysis.scan.batch import Batch, Sums
from monosem_jax.analysis.scan.encoding import Encoding
from monosem_jax.analysis.scan.firings import Dense, Firings
from monosem_jax.analysis.scan.passes import run_pass
from monosem_jax.analysis.scan.reader import Input, Reader
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_mesh_axes, check_shape, token_ids, whole_number


@dataclasses.dataclass(frozen=True)
class Cover:
    """Counts over tokens for every feature of a smaller dictionary, with the children that it is the best parent of.

    `fired` tokens on which the parent fires, and of these: `any` on which a child fires too, `several` on which two or
    more do. `total` Σ f of the parent, `covered` the part of it where a child fires. `children_fired` tokens on which a
    child fires, whether the parent does or not, `children_several` on which two or more do.
    """

    fired: Int[np.ndarray, " F"]
    any: Int[np.ndarray, " F"]
    several: Int[np.ndarray, " F"]
    total: Float[np.ndarray, " F"]
    covered: Float[np.ndarray, " F"]
    children_fired: Int[np.ndarray, " F"]
    children_several: Int[np.ndarray, " F"]

    @property
    def share(self) -> Float[np.ndarray, " F"]:
        """P(any child fires | parent fires), NaN for a parent that never does."""
        return _over(self.any, self.fired)

    @property
    def mass(self) -> Float[np.ndarray, " F"]:
        """The share of the parent's activation that lies where a child fires, NaN for a parent that never fires."""
        return _over(self.covered, self.total)

    @property
    def together(self) -> Float[np.ndarray, " F"]:
        """The share of the children's tokens on which two or more of them fire; NaN without such tokens."""
        return _over(self.children_several, self.children_fired)

    @property
    def within(self) -> Float[np.ndarray, " F"]:
        """P(parent fires | any child fires), NaN if none ever does."""
        return _over(self.any, self.children_fired)


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b > 0, a / b, np.nan)


@pinned()
def cover(
    sets: Sequence[FeatureSet],
    best_parents: Sequence[Int[np.ndarray, " G"]],
    tokens: Int[np.ndarray, "C T"],
    *,
    batch: int = 32,
    mesh: Mesh | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> list[Cover]:
    """How children share out their parents' firings, for each step from one set to the next, over contexts [C,T].

    Args:
      best_parents: for each step the parent [G] of every feature of the larger set, -1 for none (`Step.best_parent`).
      batch, mesh, advance: as for `pair_sums`.

    Raises BadInput on sets of other tokenizers, and on parents of another number of features.
    """
    batch = whole_number(f"batch is {batch!r}", batch, 1)
    for other in sets[1:]:
        check_comparable(sets[0], other)
    if mesh is not None:
        check_mesh_axes("cover", mesh)
    for features, parent in zip(sets[1:], best_parents, strict=True):
        check_shape("cover: best_parents", np.shape(parent), features.n_features)
    checked = np.asarray(token_ids("cover", tokens, sets[0].tapped.model.config.vocab_size))
    order = sorted(range(len(sets)), key=lambda i: sets[i].n_features, reverse=True)
    names = {i: "" if i == order[0] else sets[i].name for i in order}
    given = Input(checked, np.broadcast_to(np.int32(-1), checked.shape), None, np.ones(len(checked), bool))
    chosen = [sets[i] for i in order]
    reader = Reader(given, chosen, Encoding(chosen, mesh), batch=batch, cache_bytes=0, signed=False)
    counts = [
        _Counts(sets[i].n_features, np.asarray(parent), names[i], names[i + 1]) for i, parent in enumerate(best_parents)
    ]
    accumulators = {f"step{i}": each for i, each in enumerate(counts)}
    run_pass(1, reader, accumulators, range(1, len(chosen)), None, advance)
    return [Cover(**each.state) for each in counts]


class _Counts(Sums):
    def __init__(self, n: int, parent: np.ndarray, parents: str, children: str):
        self._names = parents, children
        kept = np.flatnonzero(parent >= 0)
        shape = (n, len(parent))
        self._belongs = scipy.sparse.csr_array((np.ones(len(kept)), (parent[kept], kept)), shape=shape)
        whole = ("fired", "any", "several", "children_fired", "children_several")
        self.state = {name: np.zeros(n, np.int64) for name in whole}
        self.state |= {name: np.zeros(n) for name in ("total", "covered")}

    def add(self, batch: Batch) -> None:
        f, g = (_matrix(batch.others[name] if name else batch.firings) for name in self._names)  # [F,B], [G,B]
        active = g.copy()
        active.data = np.ones_like(active.data)
        children = (self._belongs @ active).tocsr()  # [F,B] how many children fire
        several = children.copy()
        several.data = (several.data > 1).astype(np.float64)
        several.eliminate_zeros()
        fires = f.copy()
        fires.data = np.ones_like(fires.data)
        anywhere = children.copy()
        anywhere.data = np.ones_like(anywhere.data)
        found = {
            "fired": fires,
            "any": fires * anywhere,
            "several": fires * several,
            "children_fired": anywhere,
            "children_several": several,
            "total": f,
            "covered": f * anywhere,
        }
        for name, x in found.items():
            self.state[name] += np.asarray(x.sum(axis=1)).ravel().astype(self.state[name].dtype)


def _matrix(x: Firings | Dense) -> scipy.sparse.csr_array:
    return x.matrix()
