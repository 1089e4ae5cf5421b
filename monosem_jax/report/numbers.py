"""The numbers of a dictionary and its transformer as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from monosem_jax.report.plots import is_number
from monosem_jax.runtime.formatting import duration, share

L0 = "features active per token"
FORMATS: dict[str, Callable[[float], str]] = {
    "percent": lambda x: f"{100 * x:.2f} %",
    "nats": "{:.4f} nats".format,
    "number": "{:.4g}".format,
    "count": "{:,}".format,
    "share": "{:,}".format,
    "speed": "{:,.0f} /s".format,
    "time": duration,
}


class Row(NamedTuple):
    """A key of a summary, its name and meaning in words, and its format."""

    key: str
    name: str
    meaning: str
    kind: str


DICTIONARY: Sequence[Row] = (
    Row(
        "loss_recovered_zero",
        "Loss recovered, zero ablation",
        "(L_ablated − L_reconstructed) / (L_ablated − L_intact); L_ablated with the activations set to zero",
        "percent",
    ),
    Row("loss_recovered_mean", "Loss recovered, mean ablation", "the same, activations set to their mean", "percent"),
    Row("ce_intact", "L_intact", "next-token loss of the transformer with its own activations", "nats"),
    Row("ce_reconstructed", "L_reconstructed", "its loss with the dictionary's reconstruction in their place", "nats"),
    Row("ce_zero_ablation", "L_ablated, zero", "its loss with activations set to zero", "nats"),
    Row("ce_mean_ablation", "L_ablated, mean", "its loss with activations set to their mean", "nats"),
    Row("l0", "L0", "features active on a token, on average", "number"),
    Row("mse", "Mean squared error", "of the reconstruction, over tokens and neurons", "number"),
    Row("variance_explained", "Variance explained", "1 − squared error / squared deviation from the mean", "percent"),
    Row("n_features", "Features", "in the dictionary", "count"),
    Row("dead", "Dead features", "never active on the tokens evaluated", "share"),
    Row("ultralow", "Ultralow features", "active, but on less than one token in 10⁶", "share"),
    Row("dense", "Dense features", "active on more than 1 % of tokens", "share"),
    Row(
        "l0_share_above_1pct",
        "Share of L0 by dense features",
        "by features on more than 1 % of tokens",
        "percent",
    ),
    Row("l0_share_above_10pct", "Share of L0 by very dense features", "by features on more than 10 %", "percent"),
    Row("median_density", "Median density", "of the features that fire at all", "number"),
    Row("evaluated_tokens", "Tokens evaluated", "held out from the training of both models", "count"),
    Row("l1_coefficient", "L1 coefficient", "weight of the sparsity penalty in the training loss", "number"),
    Row("k", "k", "features active on a token; with BatchTopK, on average", "count"),
    Row("l0_coefficient", "L0 coefficient", "weight of the sparsity penalty in the training loss", "number"),
    Row("target_l0", "Target L0", "features active on a token, as training aims for", "number"),
    Row("rows_trained", "Activations trained on", "one row for each token", "count"),
    Row("rows_per_second", "Training speed", "rows per second", "speed"),
    Row("wall_seconds", "Wall time", "training and evaluation", "time"),
)

TRANSFORMER: Sequence[Row] = (
    Row("heldout_loss", "Held-out loss", "mean next-token loss on text it was not trained on", "nats"),
    Row("bigram_loss", "Bigram loss", "the same for a model that sees only the previous token", "nats"),
    Row("heldout_tokens", "Tokens predicted", "in the held-out text", "count"),
    Row("parameters", "Parameters", "of the transformer", "count"),
    Row("tokens_trained", "Tokens trained on", "including repetitions", "count"),
    Row("tokens_per_second", "Training speed", "tokens per second", "speed"),
    Row("wall_seconds", "Wall time", "training and evaluation", "time"),
)


EVIDENCE: Sequence[Row] = (
    Row("twins", "Twins", "features with another one at decoder cosine above 0.9", "share"),
    Row("fms_1", "Monosemanticity score, FMS@1", "is a concept in one feature; on held-out rows", "number"),
    Row("fms_1_neurons", "FMS@1 of the neurons", "", "number"),
    Row("fms_1_shuffled", "FMS@1 with shuffled classes", "what it is where there is nothing to find", "number"),
    Row("probe_k1", "Probe on 1 feature", "held-out accuracy, a mean over balanced concepts", "percent"),
    Row("probe_k1_neurons", "Probe on 1 neuron", "", "percent"),
    Row("probe_k5", "Probe on 5 features", "", "percent"),
    Row("probe_k5_neurons", "Probe on 5 neurons", "", "percent"),
    Row("judge", "Judge", "who explains features and predicts them from the explanation", "text"),
    Row("judge_score", "Its simulation score", "Spearman correlation of prediction and activation", "number"),
    Row("judge_score_shuffled", "with another feature's explanation", "", "number"),
    Row("judge_score_neurons", "of the neurons", "", "number"),
    Row("judged_features", "Features judged", "drawn at random from those that fire on 20 tokens or more", "count"),
)


class Value(NamedTuple):
    """A row of a table. `share` is its part of all features; `note` says why it was not measured."""

    name: str
    meaning: str
    value: str
    share: str = ""
    note: str | None = None


class Table(NamedTuple):
    """Rows under a caption."""

    caption: str
    rows: list[Value]


class Tile(NamedTuple):
    """A number to look at first."""

    value: str
    name: str


def table(caption: str, rows: Sequence[Row], values: Mapping[str, Any]) -> Table:
    """The rows for which there is a value."""
    shown = [r for r in rows if values.get(r.key) is not None or (r.key == "ultralow" and r.key in values)]
    return Table(caption, [_value(row, values) for row in shown])


def tiles(dictionary: Mapping[str, Any], better: str) -> list[Tile]:
    """The few numbers to look at first; `better` is the outcome over the categories, "" when there are none."""
    found = []
    for key, kind, name in (("loss_recovered_zero", "percent", "loss recovered"), ("l0", "number", L0)):
        if is_number(dictionary.get(key)):
            found.append(Tile(FORMATS[kind](dictionary[key]), name))
    if is_number(dictionary.get("dead")) and is_number(dictionary.get("n_features")):
        alive = dictionary["n_features"] - dictionary["dead"]
        found.append(Tile(f"{alive:,} of {dictionary['n_features']:,}", "features alive"))
    if better:
        found.append(Tile(better, "categories where a feature beats the best neuron"))
    return found


def _value(row: Row, values: Mapping[str, Any]) -> Value:
    value, total = values[row.key], values.get("n_features")
    if value is None:
        return Value(row.name, row.meaning, "not measured", note=str(values.get(f"{row.key}_note") or ""))
    if not is_number(value):
        return Value(row.name, row.meaning, str(value))
    part = share(value / total) if row.kind == "share" and is_number(total) and total else ""
    return Value(row.name, row.meaning, FORMATS[row.kind](value), part)
