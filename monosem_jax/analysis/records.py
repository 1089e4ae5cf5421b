"""The records of an analysis: what is written about each feature of each set, and about each category of text.

Keys in files are the names of the fields, in their order. `records_io.py` writes and reads them, `records.schema.json`
describes them for programs in other languages. Fields may be added without a new FORMAT, and readers ignore those they
do not know; a field that is renamed, removed or changed in meaning needs one. `summary.json` has the number as
`records_format`; directories without it have format 1.
"""

from __future__ import annotations

import dataclasses

FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Source:
    """What a token of the context contributes to the activation of a feature: `direct` through the residual stream (0
    for every token but the one on which the feature fires), `attention` through all heads together, `head` the one that
    carries most of it. `position` is that of the token in the context."""

    position: int
    token: str
    direct: float
    attention: float
    head: int


@dataclasses.dataclass(frozen=True)
class Sources:
    """A feature's `activation` on the token of an example as an exact sum over tokens, with attention patterns, the
    scales of LayerNorm and the gates of the MLP held at their values on the context.

    activation = `bias` + `direct` (the token itself through the residual stream) + `attention` (all tokens through all
    heads). `tokens` are the 10 with the largest |direct + attention|, strongest first; the others make up the rest of
    `attention`. The bias is what biases contribute without any token.
    """

    activation: float
    bias: float
    direct: float
    attention: float
    tokens: tuple[Source, ...]


@dataclasses.dataclass(frozen=True)
class Example:
    """A window of a context around the token on which a feature fires.

    `context` and `position` number that token in the held-out text, `peak` is its index in the window. `tokens`,
    `token_ids` and `activations` have one entry per token of the window. `origin` and `label` are those of the
    document, "" if it has none. `loss_effects`: by how much the loss on each token of the window rises when the feature
    is ablated on every token of the context, in nats (empty: not measured; 0 for the first token of a context).
    `sources`: which tokens cause the activation at the peak (null: not measured).
    """

    context: int
    position: int
    peak: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    origin: str
    label: str
    token_ids: tuple[int, ...] = ()
    loss_effects: tuple[float, ...] = ()
    sources: Sources | None = None


@dataclasses.dataclass(frozen=True)
class Interval:
    """Examples drawn uniformly from the firings in (low, high], one of several equal intervals of (0, maximum].

    `count` is the number of firings there in the scanned text.
    """

    low: float
    high: float
    count: int
    examples: tuple[Example, ...]


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of firings: `counts[i]` lie in (edges[i], edges[i+1]]."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class TopToken:
    """A token on which a feature fires: its share of the feature's firings, and the share of the token's own
    occurrences on which the feature fires. `mean` is the mean activation on it when firing."""

    id: int
    token: str
    fired: int
    share_of_firings: float
    share_of_occurrences: float
    mean: float


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A similar feature of the set named `set`: Pearson correlation of activations, cosine of directions (null where
    one of them never fires, or the spaces differ)."""

    set: str
    feature: int
    correlation: float | None
    cosine: float | None


@dataclasses.dataclass(frozen=True)
class ProxyScore:
    """A feature against a proxy (paper, "Detailed investigations of individual features").

    `pearson` with the proxy in the form in which the paper compares it (`form`: "positive part" or "sign").
    `specificity`: for each of 12 equal intervals of (0, maximum] the share of firings on which the proxy holds, null
    where the feature has too few firings (see `firings`) to say; `specificity_top` of the highest interval that has
    enough, `specificity_all` of all firings. `expected_value`: the same with firings weighted by their activation.
    `sensitivity`: the share of the proxy's tokens on which the feature fires. `positive`: tokens on which it holds.
    """

    proxy: str
    form: str
    pearson: float | None
    specificity: tuple[float | None, ...]
    firings: tuple[int, ...]
    specificity_top: float | None
    specificity_all: float | None
    expected_value: float | None
    sensitivity: float | None
    positive: int


@dataclasses.dataclass(frozen=True)
class TokenInContext:
    """A feature at least 90 % of whose firings are on one token: the share of that token's occurrences on which it
    fires, and how well the label of the document tells those apart (`label_auc`, 0.5: not at all; null: no labels or
    too few), with the label that does it best."""

    id: int
    token: str
    share_of_firings: float
    share_of_occurrences: float
    occurrences: int
    label: str | None
    label_auc: float | None


@dataclasses.dataclass(frozen=True)
class LogitSummary:
    """The distribution of a feature's logit weights over the `n_tokens` tokens that are not rare: median 0. A normal
    distribution has skewness 0 and kurtosis 3."""

    n_tokens: int
    deviation: float
    skewness: float
    kurtosis: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a judge says that a feature is: text, and its length (`size` in units that the judge names)."""

    judge: str
    text: str
    size: int
    unit: str


@dataclasses.dataclass(frozen=True)
class Score:
    """How well a judge predicts a feature from an explanation of it.

    `kind`: "simulation" (Spearman, `other` is Pearson), "detection" and "fuzzing" (balanced accuracy, `other` is F1),
    "logits" (accuracy; `other` is null). `shuffled`: the same with the explanation of another feature. `samples`:
    predictions that the score is over. A null value: the judge could not be asked, for the reason in `note`.
    """

    judge: str
    kind: str
    value: float | None
    other: float | None
    shuffled: float | None
    samples: int
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Ablation on every token of the contexts of the top examples, keeping the dictionary's error: the mean change of
    the next token's loss in nats where the feature fires and where it does not, and the `tokens` of each kind."""

    loss_change_firing: float | None
    loss_change_elsewhere: float | None
    tokens_firing: int
    tokens_elsewhere: int


@dataclasses.dataclass(frozen=True)
class Sample:
    """Text sampled from `prompt` with a feature held at `value` (in units of its maximum: `strength`)."""

    prompt: str
    strength: float
    value: float
    text: str


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of a set, measured on held-out text.

    `density` is the share of tokens on which it fires, `largest` its largest activation, `mean` the mean over its
    firings. `label` is the category for which it is the best feature (null for most features), `label_correlation` its
    correlation there; `nearest_label` the label it correlates with most, with `nearest_label_correlation`. `top_logits`
    and `bottom_logits` are [token, logit weight] pairs, strongest first. `examples` are its top contexts, in falling
    order of their largest activation; `intervals` are samples of its firings from the highest of 12 equal intervals of
    (0, largest] to the lowest; `random` are windows around tokens drawn from all text. What was not measured is empty
    or null.
    """

    feature: int
    density: float
    largest: float
    label: str | None
    label_correlation: float | None
    top_logits: tuple[tuple[str, float], ...]
    bottom_logits: tuple[tuple[str, float], ...]
    examples: tuple[Example, ...]
    set: str = "features"
    fired: int = 0
    mean: float = 0.0
    nearest_label: str | None = None
    nearest_label_correlation: float | None = None
    log_histogram: Histogram | None = None
    linear_histogram: Histogram | None = None
    intervals: tuple[Interval, ...] = ()
    random: tuple[Example, ...] = ()
    top_tokens: tuple[TopToken, ...] = ()
    token_in_context: TokenInContext | None = None
    proxies: tuple[ProxyScore, ...] = ()
    logits: LogitSummary | None = None
    neighbours: tuple[Neighbour, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    scores: tuple[Score, ...] = ()
    ablation: Ablation | None = None
    samples: tuple[Sample, ...] = ()
    stability: float | None = None


@dataclasses.dataclass(frozen=True)
class Category:
    """The best single feature and the best single neuron for a label of documents.

    Both are chosen on training text and measured on held-out text: Pearson correlation of the activation with "this
    token lies in a document of the label". `tokens` is the number of held-out tokens of the label.
    """

    label: str
    tokens: int
    feature: int
    feature_correlation: float
    neuron: int
    neuron_correlation: float
