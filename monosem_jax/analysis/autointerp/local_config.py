"""The settings of a judge that is a language model on this machine."""

from __future__ import annotations

import dataclasses

from monosem_jax.analysis.autointerp.protocol import KINDS
from monosem_jax.models.pretrained import MODEL
from monosem_jax.runtime.arguments import check_name
from monosem_jax.runtime.config import check_bounds, field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place

OWN = "own"


@dataclasses.dataclass(frozen=True)
class LocalConfig:
    """A language model on this machine, such as SmolLM2."""

    model: str = field("", place=MODEL)
    """smollm2, a directory of a model (a run's, or Hugging Face's), a .gguf file, hub:ORG/NAME; empty: none is used."""
    n_features: int = field(100, at_least=0)
    """Features of each set that it judges, drawn from those that all judges get; 0: all of them."""
    sets: tuple[str, ...] = ("features", "neurons")
    """The sets whose features it judges: features, neurons, control, random."""
    explanations: tuple[str, ...] = (OWN, "token_set")
    """Whose explanations it is given: own, or those of a judge that needs no network. Each has its own rows."""
    kinds: tuple[str, ...] = ("detection", "simulation")
    """The scores for which it is asked: detection, simulation, fuzzing."""
    detection: str = field("likelihood", choices=("likelihood", "answers"))
    """How it tells whether a feature fires in a window. likelihood: by how much more probable the explanation makes the
    window's text; answers: by the probabilities of yes and no after a question."""
    calibration: int = field(20, at_least=5, at_most=30)
    """Windows with a firing, and as many without, on which the threshold of detection is chosen for each feature. They
    are explanation examples and random windows; nothing is scored on them."""
    batch: int = field(32, at_least=1, at_most=4096, identity=False)
    """Windows that are read at a time."""
    max_tokens: int = field(24, at_least=4, at_most=256)
    """Tokens that an explanation of its own may have."""
    cache: str = field("", identity=False, place=Place())
    """A folder in which answers are kept, and found again by a later run; empty: until the analysis is finished."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_bounds(self, "local.")
        for name in self.kinds:
            check_name("local.kinds", name, KINDS)
        if not self.kinds or not self.explanations:
            empty = "explanations" if self.kinds else "kinds"
            raise BadInput(f"local.{empty} is empty: expected at least one")
