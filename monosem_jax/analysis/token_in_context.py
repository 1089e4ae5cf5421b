"""Token-in-context features: those that fire on one token, but not everywhere that it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import TokenInContext
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape
from monosem_jax.runtime.rng import stream

ONE_TOKEN = 0.9  # share of a feature's firings that are on its most frequent token
LEAST_FIRINGS = 50  # of a feature in the scan
LEAST_EACH = 10  # occurrences with and without a firing, in either half: fewer give no AUC
MANY = 1 << 23  # activations in memory at a time


@dataclasses.dataclass(frozen=True)
class LabelledTokens:
    """The text of a scan: `tokens` [C,T], `labels` [C,T] the number of each token's label in `names` (-1: none),
    `strings` [V] the text of each token of the vocabulary."""

    tokens: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    strings: Sequence[str]


def candidates(scan: SetScan, least_share: float = ONE_TOKEN) -> np.ndarray:
    """The features at least `least_share` of whose firings are on one token, with at least LEAST_FIRINGS firings."""
    share = scan.token_fired[:, 0] / np.maximum(scan.fired, 1)
    return np.flatnonzero((share >= least_share) & (scan.fired >= LEAST_FIRINGS) & (scan.token_id[:, 0] >= 0))


@pinned()
def token_in_context(
    features: FeatureSet,
    scan: SetScan,
    text: LabelledTokens,
    *,
    chosen: Sequence[int] | None = None,
    least_share: float = ONE_TOKEN,
    contexts: int = 1024,
    per_token: int = 48,
    batch: int = 32,
    seed: int = 0,
) -> dict[int, TokenInContext]:
    """What each candidate is, by its number.

    Args:
      scan: of `features` over `text`.
      chosen: only these candidates; None: all.
      least_share: of a candidate's firings that are on one token. The paper's criterion is not published; few features
        of a small dictionary reach the default.
      contexts, per_token: AUCs come from at most `contexts` contexts, for each token up to `per_token` of those that
        it stands in, drawn at random.
      batch: contexts per forward pass.

    The label that tells firings apart is chosen on one half of those contexts and measured on the other. `label_auc` is
    None where either half has fewer than LEAST_EACH occurrences with or without a firing.
    """
    check_shape("token_in_context", np.shape(text.labels), *np.shape(text.tokens))
    found = candidates(scan, least_share)
    if chosen is not None:
        found = np.intersect1d(found, np.asarray(chosen, np.int64))
    if not len(found):
        return {}
    token = scan.token_id[found, 0].astype(np.int64)
    read = _contexts(text.tokens, np.unique(token), contexts, per_token, seed)
    counts = _count(features, found, token, text, read, min(batch, max(1, MANY // (len(found) * text.tokens.shape[1]))))
    records = {}
    for i, (feature, t) in enumerate(zip(found, token, strict=True)):
        occurrences = int(scan.token_occurrences[t])
        fired = int(scan.token_fired[feature, 0])
        label, auc = best_label(counts[i], text.names)
        records[int(feature)] = TokenInContext(
            id=int(t),
            token=text.strings[int(t)],
            share_of_firings=float(fired / scan.fired[feature]),
            share_of_occurrences=float(min(fired / max(occurrences, 1), 1.0)),
            occurrences=occurrences,
            label=label,
            label_auc=auc,
        )
    return records


def best_label(counts: np.ndarray, names: Sequence[str]) -> tuple[str | None, float | None]:
    """(the label whose presence tells firings apart best, its AUC) from counts [2,2,L] by half of the contexts, without
    or with a firing, and label. The AUC of "the document has this label" is ½ + ½ (share of firings that are in the
    label − share of the other occurrences)."""
    n = counts.sum(axis=2)
    named = np.asarray([bool(name) for name in names])  # "": documents without a label
    if not named.any() or n.min() < LEAST_EACH:
        return None, None
    share = counts[..., : len(names)] / n[..., None]
    auc = 0.5 + 0.5 * (share[:, 1] - share[:, 0])  # [2,L]
    best = int(np.argmax(np.where(named, auc[0], -1)))
    return names[best], float(auc[1, best])


def _contexts(tokens: np.ndarray, wanted: np.ndarray, most: int, per_token: int, seed: int) -> np.ndarray:
    """At most `most` contexts in random order: of those in which each wanted token stands, up to `per_token`."""
    left = dict.fromkeys(wanted.tolist(), per_token)
    chosen: list[int] = []
    for c in stream("token_in_context.contexts", seed).permutation(len(tokens)).tolist():
        there = [t for t in np.unique(tokens[c]).tolist() if left.get(t)]
        if there:
            chosen.append(c)
            for t in there:
                left[t] -= 1
                if not left[t]:
                    del left[t]
        if len(chosen) >= most or not left:
            break
    return np.asarray(chosen, np.int64)


def _count(
    features: FeatureSet, found: np.ndarray, token: np.ndarray, text: LabelledTokens, read: np.ndarray, batch: int
) -> np.ndarray:
    """[n,2,2,L+1] occurrences of each feature's token, by half of the contexts read, firing, and label (last: none)."""
    n_labels = len(text.names)
    counts = np.zeros((len(found), 2, 2, n_labels + 1), np.int64)
    for start in range(0, len(read), batch):
        pick = read[np.minimum(np.arange(start, start + batch), len(read) - 1)]  # of one size: compiled once
        pick_tokens = np.asarray(text.tokens[pick])
        fires = features.activations(pick_tokens, found) != 0
        label = np.asarray(text.labels[pick])
        real = min(batch, len(read) - start)
        for i in range(len(found)):
            c, t = np.nonzero(pick_tokens[:real] == token[i])
            at = np.where(label[c, t] < 0, n_labels, label[c, t])
            np.add.at(counts[i], ((start + c) % 2, fires[c, t, i].astype(int), at), 1)
    return counts
