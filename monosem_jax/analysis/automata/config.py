"""How much text, how many edges, and which automata are reported and checked."""

from __future__ import annotations

import dataclasses
import math

from monosem_jax.runtime.errors import BadInput, check_counts


@dataclasses.dataclass(frozen=True)
class AutomataConfig:
    """How automata are searched for and checked."""

    training_contexts: int = 2048
    """Training contexts on which firing rates by token are counted."""
    heldout_contexts: int = 2048
    """Held-out contexts on which transitions are counted."""
    per_feature: int = 16
    """Edges kept for each feature, those with the largest weights."""
    least_firings: int = 20
    """Features that fire less often in the training contexts have no edges."""
    least_weight: float = 0.01
    """Nats: an edge of less weight is left out."""
    looked_at: int = 500
    """Automata of each kind that are looked at, those with the highest scores."""
    most: int = 6
    """Automata of each kind that are reported and checked; 0: none."""
    largest_false_share: float = 0.1
    """An automaton is reported only if at most this share of those that score as high would be found by chance."""
    alike: float = 0.8
    """Features whose firings by token have a cosine of this or more count as one."""
    shuffles: int = 20
    """Graphs with shuffled edges, by which chance is judged."""
    prompts: int = 48
    """Beginnings of held-out contexts after which features are held."""
    prompt_tokens: int = 8
    """Tokens of each, after BOS."""
    samples: int = 2
    """Texts sampled after each prompt for each feature."""
    held_tokens: int = 6
    """Tokens of each text, while the feature is held."""
    random: int = 8
    """Features drawn at random that are held beside, for comparison."""
    least_effect: float = 0.05
    """A confirmed edge raises the target's firing rate on the sampled tokens by at least this much."""
    walk_texts: int = 4
    """Texts in which each confirmed automaton is followed after its first feature was held for `held_tokens` tokens;
    0: none."""
    walk_tokens: int = 16
    """Tokens for which it is followed."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(
            self, "config.relations.automata.", "training_contexts", "heldout_contexts", "per_feature", "least_firings",
            "looked_at", "shuffles", "prompt_tokens", "samples", "held_tokens", "random", "walk_tokens",
        )  # fmt: skip
        for name in ("most", "walk_texts", "least_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise BadInput(f"config.relations.automata.{name} is {value}: expected 0 or more")
        for name in ("largest_false_share", "alike", "least_effect"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise BadInput(f"config.relations.automata.{name} is {value}: expected more than 0, at most 1")
        if self.prompts < 8:
            raise BadInput(f"config.relations.automata.prompts is {self.prompts}: expected at least 8, for intervals")
