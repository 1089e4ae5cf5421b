"""What is reported of motifs: plain values, as `motifs.json` has them."""

from __future__ import annotations

import dataclasses

from monosem_jax.analysis.motifs.families import Family
from monosem_jax.analysis.motifs.memorised import Memorised
from monosem_jax.analysis.motifs.trigrams import Trigram


@dataclasses.dataclass(frozen=True)
class Motifs:
    """The motifs of a set. `one_token`: features of one token, by the share of their firings on it that is asked for;
    `families` with the loosest share, and `told_apart` of its features whose firings a label tells from the token's
    other occurrences, `told_apart_shuffled` with the labels of documents shuffled.

    `trigrams_shuffled`, `memorised_shuffled`: how many features meet those criteria when every feature fires on random
    occurrences of its tokens (of trigrams: the criteria that need no logit weights, beside `trigram_candidates`).
    """

    set: str
    one_token: dict[str, int]
    families: tuple[Family, ...]
    told_apart: int
    told_apart_shuffled: int
    trigrams: tuple[Trigram, ...]
    trigram_candidates: int
    trigrams_shuffled: int
    memorised: tuple[Memorised, ...]
    memorised_shuffled: int
