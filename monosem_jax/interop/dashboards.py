"""What SAEDashboard and Neuronpedia show of a feature, under the names that both use.

Their lists run side by side: `pos_values[i]` is the logit weight of `pos_str[i]`, a bar of a histogram has its middle
in `…_bar_values` and its count in `…_bar_heights`, and `…_l1` of correlated neurons and features holds cosines. What is
not known is an empty list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from monosem_jax.analysis.logit_weights import histogram
from monosem_jax.analysis.records import Example, Feature, Histogram
from monosem_jax.interop.analyzed import SET, Shown

ALIGNED = 3  # coordinates of a dictionary vector that are listed
CORRELATED = 3  # neurons and features that are listed
DECIMALS = 8  # of a dictionary vector: its elements are at most 1, and fp32 holds about as many
WHOLE = -1.0  # `bin_min` and `bin_contains` of the top contexts, which are in no interval
UNSAFE = re.compile("[\0\ud800-\udfff]")  # Neuronpedia's database refuses them in a text


class Window(NamedTuple):
    """An example with its interval (low, high] and the share of all tokens on which the feature is in it."""

    example: Example
    low: float
    high: float
    share: float


def statistics(shown: Shown) -> dict[str, Any]:
    """The lists and numbers of a feature that both programs have."""
    record = shown.record
    found: dict[str, Any] = {**_aligned(shown.vector), **_correlated(record)}
    for side, logits in (("neg", record.bottom_logits), ("pos", record.top_logits)):
        found[f"{side}_str"] = [plain_text(token) for token, _ in logits]
        found[f"{side}_values"] = [value for _, value in logits]
    found["frac_nonzero"] = record.density
    weights = None if shown.weights is None else histogram(shown.weights)
    return {**found, **_bars("freq", record.linear_histogram), **_bars("logits", weights), "decoder_weights_dist": []}


def windows(record: Feature, tokens: int) -> Iterator[Window]:
    """The examples of a feature: its top contexts, then those of its intervals from the highest to the lowest, with
    `tokens`, the number of tokens that were scanned."""
    for example in record.examples:
        yield Window(example, WHOLE, record.largest, WHOLE)
    for interval in record.intervals:
        for example in interval.examples:
            yield Window(example, interval.low, interval.high, interval.count / max(tokens, 1))


def vector_list(vector: np.ndarray | None) -> list[float]:
    """A dictionary vector as a list, [] if it is not known."""
    return [] if vector is None else vector.astype(np.float64).round(DECIMALS).tolist()


def plain_text(text: str) -> str:
    """The text with symbols for NUL and for halves of surrogate pairs, which Neuronpedia's database refuses."""
    return UNSAFE.sub(lambda found: "\u2400" if found[0] == "\0" else "\ufffd", text)


def url_name(name: str) -> str:
    """A name in lower case, with "-" for what does not belong in a URL or in the name of a folder."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip(".-") or "unnamed"


def _aligned(vector: np.ndarray | None) -> dict[str, list[Any]]:
    """The coordinates in which a dictionary vector is largest: their values, and the shares of its L1 norm."""
    if vector is None:
        return {f"neuron_alignment_{name}": [] for name in ("indices", "values", "l1")}
    largest = np.argsort(-vector, kind="stable")[:ALIGNED]
    values = vector[largest].astype(np.float64)
    shares = values / max(float(np.abs(vector).sum(dtype=np.float64)), 1e-30)
    return {
        "neuron_alignment_indices": largest.tolist(),
        "neuron_alignment_values": values.round(DECIMALS).tolist(),
        "neuron_alignment_l1": shares.round(DECIMALS).tolist(),
    }


def _correlated(record: Feature) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for theirs, ours in (("neurons", "neurons"), ("features", SET)):
        near = [n for n in record.neighbours if n.set == ours and n.correlation is not None][:CORRELATED]
        cosines = [n.cosine for n in near]
        found[f"correlated_{theirs}_indices"] = [n.feature for n in near]
        found[f"correlated_{theirs}_l1"] = [] if None in cosines else cosines
        found[f"correlated_{theirs}_pearson"] = [n.correlation for n in near]
    return found


def _bars(name: str, found: Histogram | None) -> dict[str, list[Any]]:
    edges = np.asarray(found.edges if found else [])
    return {
        f"{name}_hist_data_bar_values": ((edges[:-1] + edges[1:]) / 2).round(6).tolist(),
        f"{name}_hist_data_bar_heights": list(found.counts) if found else [],
    }
