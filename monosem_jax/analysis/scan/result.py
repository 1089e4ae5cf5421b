"""What a scan finds out about all features of a set. Plain NumPy arrays: every kind of evidence begins with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

N_LINEAR = 40  # bins of the linear histogram, of equal width over (0, max]
LOG_EDGES = 2.0 ** np.arange(-24, 25, 0.5)  # of the logarithmic histogram: bin i is (edge i−1, edge i], two per octave
INTERVALS = (11, 12)  # equal intervals of (0, max]: of the paper's human rating, and of its automated interpretability


@dataclasses.dataclass(frozen=True)
class Reservoir:
    """Uniform samples without replacement of a feature's firings in each of n equal intervals of (0, max].

    `context`, `position` [F,n,k] int32, -1 where there are fewer than k; `value` [F,n,k] fp32, 0 there; `count` [F,n]
    int64 how many firings there were. Interval i is (max · i/n, max · (i+1)/n]. A firing's place in the sample is
    decided by a hash of the seed, the feature and the token's number, so it depends neither on the order of reading
    nor on batches. At most one sample per context is not promised.
    """

    context: np.ndarray
    position: np.ndarray
    value: np.ndarray
    count: np.ndarray


@dataclasses.dataclass(frozen=True)
class ProxyMoments:
    """Sums of features against P proxies, for `monosem_jax.analysis.proxies`; a proxy is one number per token.

    `mean`, `deviation` [P]: of the proxy over the tokens. `positive` [P]: tokens with proxy > 0. `correlation` [P,F]
    with the proxy's value, `binary_correlation` [P,F] with proxy > 0 (NaN for a proxy that never varies, 0 for a
    feature that never does). `hits` [P,F,12]: firings in each interval on which proxy > 0, `hit_value` [P,F] the sum of
    the activations there.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    positive: np.ndarray
    correlation: np.ndarray
    binary_correlation: np.ndarray
    hits: np.ndarray
    hit_value: np.ndarray


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """For each feature its m most similar features of a set: `index` [F,m] int32 (-1: none), most similar first.

    `correlation` [F,m] is the Pearson correlation of activations over `tokens` tokens, exact for these pairs (NaN where
    one never fires). `cosine` [F,m] is that of the directions (NaN where the spaces differ). `exact` says whether all
    pairs were compared, or candidates came from a sketch; then the correlation by which a candidate was found is off by
    about `error` (one standard deviation).

    `nearest` [F,m] are the features with the largest cosines, largest first (-1: none, or the spaces differ), with
    `nearest_correlation` and `nearest_cosine`.
    """

    of: str
    index: np.ndarray
    correlation: np.ndarray
    cosine: np.ndarray
    tokens: int
    exact: bool
    error: float
    nearest: np.ndarray | None = None
    nearest_correlation: np.ndarray | None = None
    nearest_cosine: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class SetScan:
    """Statistics of the F features of a set over `tokens` tokens (BOS left out) of `contexts` contexts.

    `fired` [F] int64 tokens on which a feature fires, `density` = fired / tokens, `maximum` [F] its largest activation,
    `mean` [F] over the tokens on which it fires (0 if none), `total`, `square` [F] float64 sums of f and f².

    `log_counts` [F,len(LOG_EDGES)+1] and `linear_counts` [F,N_LINEAR] int64: histograms of the activations above 0.

    `top_context`, `top_position` [F,k] int32 (-1: none), `top_value` [F,k]: the k contexts with the largest activations
    and where in them, strongest first. `intervals[n]` for each n of INTERVALS. `random_context`, `random_position` [R]:
    R tokens drawn uniformly from all (BOS left out), the same for all features.

    `token_id`, `token_fired`, `token_total` [F,t]: the tokens on which a feature fires most often, how often, and the
    sum of its activations there (-1: none). `token_occurrences` [V]: how often each token of the vocabulary occurs.
    `tokens_exact` is False if the tokens were chosen from a sample of firings (large F · V); their counts are exact.

    `label_correlation` [L,F] with "this token lies in a document of the label", NaN for a label without tokens;
    `label_fired` [L,F] firings in documents of the label; `label_tokens` [L]. `proxies`: None if none were given.
    `neighbours`: by the name of the other set, the set itself among them ("features": nearest features of the same
    set, the feature itself left out).
    """

    name: str
    tokens: int
    contexts: int
    fired: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    total: np.ndarray
    square: np.ndarray
    log_counts: np.ndarray
    linear_counts: np.ndarray
    top_context: np.ndarray
    top_position: np.ndarray
    top_value: np.ndarray
    intervals: Mapping[int, Reservoir]
    random_context: np.ndarray
    random_position: np.ndarray
    token_id: np.ndarray
    token_fired: np.ndarray
    token_total: np.ndarray
    token_occurrences: np.ndarray
    tokens_exact: bool
    labels: tuple[str, ...]
    label_correlation: np.ndarray
    label_fired: np.ndarray
    label_tokens: np.ndarray
    proxies: ProxyMoments | None
    neighbours: Mapping[str, Neighbours]

    @property
    def density(self) -> np.ndarray:
        """[F] the share of tokens on which each feature fires."""
        return self.fired / self.tokens
