"""Trigram features: two tokens in a row excite them, and they raise one that follows (paper: "COVID" "-" → "19").

The criterion, of a feature that fires LEAST_FIRINGS times or more:

    share     at least LEAST_SHARE of its firings are on one token after one other token
    rise      it fires on that pair more often than on the second token after others, by at least LEAST_RISE: a feature
              of one token that mostly follows the same one is none
    strength  its largest logit weight is at least LEAST_DEVIATIONS standard deviations above the mean
    followed  that token comes after at least LEAST_FOLLOWED of the pair's occurrences
    spread    the pair occurs in LEAST_DOCUMENTS documents or more: a passage of one document is none
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from monosem_jax.analysis.motifs.places import Places, window

LEAST_FIRINGS, LEAST_SHARE, LEAST_RISE, LEAST_DEVIATIONS, LEAST_DOCUMENTS, LEAST_FOLLOWED = 50, 0.5, 0.3, 4.0, 5, 0.1


@dataclasses.dataclass(frozen=True)
class Trigram:
    """`first` and `second` excite the feature, `third` has its largest logit weight, `deviations` above the mean.

    `share` of its firings are on the pair; it fires on `rate` of the pair's `occurrences`, which are in `documents`
    documents, and on `rate_elsewhere` of the second token's other ones. `followed`: the share of the pair's occurrences
    after which `third` comes. `examples`: windows of text.
    """

    feature: int
    first: str
    second: str
    third: str
    share: float
    rate: float
    rate_elsewhere: float
    occurrences: int
    documents: int
    deviations: float
    followed: float
    examples: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """Every place with the token before it in the same document: `key` of the pair (-1: none), by place; `first` of
    its keys in rising order, and `order`, their places."""

    key: np.ndarray
    sorted_keys: np.ndarray
    order: np.ndarray
    n_tokens: int

    @classmethod
    def of(cls, places: Places) -> _Pairs:
        tokens = np.asarray(places.tokens, np.int64)
        n = int(tokens.max()) + 1
        key = np.full(tokens.shape, -1, np.int64)
        both = (tokens[:, 1:] != places.bos) & (tokens[:, :-1] != places.bos)
        key[:, 1:] = np.where(both, tokens[:, :-1] * n + tokens[:, 1:], -1)
        flat = key.reshape(-1)
        order = np.argsort(flat, kind="stable")
        return cls(flat, flat[order], order, n)

    def occurrences(self, key: int) -> Int[np.ndarray, " n"]:
        low, high = np.searchsorted(self.sorted_keys, [key, key + 1])
        return self.order[low:high]


def trigrams(
    places: Places, weights: Callable[[np.ndarray], np.ndarray], tokens: Int[np.ndarray, " n"], strings: Sequence[str]
) -> list[Trigram]:
    """The trigram features by falling share of their firings on the pair. `weights` gives the logit weights of some
    features for `tokens`."""
    found = []
    pairs, flat = _Pairs.of(places), np.asarray(places.tokens).reshape(-1)
    occurrences = np.bincount(flat, minlength=pairs.n_tokens)
    for i, key in candidates(places).items():
        w = np.asarray(weights(np.asarray([i])), np.float64)[0]
        deviations = float((w.max() - w.mean()) / max(w.std(), 1e-12))
        if deviations < LEAST_DEVIATIONS:
            continue
        third = int(tokens[int(np.argmax(w))])
        there, fires = pairs.occurrences(key), places.of(i)
        on = int(np.isin(fires, there).sum())
        elsewhere = int(np.sum(flat[fires] == key % pairs.n_tokens)) - on
        others = int(occurrences[key % pairs.n_tokens]) - len(there)
        after = (there + 1) % places.tokens.shape[1] != 0
        followed = float(np.mean(flat[there[after] + 1] == third)) if after.any() else 0.0
        if followed < LEAST_FOLLOWED:
            continue
        shown = fires[np.isin(fires, there)]
        found.append(
            Trigram(
                feature=i,
                first=strings[key // pairs.n_tokens],
                second=strings[key % pairs.n_tokens],
                third=strings[third],
                share=on / len(fires),
                rate=on / len(there),
                rate_elsewhere=elsewhere / max(others, 1),
                occurrences=len(there),
                documents=len(np.unique(np.asarray(places.documents).reshape(-1)[there])),
                deviations=deviations,
                followed=followed,
                examples=tuple(
                    "".join(strings[int(t)] for t in window(places, p, 5, 5)) for p in shown[:: len(shown) // 3 + 1]
                ),
            )
        )
    return sorted(found, key=lambda t: -t.share)


def candidates(places: Places) -> dict[int, int]:
    """feature → its pair, for those that meet the criterion but for the logit weights."""
    pairs, flat = _Pairs.of(places), np.asarray(places.tokens).reshape(-1)
    documents = np.asarray(places.documents).reshape(-1)
    occurrences = np.bincount(flat, minlength=pairs.n_tokens)
    found = {}
    for i in range(places.n_features):
        fires = places.of(i)
        keys = pairs.key[fires]
        keys = keys[keys >= 0]
        if len(fires) < LEAST_FIRINGS or not len(keys):
            continue
        names, counts = np.unique(keys, return_counts=True)
        key, on = int(names[np.argmax(counts)]), int(counts.max())
        if on < LEAST_SHARE * len(fires):
            continue
        there, second = pairs.occurrences(key), key % pairs.n_tokens
        elsewhere = int(np.sum(flat[fires] == second)) - on
        rise = on / len(there) - elsewhere / max(int(occurrences[second]) - len(there), 1)
        if rise >= LEAST_RISE and len(np.unique(documents[there])) >= LEAST_DOCUMENTS:
            found[i] = key
    return found
