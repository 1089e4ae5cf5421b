"""Token-in-context families: several features of one token, told apart by where it stands (paper: "the" in texts of
mathematics, of law …)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from monosem_jax.analysis.records import TokenInContext

TOLD = 0.7  # AUC from which on a label tells a feature's firings from the token's other occurrences


@dataclasses.dataclass(frozen=True)
class Family:
    """The features of one token: (number, what it is) by falling share of the token's occurrences. `labels`: the
    different labels that tell one of them apart."""

    token: str
    features: tuple[tuple[int, TokenInContext], ...]
    labels: tuple[str, ...]


def families(found: Mapping[int, TokenInContext]) -> list[Family]:
    """Tokens with several features, those with the most labels first, then those with the most features."""
    by_token: dict[int, list[tuple[int, TokenInContext]]] = {}
    for feature, record in found.items():
        by_token.setdefault(record.id, []).append((feature, record))
    several = []
    for members in by_token.values():
        if len(members) > 1:
            members.sort(key=lambda m: (-m[1].share_of_occurrences, m[0]))
            labels = sorted({r.label for _, r in members if r.label and (r.label_auc or 0) >= TOLD})
            several.append(Family(members[0][1].token, tuple(members), tuple(labels)))
    return sorted(several, key=lambda f: (-len(f.labels), -len(f.features), f.token))
