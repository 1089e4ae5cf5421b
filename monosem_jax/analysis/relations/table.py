"""The kinds of relation, in their order; a new one is a file here, a section of the config, and a line in RELATIONS."""

from __future__ import annotations

import dataclasses

from monosem_jax.analysis.automata.config import AutomataConfig
from monosem_jax.analysis.relations.automata import AUTOMATA
from monosem_jax.analysis.relations.base import Relation
from monosem_jax.analysis.relations.crosscoder import CROSSCODER, CrosscoderConfig
from monosem_jax.analysis.relations.maps import MAP, MapConfig
from monosem_jax.analysis.relations.motifs import MOTIFS, MotifsConfig
from monosem_jax.analysis.relations.splitting import SPLITTING, SplittingConfig
from monosem_jax.analysis.relations.universality import UNIVERSALITY, UniversalityConfig


@dataclasses.dataclass(frozen=True)
class RelationsConfig:
    """How much is asked of each kind of relation: a section per kind, of its name."""

    universality: UniversalityConfig = UniversalityConfig()
    """Best matches of features in other dictionaries, and the stability of features over seeds."""
    splitting: SplittingConfig = SplittingConfig()
    """Parents and children over dictionaries of different sizes."""
    map: MapConfig = MapConfig()
    """The dictionary vectors of all sizes in a plane and in clusters; after splitting, whose edges it takes."""
    automata: AutomataConfig = AutomataConfig()
    """Finite-state automata: features whose preferred next tokens excite other features."""
    motifs: MotifsConfig = MotifsConfig()
    """Families of features of one token, trigrams, memorised passages."""
    crosscoder: CrosscoderConfig = CrosscoderConfig()
    """Crosscoders of two models: features of both and of one, against the matches of the models' dictionaries."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        for f in dataclasses.fields(self):
            getattr(self, f.name).check()


RELATIONS: dict[str, Relation] = {
    "universality": UNIVERSALITY,
    "splitting": SPLITTING,
    "map": MAP,
    "automata": AUTOMATA,
    "motifs": MOTIFS,
    "crosscoder": CROSSCODER,
}
