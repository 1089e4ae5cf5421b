"""What the kinds of relation share: the sets that are compared, the text, and where findings are put."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.joint.pair_sums import Pair, PairSums
from monosem_jax.analysis.on_text import OnText
from monosem_jax.analysis.scan.config import ScanConfig
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.analysis.universality.matches import Matches, candidates
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import progress
from monosem_jax.text.directory import Text


@dataclasses.dataclass(frozen=True)
class Compared:
    """A set that takes part: its number is its place in `Relations.sets`.

    `role`: "dictionary", "control", "neurons" or "crosscoder". `model` tells transformers apart (the hash of their
    parameters), `recipe` what dictionaries were trained with but for chance and size. `neurons`: the number of the set
    of neurons that it reconstructs. `parts`: of a crosscoder, the numbers of a dictionary of each of its models.
    """

    features: FeatureSet
    role: str
    model: str
    architecture: str = ""
    seed: int | None = None
    neurons: int | None = None
    recipe: str = ""
    parts: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.features.name

    @property
    def n_features(self) -> int:
        return self.features.n_features

    def same_space(self, other: Compared) -> bool:
        """Whether directions of both can be compared: the same transformer and site."""
        return self.model == other.model and self.features.effect_site == other.features.effect_site


@dataclasses.dataclass
class Relations(OnText):
    """A comparison while it is made. A kind of relation first says which pairs of sets it needs sums of (`needs`), and
    then puts tables (JSON) into `tables`, arrays into `arrays` (a file NAME.npz each), and figures into `summary`.

    Args:
      sets: the dictionaries in the order of config.runs, then controls, then neurons, then crosscoders.
      text: the text directory; `heldout` its contexts on which everything is measured.
      path: the run directory.
      most_bytes: what the tables of a pair may take; above it a pair is compared by candidates.
    """

    sets: Sequence[Compared]
    text: Text
    heldout: ExampleText
    path: pathlib.Path
    seed: int
    batch: int
    mesh: Mesh | None = None
    most_bytes: int = 1 << 32
    sums: dict[Pair, PairSums] = dataclasses.field(default_factory=dict)
    tables: dict[str, Any] = dataclasses.field(default_factory=dict)
    arrays: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    gaps: list[dict[str, str]] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def of_role(self, role: str) -> list[int]:
        """The numbers of the sets with a role."""
        return [i for i, s in enumerate(self.sets) if s.role == role]

    @property
    def dictionaries(self) -> list[int]:
        return self.of_role("dictionary")

    @functools.cached_property
    def sizes(self) -> list[int]:
        """The dictionaries of the first one's transformer and site with different numbers of features, in rising order:
        the first of each size. Feature splitting is looked for along them."""
        first = self.sets[0]
        found: dict[int, int] = {}
        for i in self.dictionaries:
            if self.sets[i].same_space(first):
                found.setdefault(self.sets[i].n_features, i)
        return [found[n] for n in sorted(found)]

    @functools.cached_property
    def seeds(self) -> list[int]:
        """The dictionaries that differ from the first by their seed alone: of its transformer, site, number of features
        and recipe. Stability is measured against them."""
        return self.seeds_of(0)

    def seeds_of(self, i: int) -> list[int]:
        """The dictionaries that differ from that of number `i` by their seed alone."""
        own = self.sets[i]
        key = (own.n_features, own.recipe)
        return [
            j
            for j in self.dictionaries
            if j != i and (s := self.sets[j]).same_space(own) and (s.n_features, s.recipe) == key and s.seed != own.seed
        ]

    def fits(self, pair: Pair) -> bool:
        """Whether the tables of all pairs of a pair's features may be held."""
        return pair.n_bytes([s.features for s in self.sets]) <= self.most_bytes

    def pair(self, a: int, b: int, *, masked: bool = False) -> PairSums:
        """The sums of two sets, which a kind of relation has asked for. Raises BadInput when there are none."""
        for pair, sums in self.sums.items():
            if {pair.a, pair.b} == {a, b} and pair.masked >= masked:
                return sums if pair.a == a else sums.transposed()
        raise BadInput(f"{self.sets[a].name} and {self.sets[b].name} have too many pairs of features to compare all")

    def by_candidates(self, a: int, b: int) -> Matches:
        """The matches of two sets that have too many pairs of features."""
        return candidates(
            self.sets[a].features,
            self.sets[b].features,
            self.heldout.tokens,
            batch=self.batch,
            mesh=self.mesh,
            seed=self.seed,
            pairs=self.most_bytes // 8,
        )

    def scanned(self, i: int) -> SetScan:
        """The scan of a set over the held-out text: densities, top tokens, examples, labels. Made when first asked."""
        if i not in self._scans:
            features = self.sets[i].features
            config = ScanConfig(batch_contexts=self.batch, seed=self.seed, neighbours=0)
            with progress(2 * len(self.heldout.tokens), f"scan {features.name}", "contexts") as bar:
                self._scans[i] = scan(
                    features,
                    self.heldout.tokens,
                    self.labels_of(self.heldout),
                    labels=self.labels,
                    config=config,
                    mesh=self.mesh,
                    folder=self.path / "scan" / str(i),
                    advance=bar.update,
                )
        return self._scans[i]

    @functools.cached_property
    def _scans(self) -> dict[int, SetScan]:
        return {}


@dataclasses.dataclass(frozen=True)
class Relation:
    """A kind of relation: `needs` says of which pairs of sets it takes the sums, `find` does the rest."""

    needs: Callable[[Relations, Any], list[Pair]]
    find: Callable[[Relations, Any], None]


def no_pairs(study: Relations, config: Any) -> list[Pair]:
    """The `needs` of a kind of relation that takes no sums of pairs."""
    return []
